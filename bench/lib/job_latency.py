"""What bench/job_latency runs. The program under measure is /bin/date: its clock reading is its first doing."""

import argparse
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from harness import BIN, Identity, Server  # noqa: E402


def measure(server, client, name, instances, channel):
    """Seconds from just before the call to the first instruction on the last instance."""
    request = server.job_request(None, name=name, instances=instances)
    request["AlgorithmSpecification"]["ContainerEntrypoint"] = ["/bin/date", "+%s.%N"]
    if channel:
        request["InputDataConfig"] = [server.channel("train", channel)]
    began = time.time()
    client.create_training_job(**request)
    acknowledged = time.time()
    job = server.wait_for_job(name)
    if job["TrainingJobStatus"] != "Completed":
        raise SystemExit(f"{name} failed: {job.get('FailureReason')}")
    times = [float(line) for line in server.log_lines(name)]
    if len(times) != instances:
        raise SystemExit(f"{name}: {len(times)} of {instances} instances told the time")
    while server.agents():
        time.sleep(0.01)  # the next job starts on a machine at rest
    return max(times) - began, acknowledged - began


def percentile(values, fraction):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(fraction * (len(ordered) - 1)))]


def filesystem_of(path):
    out = subprocess.run(["stat", "-f", "-c", "%T", path], capture_output=True, text=True)
    return out.stdout.strip()


def commit_ms(folder):
    """What the disk takes to make 4 KiB durable: the floor under every acknowledged step."""
    path = folder / "probe"
    times = []
    with open(path, "wb", buffering=0) as file:
        for _ in range(50):
            file.write(b"x" * 4096)
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    path.unlink()
    return statistics.median(times) * 1000


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--jobs", type=int, default=50, help="jobs of each kind (50)")
    options.add_argument("--warm-up", type=int, default=3, help="jobs of each kind that do not count (3)")
    options = options.parse_args()

    identity = Identity()
    server = Server(identity).start()
    try:
        client = server.client("sagemaker")
        server.client("s3").put_object(Bucket=server.bucket, Key="small/part", Body=b"x" * 10_000)
        kinds = {"1x": (1, None), "2x": (2, f"s3://{server.bucket}/small/")}
        if subprocess.run(["nproc"], capture_output=True, text=True).stdout.strip() == "1":
            raise SystemExit("two instances need two processors")
        latency = {kind: [] for kind in kinds}
        acknowledge = {kind: [] for kind in kinds}
        for turn in range(-options.warm_up, options.jobs):
            for kind, (instances, channel) in kinds.items():
                seconds, acknowledged = measure(server, client, f"{kind}-{turn + options.warm_up}", instances, channel)
                if turn >= 0:
                    latency[kind].append(seconds)
                    acknowledge[kind].append(acknowledged)

        version = subprocess.run([BIN / "athanor", "--version"], capture_output=True, text=True).stdout.strip() or "athanor"
        kernel = platform.release()
        print(f"{version}; Linux {kernel}; {os.cpu_count()} processors; {filesystem_of(server.data_dir)}, "
              f"{commit_ms(server.data_dir):.2f} ms to make 4 KiB durable; python {platform.python_version()}; "
              f"{'root' if os.getuid() == 0 else 'an ordinary user'}\n")
        print(f"{'':32}{'median':>9}{'p95':>9}{'max':>9}   of {options.jobs}")
        titles = {"1x": "one instance, no data", "2x": "two instances, one small channel"}
        for kind, title in titles.items():
            row = latency[kind]
            print(f"{title:32}{statistics.median(row):8.3f}s{percentile(row, 0.95):8.3f}s{max(row):8.3f}s")
            row = acknowledge[kind]
            print(f"{'  of this, until acknowledged':32}{statistics.median(row):8.3f}s{percentile(row, 0.95):8.3f}s{max(row):8.3f}s")
        print("SageMaker, public notebook logs     148-206 s\n")
        print(f"figure create_to_first_instruction_s {statistics.median(latency['1x']):.4f} s")
        print(f"figure create_to_first_instruction_p95_s {percentile(latency['1x'], 0.95):.4f} s")
        print(f"figure create_to_first_instruction_2x_s {statistics.median(latency['2x']):.4f} s")
        print(f"figure create_to_first_instruction_2x_p95_s {percentile(latency['2x'], 0.95):.4f} s")
    finally:
        server.close()
        identity.close()


if __name__ == "__main__":
    main()
