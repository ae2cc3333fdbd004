"""What happens when something dies, fills up or is already there."""

import contextlib
import copy
import errno
import os
import pathlib
import random
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
import time

import botocore.exceptions
import pytest

from harness import PROGRAMS, Server, refusal, wait_until

# Prints N lines, each once, one every few milliseconds.
COUNTING = "i=0; while [ $i -lt {n} ]; do i=$((i+1)); echo line $i; sleep 0.01; done"


def lines(count):
    return [f"line {i}" for i in range(1, count + 1)]


def running(server, name, text):
    wait_until(lambda: text in server.job_log(name), what=f"job {name} to print {text}")


def agent_runs(server):
    """Process ids of `athanor-agent run`, without those of networks."""
    found = []
    for pid in server.agents():
        try:
            if b"run" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[1:2]:
                found.append(pid)
        except OSError:
            pass
    return found


def test_a_job_does_not_notice_that_the_server_was_killed(new_any_server):
    server = new_any_server()
    name = server.submit(COUNTING.format(n=400))
    running(server, name, "line 20")
    agents = sorted(server.agents())
    server.kill()
    time.sleep(1)
    assert sorted(server.agents()) == agents, "agents outlive the server"
    server.start()
    job = server.wait_for_job(name)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert server.log_lines(name) == lines(400), "every line, once, in order"


def test_no_acknowledged_line_is_lost_however_often_the_server_dies(new_server):
    server = new_server()
    name = server.submit(COUNTING.format(n=800))
    running(server, name, "line 5")
    for _ in range(6):
        seen = server.log_lines(name)
        server.kill()
        server.start()
        assert server.log_lines(name)[:len(seen)] == seen
        time.sleep(0.4)
    assert server.wait_for_job(name)["TrainingJobStatus"] == "Completed"
    assert server.log_lines(name) == lines(800)


def test_a_job_that_was_acknowledged_survives_at_once(new_server):
    server = new_server("--instances", "1")
    names = [server.submit("sleep 0.1") for _ in range(3)]
    server.restart()
    for name in names:
        assert server.wait_for_job(name)["TrainingJobStatus"] == "Completed"
    listed = server.client("sagemaker").list_training_jobs(SortBy="CreationTime", SortOrder="Ascending")["TrainingJobSummaries"]
    assert [job["TrainingJobName"] for job in listed] == names


def test_a_job_that_ended_while_the_server_was_down(new_server):
    server = new_server()
    name = server.submit("echo ready; sleep 1; echo done; echo x > /opt/ml/model/x")
    running(server, name, "ready")
    server.kill()
    time.sleep(2)
    server.start()
    job = server.wait_for_job(name)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert server.log_lines(name) == ["ready", "done"]


def test_a_restart_does_not_touch_a_jobs_times(new_server):
    server = new_server()
    name = server.submit("echo ready; sleep 8")
    running(server, name, "ready")
    before = server.wait_for_job(name, secondary="Training")
    server.restart()
    job = server.wait_for_job(name)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert job["CreationTime"] == before["CreationTime"]
    assert job["TrainingStartTime"] == before["TrainingStartTime"]
    known = before["SecondaryStatusTransitions"][:-1]
    assert job["SecondaryStatusTransitions"][:len(known)] == known
    assert [row["Status"] for row in job["SecondaryStatusTransitions"]] == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    seconds = (job["TrainingEndTime"] - job["TrainingStartTime"]).total_seconds()
    assert 8 <= seconds < 30 and seconds <= job["TrainingTimeInSeconds"] < seconds + 1.01


def test_an_upgrade_under_a_running_job(new_server, identity):
    """The server is ended and started from another folder, and the old one's programs are removed."""
    folders = [identity.scratch / f"version-{i}-{os.getpid()}" for i in (1, 2)]
    for folder in folders:
        shutil.copytree(identity.bin, folder, ignore=lambda _, names: set(names) - set(PROGRAMS))
    server = new_server(start=False)
    server.identity = copy.copy(identity)
    server.identity.bin = folders[0]
    server.start()
    name = server.submit(COUNTING.format(n=300), instances=2)
    running(server, name, "line 20")
    agents = sorted(server.agents())
    assert server.interrupt() == 0
    server.identity.bin = folders[1]
    server.start()
    shutil.rmtree(folders[0])
    assert sorted(server.agents()) == agents
    job = server.wait_for_job(name)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    for host in ("algo-1", "algo-2"):
        assert server.log_lines(name, host) == lines(300)
    assert server.run_job("echo next")["TrainingJobStatus"] == "Completed"


