"""bench/api: see there. Both servers get the same pre-signed requests from the same wrk over the same connections."""

import argparse
import http.client
import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("ATHANOR_BIN", ROOT / "build/bin"))
CONNECTIONS = 8
REGION = "us-east-1"
ROLE = "arn:aws:iam::000000000000:role/athanor"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port, process, timeout_s=60):
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if process.poll() is not None:
            sys.exit(f"{process.args[0]} ended with {process.returncode} before it listened")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"{process.args[0]} does not listen after {timeout_s} s")


class Peer:
    def __init__(self, name, port, key, secret):
        self.name, self.port = name, port
        self.credentials = Credentials(key, secret)
        self.client = boto3.client("sagemaker", endpoint_url=f"http://127.0.0.1:{port}", region_name=REGION,
                                   aws_access_key_id=key, aws_secret_access_key=secret)
        self.logs = boto3.client("logs", endpoint_url=f"http://127.0.0.1:{port}", region_name=REGION,
                                 aws_access_key_id=key, aws_secret_access_key=secret)

    def signed(self, target, body):
        """(headers, body) of a request as boto3 would send it."""
        request = AWSRequest("POST", f"http://127.0.0.1:{self.port}/", data=json.dumps(body), headers={
            "Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": target, "User-Agent": "bench/api"})
        SigV4Auth(self.credentials, "sagemaker", REGION).add_auth(request)
        return dict(request.headers.items()) | {"Host": f"127.0.0.1:{self.port}"}, request.data

    def raw(self, target, body):
        headers, body = self.signed(target, body)
        body = body if isinstance(body, bytes) else body.encode()
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST / HTTP/1.1\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


def job_request(name, entrypoint):
    return {
        "TrainingJobName": name, "RoleArn": ROLE,
        "AlgorithmSpecification": {"TrainingImage": "athanor/script", "TrainingInputMode": "File", "ContainerEntrypoint": entrypoint},
        "OutputDataConfig": {"S3OutputPath": f"s3://sagemaker-{REGION}-000000000000/bench"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        "HyperParameters": {"epochs": "3", "batch-size": "64", "learning-rate": "0.001"},
        "Environment": {"STAGE": "bench"},
    }


class Load:
    """wrk, once: requests a second, and latencies."""

    def __init__(self, peer, jobs, seconds, scratch):
        requests = scratch / f"requests-{peer.name}"
        requests.write_bytes(b"\0".join(peer.raw("SageMaker.DescribeTrainingJob", {"TrainingJobName": job}) for job in jobs))
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "10s", "-s", ROOT / "bench/lib/api.lua",
                   f"http://127.0.0.1:{peer.port}/", "--", requests]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        result = [line for line in output.splitlines() if line.startswith("RESULT ")]
        count, duration_us, p50_us, p99_us, errors = map(int, result[0].split()[1:])
        if errors:
            sys.exit(f"{peer.name}: {errors} of {count} requests failed\n{output}")
        self.per_second = count / duration_us * 1e6
        self.p50_ms, self.p99_ms = p50_us / 1000, p99_us / 1000


def check_answers(peers, jobs):
    """Both describe the job that was created, and ours refuses a signature that is not right."""
    for peer in peers:
        for job in jobs:
            seen = peer.client.describe_training_job(TrainingJobName=job)
            asked = job_request(job, seen["AlgorithmSpecification"].get("ContainerEntrypoint"))
            for member in ("TrainingJobName", "RoleArn", "OutputDataConfig", "ResourceConfig", "HyperParameters"):
                got = {k: v for k, v in seen[member].items() if k in asked[member]} if isinstance(asked[member], dict) else seen[member]
                if got != asked[member]:
                    sys.exit(f"{peer.name} describes {member} of {job} as {got}, not {asked[member]}")
    athanor = peers[0]
    headers, body = athanor.signed("SageMaker.DescribeTrainingJob", {"TrainingJobName": jobs[0]})
    connection = http.client.HTTPConnection("127.0.0.1", athanor.port)
    headers["Authorization"] = headers["Authorization"][:-1] + ("0" if headers["Authorization"][-1] != "0" else "1")
    connection.request("POST", "/", body, headers)
    answer = connection.getresponse().read()
    if b"InvalidSignatureException" not in answer:
        sys.exit(f"athanor took a wrong signature: {answer}")


