"""What docs/sandbox.md promises, by jobs that try otherwise. Whatever they attempt fails, and the machine is as before."""

import os
import pathlib
import subprocess
import time
import uuid

import pytest

from harness import wait_until


def tell(server, script, **fields):
    return server.log_lines(server.run_job(script, **fields)["TrainingJobName"])


def submit_and_wait(server, script, word="ready"):
    name = server.submit(script)
    wait_until(lambda: word in server.job_log(name), what=f"{word} in the log of {name}")
    return name


@pytest.fixture
def neighbour(any_server):
    """A job that runs beside, with something to steal and a port."""
    script = ("echo treasure > /opt/ml/model/treasure; echo treasure > /tmp/treasure; "
              "exec python3 -c 'import socket,time; s=socket.create_server((\"0.0.0.0\",7700)); print(\"ready\",flush=True); time.sleep(1000)'")
    name = submit_and_wait(any_server, script)
    yield name
    assert any_server.describe(name)["TrainingJobStatus"] == "InProgress", "it was not disturbed"
    any_server.client("sagemaker").stop_training_job(TrainingJobName=name)
    any_server.wait_for_job(name)


def test_secrets_of_the_host_cannot_be_read(any_server):
    secret = any_server.data_dir / "mine"
    any_server.identity.run(["tee", str(secret)], input="the owner's secret\n")
    lines = tell(any_server, f"cat /etc/shadow | wc -c; cat {secret} {any_server.data_dir}/athanor.db; ls -A {any_server.data_dir}; ls -A /home /root /tmp /var/tmp")
    assert lines[0] == "0" or "denied" in lines[0]
    text = "\n".join(lines)
    assert "the owner's secret" not in text and "SQLite" not in text
    assert "instances" not in [line.strip() for line in lines]


def test_a_neighbour_is_out_of_reach(any_server, neighbour):
    # A pattern that does not find itself, as the words of this script are a program's too.
    lines = tell(any_server, "find / \\( -path /proc -o -path /sys \\) -prune -o -name 'treasur[e]' -print 2>/dev/null; "
                 f"cat {any_server.data_dir}/instances/*/ml/model/treasur* /tmp/treasur* 2>/dev/null; pgrep -f 'create_[s]erver'; kill -9 -1 2>/dev/null; "
                 "(</dev/tcp/algo-1/7700) 2>&1 | grep -q refused && echo refused; echo end")
    assert lines == ["refused", "end"]


def test_two_jobs_listen_on_one_port(any_server, neighbour):
    assert tell(any_server, "exec python3 -c 'import socket; socket.create_server((\"0.0.0.0\",7700)); print(\"listening\")'") == ["listening"]


def test_the_host_cannot_be_signalled(any_server):
    server = any_server.process.pid
    agents = " ".join(map(str, any_server.agents() + [server, os.getpid()]))
    lines = tell(any_server, f"for p in {agents}; do kill -9 $p 2>&1; done; ls -d /proc/[0-9]* | wc -l; grep Cap /proc/self/status; id -u")
    assert any_server.process.poll() is None
    assert [line.split()[-1] for line in lines if line.startswith("Cap")] == ["0" * 16] * 5
    assert lines[-1] != "0"
    processes = next(int(line) for line in lines if line.isdecimal())
    assert processes < 10, "it sees its own alone"


def test_no_capability_is_had_in_a_user_namespace(any_server):
    lines = tell(any_server, "unshare -Urm sh -c 'grep CapEff /proc/self/status; mount -t tmpfs x /mnt && echo MOUNTED' 2>&1; unshare -U true || echo refused; echo end")
    assert lines[-2:] == ["refused", "end"]
    assert not [line for line in lines if "MOUNTED" in line or "CapEff" in line]


def test_nothing_but_the_endpoint_is_reached(any_server):
    lines = tell(any_server, f"for a in 127.0.0.1/{any_server.port} 127.0.0.1/22 8.8.8.8/53; do timeout 2 bash -c \"</dev/tcp/$a\" 2>/dev/null && echo reached $a; done; "
                 "timeout 5 bash -c \"</dev/tcp/$(echo ${AWS_ENDPOINT_URL#*//} | tr : /)\" && echo endpoint")
    assert lines == ["endpoint"]