@contextlib.contextmanager
def occupied(port):
    """Somebody else listens there, accepts and says nothing."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        yield


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_server_on_another_port_takes_up_its_jobs(new_any_server):
    """The agent, what it uploads, and the endpoint inside the job follow."""
    server = new_any_server()
    reach = "timeout 5 bash -c \"</dev/tcp/$(echo ${AWS_ENDPOINT_URL#*//} | tr : /)\""
    name = server.submit(f"echo ready; until [ -e /tmp/x ] || ((i++ > 100)); do sleep 0.1; {reach} 2>/dev/null || echo x > /tmp/x; done; "
                         f"until {reach} 2>/dev/null; do sleep 0.1; done; echo again; echo x > /opt/ml/model/x")
    running(server, name, "ready")
    server.kill()
    time.sleep(1)  # the job notices
    with occupied(server.port):
        server.listen = f"127.0.0.1:{free_port()}"
        server.start()
        job = server.wait_for_job(name)
        assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
        assert server.log_lines(name) == ["ready", "again"]
        assert server.object_bytes(job["ModelArtifacts"]["S3ModelArtifacts"])
        assert server.run_job("echo next")["TrainingJobStatus"] == "Completed"


def test_a_stop_that_the_agent_missed_is_repeated(new_server):
    server = new_server()
    name = server.submit("echo ready; exec sleep 1000")
    running(server, name, "ready")
    for pid in agent_runs(server):
        os.kill(pid, signal.SIGSTOP)
    server.client("sagemaker").stop_training_job(TrainingJobName=name)
    server.kill()
    for pid in agent_runs(server):
        os.kill(pid, signal.SIGCONT)
    server.start()
    assert server.wait_for_job(name)["TrainingJobStatus"] == "Stopped"


def test_a_killed_agent_fails_its_job_and_no_other(new_any_server):
    server = new_any_server()
    program = f"sleep {random.randrange(10**6, 10**9)}"  # no other test's
    victim = server.submit(f"echo ready; exec {program}")
    running(server, victim, "ready")
    agents = agent_runs(server)
    other = server.submit("echo ready; sleep 3; echo done")
    running(server, other, "ready")
    alive = ["pgrep", "-f", f"^{program}$"]
    assert subprocess.run(alive, capture_output=True).returncode == 0
    for pid in agents:
        os.kill(pid, signal.SIGKILL)
    job = server.wait_for_job(victim, timeout=10)
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("InternalServerError: the agent of algo-1 was lost")
    assert job["FailureReason"].endswith("was killed by signal 9 (Killed)"), "and nothing that has to do with something else"
    wait_until(lambda: subprocess.run(alive, capture_output=True).returncode == 1, timeout=10, what="the program to end with its agent")
    assert server.wait_for_job(other)["TrainingJobStatus"] == "Completed"


def test_an_agent_that_died_while_the_server_was_down(new_any_server):
    server = new_any_server()
    name = server.submit("echo ready; exec sleep 1000")
    running(server, name, "ready")
    server.kill()
    for pid in server.agents():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not server.agents(), what="the agents to die")
    server.start()
    job = server.wait_for_job(name, timeout=10)
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("InternalServerError: ")
    assert server.run_job("echo next")["TrainingJobStatus"] == "Completed", "its slot is free again"


def test_an_agent_of_two_that_died(new_server):
    server = new_server()
    name = server.submit("echo ready; exec sleep 1000", instances=2)
    wait_until(lambda: server.log_lines(name).count("ready") == 2, what="both programs to run")
    os.kill(agent_runs(server)[0], signal.SIGKILL)
    job = server.wait_for_job(name, timeout=20)
    assert job["TrainingJobStatus"] == "Failed"
    assert "was lost" in job["FailureReason"]
    wait_until(lambda: not server.agents(), what="the other agent to go home")


def test_a_hung_agent_is_given_up(new_server):
    server = new_server()
    name = server.submit("echo ready; exec sleep 1000")
    running(server, name, "ready")
    for pid in agent_runs(server):
        os.kill(pid, signal.SIGSTOP)
    server.restart()
    job = server.wait_for_job(name, timeout=40)
    assert job["TrainingJobStatus"] == "Failed"
    assert "did not reconnect" in job["FailureReason"]
    wait_until(lambda: not server.agents(), what="the agent to be ended")


def test_ctrl_c_leaves_jobs_running_and_says_so(new_any_server):
    server = new_any_server()
    name = server.submit("echo ready; sleep 3; echo done")
    running(server, name, "ready")
    assert server.interrupt() == 0
    assert "1 job goes on" in server.printed()
    assert server.agents()
    server.start()
    assert server.wait_for_job(name)["TrainingJobStatus"] == "Completed"
    assert server.log_lines(name) == ["ready", "done"]


def test_a_server_that_is_ended_waits_for_a_slow_disk(new_server):
    """Requests that outlast the server's patience find nothing that has gone before them."""
    server = new_server()
    s3 = server.client("s3")

    def put(key):
        try:
            s3.put_object(Bucket=server.bucket, Key=key, Body=b"x" * 100)
        except botocore.exceptions.BotoCoreError:
            pass  # its answer is lost with the server

    with contextlib.closing(sqlite3.connect(server.data_dir / "objects/objects.db", isolation_level=None)) as objects:
        objects.execute("BEGIN IMMEDIATE")  # its writer waits, as for a slow disk
        puts = [threading.Thread(target=put, args=(f"key-{i}",)) for i in range(8)]
        for thread in puts:
            thread.start()
        time.sleep(1)
        server.process.send_signal(signal.SIGINT)
        time.sleep(4)
        assert server.process.poll() is None
        objects.execute("ROLLBACK")
    assert server.process.wait(20) == 0
    for thread in puts:
        thread.join()
    server.start()
    listed = server.client("s3").list_objects_v2(Bucket=server.bucket)
    assert [row["Key"] for row in listed["Contents"]] == [f"key-{i}" for i in range(8)], "what was begun was done"