class Creator(threading.Thread):
    """Creates training jobs at an even rate over connections of its own."""

    def __init__(self, peer, per_second, connections=4):
        super().__init__(daemon=True)
        self.peer, self.per_second = peer, per_second
        self.stopping = threading.Event()
        self.created, self.failures = 0, []
        self.lock = threading.Lock()
        self.workers = [threading.Thread(target=self.work, args=(i, connections), daemon=True) for i in range(connections)]

    def run(self):
        self.began = time.monotonic()
        for worker in self.workers:
            worker.start()
        for worker in self.workers:
            worker.join()
        self.ended = time.monotonic()

    def work(self, index, of):
        connection = http.client.HTTPConnection("127.0.0.1", self.peer.port)
        turn = index
        while not self.stopping.is_set():
            due = self.began + turn / self.per_second
            time.sleep(max(0.0, due - time.monotonic()))
            headers, body = self.peer.signed("SageMaker.CreateTrainingJob", job_request(f"load-{turn}", ["/bin/true"]))
            connection.request("POST", "/", body, headers)
            response = connection.getresponse()
            text = response.read()
            with self.lock:
                if response.status == 200:
                    self.created += 1
                else:
                    self.failures.append(text)
            turn += of


POUR = r"""
import sys, time
line, count, began = "step %d loss 3.14159 tokens_per_s 5300 grad_norm 0.71 lr 0.0003 " + "x" * 40, 0, time.time()
while True:
    count += 100
    print("\n".join(line % (count + i) for i in range(100)), flush=True)
    time.sleep(max(0.0, began + count / 5000 - time.time()))
"""


def lines_stored(peer, job):
    group = "/aws/sagemaker/TrainingJobs"
    try:
        streams = peer.logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=job + "/")["logStreams"]
    except peer.logs.exceptions.ResourceNotFoundException:
        return 0  # no job has printed a line yet
    if not streams:
        return 0
    events = peer.logs.get_log_events(logGroupName=group, logStreamName=streams[0]["logStreamName"], limit=1)["events"]
    return int(events[-1]["message"].split()[1]) if events else 0