def has_overlays(identity):
    """Whether the kernel lays an unprivileged overlay over this host's root: not where that is an overlay itself."""
    layers = identity.folder("layers")
    identity.run(["mkdir", layers / "upper", layers / "work", layers / "merged"])
    options = f"lowerdir=/usr,upperdir={layers}/upper,workdir={layers}/work,userxattr"
    mount = ["mount", "-t", "overlay", "overlay", "-o", options, layers / "merged"]
    mounted = identity.run(["unshare", "--user", "--map-root-user", "--mount", *mount], check=False).returncode == 0
    identity.run(["chmod", "-R", "u+rwx", layers])  # the kernel makes a folder that nobody may enter
    return mounted


def test_writes_to_the_system_are_thrown_away(any_server):
    name = f"athanor-test-{uuid.uuid4().hex}"
    script = f"for d in /tmp /var/tmp $HOME /usr/local/bin /var/lib; do echo x > $d/{name} && echo wrote; done 2>&1; true"
    lines = tell(any_server, script)
    assert lines[:3] == ["wrote"] * 3
    if has_overlays(any_server.identity):
        assert lines[3:] == ["wrote"] * 2
    else:
        assert [line.split(": ")[-1] for line in lines[3:]] == ["Read-only file system"] * 2
    assert not [d for d in ("/usr/local/bin", "/var/lib", "/tmp", "/var/tmp") if os.path.exists(f"{d}/{name}")]


def test_processors_are_counted_truthfully(any_server):
    """Two instances share a machine: each counts its own."""
    job = any_server.run_job("nproc; python3 -c 'import os; print(*os.sched_getaffinity(0))'", instances=2)
    seen = [any_server.log_lines(job["TrainingJobName"], f"algo-{i}") for i in (1, 2)]
    usable = os.sched_getaffinity(0)
    sets = [set(map(int, lines[1].split())) for lines in seen]
    assert [int(lines[0]) for lines in seen] == [len(s) for s in sets]
    if len(usable) >= 2:
        assert sets[0] | sets[1] == usable and not sets[0] & sets[1]


def leftovers(server):
    """What belongs to jobs of this server: processes, mounts, folders."""
    mounts = [line for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines() if str(server.data_dir) in line]
    return server.agents(), mounts, [p.name for p in (server.data_dir / "instances").iterdir()]


@pytest.mark.parametrize("script, status", [
    ("setsid sleep 98765 & sleep 98765 & exit 0", "Completed"),
    ("setsid sleep 98765 & exit 3", "Failed"),
    ("mkdir -p /opt/ml/model/a/b /tmp/c; touch /opt/ml/model/a/b/f; chmod 0 /opt/ml/model/a/b /tmp/c; exit 3", "Failed"),
])
def test_a_job_leaves_nothing_on_the_machine(new_any_server, script, status):
    server = new_any_server()
    server.run_job(script, instances=2, expect=status)
    wait_until(lambda: leftovers(server) == ([], [], []), timeout=15, what=f"the machine to be as before: {leftovers(server)}")
    assert not subprocess.run(["pgrep", "-f", "^sleep 98765"], capture_output=True).stdout


def test_a_killed_agent_takes_its_program_along(new_any_server):
    server = new_any_server()
    name = submit_and_wait(server, "setsid sleep 87654 & echo ready; trap '' TERM; while :; do sleep 87654; done")
    agents = [pid for pid in server.agents() if b"run" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]
    assert len(agents) == 1
    os.kill(agents[0], 9)
    job = server.wait_for_job(name)
    assert job["TrainingJobStatus"] == "Failed" and job["FailureReason"].startswith("InternalServerError: ")
    wait_until(lambda: not subprocess.run(["pgrep", "-f", "^sleep 87654"], capture_output=True).stdout, timeout=5, what="the program's end")
    wait_until(lambda: leftovers(server) == ([], [], []), timeout=15, what="the machine to be as before")


def test_many_processes_end_with_the_job(server):
    """However many there are, the server answers meanwhile, and a stop ends all."""
    name = server.submit("for i in $(seq 300); do sleep 60 & done; echo ready; wait")
    wait_until(lambda: "ready" in server.job_log(name), what="the processes")
    began = time.monotonic()
    server.describe(name)
    assert time.monotonic() - began < 5
    server.client("sagemaker").stop_training_job(TrainingJobName=name)
    assert server.wait_for_job(name)["TrainingJobStatus"] == "Stopped"