def test_down_ends_all(new_any_server):
    server = new_any_server()
    name = server.submit("trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done")
    waiting = [server.submit("setsid sleep 76543 & exec sleep 76543") for _ in range(3)]
    running(server, name, "ready")
    server.cli("down")
    assert server.process.wait(10) == 0
    assert server.agents() == []
    assert list((server.data_dir / "instances").iterdir()) == []
    assert str(server.data_dir) not in pathlib.Path("/proc/self/mountinfo").read_text()
    assert not subprocess.run(["pgrep", "-f", "^sleep 76543"], capture_output=True).stdout, "no program is left"
    server.start()
    for one in [name, *waiting]:
        assert server.describe(one)["TrainingJobStatus"] == "Stopped"


def test_down_without_a_server_ends_its_jobs_too(new_server):
    server = new_server()
    name = server.submit("echo ready; exec sleep 1000")
    running(server, name, "ready")
    server.kill()
    server.cli("down")
    assert server.agents() == []
    server.start()
    assert server.describe(name)["TrainingJobStatus"] == "Stopped"


@pytest.mark.parametrize("serves", [False, True], ids=["down serves", "a server runs"])
def test_down_that_is_interrupted_says_what_is_left(new_server, serves):
    server = new_server()
    name = server.submit("trap '' TERM; echo ready; while :; do sleep 0.05; done")  # ends when it is killed, 20 s later
    running(server, name, "ready")
    if not serves:
        server.kill()
    command = [server.identity.bin / "athanor", "down", "--data-dir", server.data_dir]
    down = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "Waiting for 1 job" in down.stderr.readline()
    time.sleep(1)  # until jobs are told
    (server.process if serves else down).send_signal(signal.SIGINT)
    out, err = down.communicate(timeout=30)
    assert down.returncode == 1 and "every job with it" not in out and "Run `athanor down` again" in err
    assert server.agents() != []
    assert "every job with it" in server.cli("down").stdout
    assert server.agents() == []


def test_down_needs_no_port_of_its_own(new_any_server):
    server = new_any_server()
    name = server.submit("trap 'echo caught; exit 0' TERM; echo ready; while :; do sleep 0.05; done")
    running(server, name, "ready")
    server.kill()
    with occupied(server.port):
        down = server.cli("down")
        assert "Waiting for 1 job to end" in down.stderr and len(down.stderr.splitlines()) == 1, down.stderr
        assert "every job with it" in down.stdout
        assert server.agents() == []
        again = server.cli("down")
        assert again.stdout.startswith("Nothing to end: ") and again.stderr == ""
    server.start()
    assert server.describe(name)["TrainingJobStatus"] == "Stopped"
    assert server.log_lines(name) == ["ready", "caught"]


def refused(server):
    """Starts a second server that cannot; returns what it said."""
    process = subprocess.run(
        server.identity.command([server.identity.bin / "athanor", "up", "--listen", server.listen, "--data-dir", server.data_dir]),
        capture_output=True, text=True, timeout=20, cwd="/", env=server.identity.environment())
    assert process.returncode != 0
    return process.stdout + process.stderr


def test_two_servers_on_one_data_directory(any_server):
    second = Server(any_server.identity, any_server.data_dir)
    said = refused(second)
    assert str(any_server.process.pid) in said
    assert "--data-dir" in said
    assert any_server.run_job("echo unharmed")["TrainingJobStatus"] == "Completed"


def test_a_port_in_use(server):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        second = Server(server.identity)
        second.listen = f"127.0.0.1:{port}"
        said = refused(second)
    assert str(port) in said
    assert "--listen" in said