def wait_for(condition, what, timeout_s=60):
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"waited {timeout_s} s in vain for {what}")
        time.sleep(0.1)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=int, default=3, help="of each round, and a fifth of the loaded measurement")
    options.add_argument("--jobs-per-second", type=int, default=200)
    arguments = options.parse_args()
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="athanor-bench-", dir="/var/tmp"))
    processes = []
    data = scratch / "data"
    try:
        quiet = open(scratch / "log", "ab")
        port, moto_port = free_port(), free_port()
        processes.append(subprocess.Popen([BIN / "athanor", "up", "--data-dir", data, "--listen", f"127.0.0.1:{port}"],
                                          stdin=subprocess.DEVNULL, stdout=quiet, stderr=quiet, start_new_session=True))
        processes.append(subprocess.Popen([pathlib.Path(sys.executable).with_name("moto_server"), "-p", str(moto_port)],
                                          stdin=subprocess.DEVNULL, stdout=quiet, stderr=quiet, start_new_session=True))
        for process, at in zip(processes, (port, moto_port)):
            wait_for_port(at, process)
        wait_for((data / "endpoint").exists, "the server to say where it is")
        environment = json.loads(subprocess.run([BIN / "athanor", "env", "--data-dir", data, "--json"], check=True,
                                                capture_output=True, text=True).stdout)
        athanor = Peer("athanor", port, environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])
        moto = Peer("moto_server", moto_port, "bench", "bench")

        jobs = [f"bench-{i}" for i in range(8)]
        for peer in (athanor, moto):
            for job in jobs:
                peer.client.create_training_job(**job_request(job, ["/bin/true"]))
        wait_for(lambda: all(athanor.client.describe_training_job(TrainingJobName=job)["TrainingJobStatus"] == "Completed"
                             for job in jobs), "the jobs to end")
        check_answers((athanor, moto), jobs)

        wrk = subprocess.run(["wrk", "-v"], capture_output=True, text=True).stdout.split("[")[0].strip()
        version = subprocess.run([BIN / "athanor", "--version"], capture_output=True, text=True).stdout.strip()
        print(f"{version}; moto {importlib.metadata.version('moto')} on Python {platform.python_version()}; {wrk}; "
              f"{os.cpu_count()} processors; {CONNECTIONS} connections, {len(jobs)} jobs\n")
        print(f"{'round':>5} {'server':<12} {'requests/s':>11} {'p50 ms':>8} {'p99 ms':>8}")
        for peer in (athanor, moto):
            Load(peer, jobs, 1, scratch)  # warm
        ratios = []
        for number in range(1, arguments.rounds + 1):
            ours, theirs = Load(athanor, jobs, arguments.seconds, scratch), Load(moto, jobs, arguments.seconds, scratch)
            for peer, load in ((athanor, ours), (moto, theirs)):
                print(f"{number:>5} {peer.name:<12} {load.per_second:>11.0f} {load.p50_ms:>8.2f} {load.p99_ms:>8.2f}", flush=True)
            ratios.append(ours.per_second / theirs.per_second)
        check_answers((athanor, moto), jobs)
        processes[1].terminate()

        # Two jobs that print 5,000 lines a second each hold both instances; what is created meanwhile waits its turn.
        pouring = ["pour-1", "pour-2"]
        for job in pouring:
            request = job_request(job, ["/usr/bin/python3", "-c", "import os; exec(os.environ['POUR'])"])
            request["Environment"]["POUR"] = POUR
            athanor.client.create_training_job(**request)
        wait_for(lambda: all(lines_stored(athanor, job) > 0 for job in pouring), "logs to pour in")
        creator = Creator(athanor, arguments.jobs_per_second)
        creator.start()
        time.sleep(1)
        lines, began = sum(lines_stored(athanor, job) for job in pouring), time.monotonic()
        loaded = Load(athanor, jobs + pouring + [f"load-{i}" for i in range(20)], 5 * arguments.seconds, scratch)
        lines_per_s = (sum(lines_stored(athanor, job) for job in pouring) - lines) / (time.monotonic() - began)
        creator.stopping.set()
        creator.join()
        created_per_s = creator.created / (creator.ended - creator.began)
        if creator.failures:
            sys.exit(f"{len(creator.failures)} jobs were not created: {creator.failures[0]}")
        print(f"\nwhile {created_per_s:.0f} jobs/s were created and {lines_per_s:.0f} lines/s of logs stored: "
              f"{loaded.per_second:.0f} requests/s, p50 {loaded.p50_ms:.2f} ms, p99 {loaded.p99_ms:.2f} ms\n")
        if created_per_s < 0.95 * arguments.jobs_per_second:
            sys.exit(f"only {created_per_s:.0f} of {arguments.jobs_per_second} jobs a second could be created: the figure would not hold")
        if lines_per_s < 1000:
            sys.exit(f"only {lines_per_s:.0f} lines of logs a second came in: the figure would not hold")

        print(f"ratio describe_vs_moto {statistics.median(ratios):.1f}")
        print(f"figure describe_p99_ms {loaded.p99_ms:.3f} ms")
    finally:
        subprocess.run([BIN / "athanor", "down", "--data-dir", data], capture_output=True, timeout=120)
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