def test_data_of_a_newer_version(new_server):
    server = new_server()
    server.cli("down")
    server.process.wait(10)
    with sqlite3.connect(server.data_dir / "athanor.db") as database:
        database.execute("PRAGMA user_version = 999")
    assert "newer" in refused(server)


def fill(folder):
    """Takes all that is left of a disk; returns the file that holds it."""
    filler = folder / "filler"
    with open(filler, "wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError as error:
                assert error.errno == errno.ENOSPC
    return filler


def test_a_full_disk_takes_no_jobs_but_lets_them_end(small_disk):
    """What cannot be stored is refused with the truth, what runs can be stopped, and all is well once there is room."""
    server = small_disk
    client = server.client("sagemaker")
    finished = server.run_job("echo before")["TrainingJobName"]
    name = server.submit("echo ready; exec sleep 1000")
    running(server, name, "ready")
    filler = fill(server.data_dir)

    code, message = refusal(client.create_training_job, **server.job_request(name="refused"))
    assert code == "ResourceLimitExceeded"
    assert "full" in message and "space" in message
    with pytest.raises(client.exceptions.ClientError, match="not found"):
        server.describe("refused")

    assert server.describe(finished)["TrainingJobStatus"] == "Completed"
    assert server.log_lines(finished) == ["before"]
    client.stop_training_job(TrainingJobName=name)
    job = server.wait_for_job(name)
    assert job["TrainingJobStatus"] in ("Stopped", "Failed")
    if job["TrainingJobStatus"] == "Failed":
        assert "full" in job["FailureReason"], job["FailureReason"]
    client.delete_training_job(TrainingJobName=finished)
    server.restart()
    assert server.describe(name)["TrainingJobStatus"] == job["TrainingJobStatus"]

    filler.unlink()
    server.run_job("echo after; echo x > /opt/ml/model/x", name="refused")
    assert server.log_lines("refused") == ["after"]


def test_a_job_that_prints_on_a_full_disk_goes_on_when_there_is_room(small_disk):
    server = small_disk
    name = server.submit(COUNTING.format(n=500))
    running(server, name, "line 20")
    filler = fill(server.data_dir)
    time.sleep(2)
    filler.unlink()
    assert server.wait_for_job(name)["TrainingJobStatus"] == "Completed"
    assert server.log_lines(name) == lines(500)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["alone", "stopped", "down"])
def test_a_job_that_fills_the_disk_with_its_output_ends(small_disk, how):
    server = small_disk
    name = server.submit("echo first; yes 0123456789 | head -c 100000000; echo done")
    wait_until(lambda: any("the program's output waits" in log.read_text() for log in server.data_dir.glob("instances/*/agent.log")),
               what="the disk to be full")
    seen = server.log_lines(name)
    if how == "stopped":
        server.client("sagemaker").stop_training_job(TrainingJobName=name)
    if how == "down":
        server.cli("down")
        assert server.process.wait(10) == 0
        server.start()
    job = server.wait_for_job(name, timeout=90)
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: The instance's disk is full.") and "given up" in job["FailureReason"]
    log = server.log_lines(name)
    assert log[0] == "first" and log[:len(seen)] == seen, "what was stored stays"
    assert "the output ends here" in log[-1]
    wait_until(lambda: not list((server.data_dir / "instances").iterdir()), what="the room to be given back")
    assert server.run_job("echo next")["TrainingJobStatus"] == "Completed"


def test_down_on_a_full_disk(small_disk):
    server = small_disk
    name = server.submit(COUNTING.format(n=100000))
    running(server, name, "line 20")
    filler = fill(server.data_dir)
    server.cli("down")
    assert server.process.wait(10) == 0
    assert server.agents() == []
    filler.unlink()
    server.start()
    assert server.describe(name)["TrainingJobStatus"] in ("Stopped", "Failed")


@pytest.fixture
def small_disk(identity, make_disk):
    """A server whose data lie on a disk of 24 MiB of their own."""
    server = Server(identity, make_disk(24)).start()
    yield server
    server.close()


def test_idle_connections_beyond_the_soft_limit_of_descriptors_starve_nobody(new_server):
    """A system's default soft limit (1024, here 128) is not the server's: it takes what the hard one allows."""
    server = new_server(start=False)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
    try:
        server.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with contextlib.ExitStack() as idle:
        for _ in range(400):
            idle.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        body = os.urandom(1 << 20)
        s3 = server.client("s3")
        s3.put_object(Bucket=server.bucket, Key="large", Body=body)
        assert s3.get_object(Bucket=server.bucket, Key="large")["Body"].read() == body
        name = server.run_job("echo line; sleep 1; a=${AWS_ENDPOINT_URL#*//}; for i in $(seq 200); do exec {d}<>/dev/tcp/${a/:/\\/} || exit 1; done")["TrainingJobName"]
        assert server.log_lines(name) == ["line"]
