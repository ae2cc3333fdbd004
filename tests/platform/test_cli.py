"""The command line as scripts and people use it: what it prints where, and its exit codes."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import time
import uuid

import pytest
from harness import wait_until


def unique(prefix):
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def test_help_tells_commands_and_exit_codes(identity):
    text = identity.run([identity.bin / "athanor", "--help"]).stdout
    for command in ("up", "down", "env", "exec", "submit", "list", "describe", "logs", "stop", "delete", "cp"):
        assert re.search(rf"^  {command}\b", text, re.M), command
        assert identity.run([identity.bin / "athanor", command, "--help"]).stdout
    assert "Exit codes" in text


@pytest.mark.parametrize("argv", [[], ["conjure"], ["describe"], ["submit", "--no-such"], ["exec"], ["list", "--status", "Fine"],
                                  ["cp", "here"], ["up", "--listen", "nowhere"],
                                  ["up", "--data-dir", "/proc/no-such-place"], ["up", "--account", "12"], ["up", "--account", "12345678901x"], ["up", "--region", "Nowhere!"], ["cp", "a", "b"]])
def test_wrong_usage_is_2(identity, argv):
    result = identity.run([identity.bin / "athanor", *argv], check=False)
    assert result.returncode == 2
    assert result.stderr and not result.stdout


def test_an_unknown_command_is_named(identity):
    assert "'conjure'" in identity.run([identity.bin / "athanor", "conjure"], check=False).stderr


def test_no_server_is_5_and_says_what_to_do(identity):
    result = identity.run([identity.bin / "athanor", "list", "--data-dir", identity.folder()], check=False)
    assert result.returncode == 5
    assert "athanor up" in result.stderr


def test_env_is_what_a_shell_can_take(server):
    printed = server.cli("env").stdout
    script = printed + "\nprintf '%s %s' \"$AWS_ENDPOINT_URL\" \"$AWS_REGION\""
    assert server.identity.run(["bash", "-c", script]).stdout == f"{server.endpoint} us-east-1"
    assert json.loads(server.cli("env", "--https", "--json").stdout)["AWS_ENDPOINT_URL"] == server.secure_endpoint


def test_env_alone_leads_the_command_line(server):
    """The keys of `athanor env` are enough, without the data folder."""
    result = server.identity.run([server.identity.bin / "athanor", "list", "--json"], env=server.environment)
    assert isinstance(json.loads(result.stdout), list)


def test_submit_waits_and_tells_the_end(any_server):
    name = unique("cli-wait")
    result = any_server.cli("submit", "--name", name, "--wait", "--", "echo", "hello")
    lines = result.stdout.splitlines()
    statuses = [next(i for i, line in enumerate(lines) if f"  {status} " in line) for status in ("Training", "Uploading", "Completed")]
    assert statuses[0] < lines.index("hello") < statuses[1] < statuses[2]
    assert f"s3://{any_server.bucket}/{name}/output/model.tar.gz" in result.stdout
    assert "\x1b" not in result.stdout


def test_submit_waits_without_logs(server):
    result = server.cli("submit", "--wait", "--no-logs", "--", "echo", "hello")
    assert "Completed" in result.stdout and "hello" not in result.stdout.splitlines()
    assert server.cli("submit", "--no-logs", "--", "true", check=False).returncode == 2


def test_submit_waits_through_a_restart_of_the_server(new_server):
    server = new_server()
    name = unique("cli-restart")
    argv = [server.identity.bin / "athanor", "submit", "--data-dir", server.data_dir, "--name", name, "--wait", "--",
            "bash", "-c", "for i in 1 2 3 4 5 6 7 8; do echo line $i; sleep 0.5; done"]
    waiting = subprocess.Popen(server.identity.command(argv), env=server.identity.environment(), stdout=subprocess.PIPE, text=True, cwd="/")
    wait_until(lambda: "line 1" in server.job_log(name), 20, "the first line")
    server.restart()
    printed, _ = waiting.communicate(timeout=60)
    assert waiting.returncode == 0
    assert [line for line in printed.splitlines() if line.startswith("line ")] == [f"line {i}" for i in range(1, 9)]


def test_submit_follows_what_the_job_prints(server):
    result = server.cli("submit", "--follow", "--", "bash", "-c", "echo first; sleep 0.5; echo second; exit 3", check=False)
    assert result.returncode == 10
    assert result.stdout.splitlines() == ["first", "second"]
    assert "AlgorithmError" in result.stderr


def test_submit_alone_prints_the_name(server):
    name = server.cli("submit", "--", "true").stdout.strip()
    assert server.wait_for_job(name)["TrainingJobStatus"] == "Completed"


def test_submit_takes_the_clis_json(server, tmp_path):
    """--request takes what `aws --cli-input-json` takes, and prints it with --dry-run."""
    request = server.job_request("echo $WHO", name=unique("cli-json"))
    result = server.cli("submit", "--request", "-", "--env", "WHO=me", "--dry-run", input=json.dumps(request), stdout=-1, stderr=-1, capture_output=False)
    written = json.loads(result.stdout)
    assert written["Environment"] == {"WHO": "me"}
    file = tmp_path / "job.json"
    file.write_text(json.dumps(written))
    server.aws("sagemaker", "create-training-job", "--cli-input-json", f"file://{file}")
    server.wait_for_job(request["TrainingJobName"])
    assert server.log_lines(request["TrainingJobName"]) == ["me"]


def test_submit_uploads_local_inputs(server, identity):
    folder = identity.folder("input")
    (folder / "sub").mkdir()
    (folder / "a.txt").write_text("a")
    (folder / "sub/b.txt").write_text("b")
    result = server.cli("submit", "--input", f"data={folder}", "--follow", "--", "bash", "-c", "cd /opt/ml/input/data/data && cat a.txt sub/b.txt && echo")
    assert result.stdout.splitlines() == ["ab"]


def input_of(server, name):
    """What lies at the place that the job's one channel names."""
    uri = server.describe(name)["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"]
    listed = server.client("s3").list_objects_v2(Bucket=server.bucket, Prefix=uri.removeprefix(f"s3://{server.bucket}/"))
    return {entry["Key"].rsplit("/", 1)[1]: server.object_bytes(f"s3://{server.bucket}/{entry['Key']}") for entry in listed["Contents"]}


def test_submit_under_a_name_in_use_leaves_that_jobs_input_alone(server, identity):
    name, file = unique("cli-taken"), identity.folder("input") / "a.txt"
    submit = ["submit", "--name", name, "--input", f"data={file}", "--", "sleep", "60"]
    file.write_text("first")
    server.cli(*submit)
    file.write_text("second")
    assert server.cli(*submit, check=False).returncode == 4
    assert input_of(server, name) == {"a.txt": b"first"}
    server.cli("stop", name, "--wait")


def test_submit_uploads_what_there_is_now_and_nothing_of_before(server, identity):
    name, folder = unique("cli-again"), identity.folder("input")
    for file in ("kept", "removed"):
        (folder / file).write_text(file)
    submit = ["submit", "--name", name, "--input", f"data={folder}", "--follow", "--", "ls", "/opt/ml/input/data/data"]
    assert server.cli(*submit).stdout.split() == ["kept", "removed"]
    server.cli("delete", name)
    (folder / "removed").unlink()
    server.cli(*submit)
    assert input_of(server, name) == {"kept": b"kept"}


def test_a_refused_request_is_2_with_the_services_words(server):
    result = server.cli("submit", "--name", "no_underscores_here", "--", "true", check=False)
    assert result.returncode == 2
    assert "failed to satisfy constraint" in result.stderr


def test_a_taken_name_is_4_and_an_absent_job_3(server):
    name = unique("cli-taken")
    server.cli("submit", "--name", name, "--wait", "--", "true")
    assert server.cli("submit", "--name", name, "--", "true", check=False).returncode == 4
    for command in ("describe", "logs", "stop", "delete"):
        assert server.cli(command, unique("cli-absent"), check=False).returncode == 3, command
    assert server.cli("stop", name, check=False).returncode == 4


@pytest.mark.parametrize("argv", [["--help"], ["list", "--json"], ["env"], ["submit", "--dry-run", "--", "true"]])
def test_an_answer_that_cannot_be_written_is_a_failure(server, argv):
    with open("/dev/full", "w") as full:
        result = server.identity.run([server.identity.bin / "athanor", *argv], check=False, stdout=full, stderr=-1, capture_output=False,
                                     env={"ATHANOR_DATA_DIR": str(server.data_dir)})
    assert result.returncode == 1
    assert "standard output" in result.stderr


def test_list_and_describe(server):
    name = unique("cli-describe")
    server.cli("submit", "--name", name, "-p", "color=blue", "--wait", "--", "true")
    assert re.search(rf"^{name} +Completed ", server.cli("list", "--name-contains", name).stdout, re.M)
    assert [job["TrainingJobName"] for job in json.loads(server.cli("list", "--json", "--name-contains", name).stdout)] == [name]
    text = server.cli("describe", name).stdout
    assert re.search(r"^status +Completed$", text, re.M) and "color=blue" in text and "Training job completed" in text
    assert json.loads(server.cli("describe", "--json", name).stdout)["HyperParameters"] == {"color": "blue"}


def test_stop_wait_and_delete(server):
    name = server.cli("submit", "--", "sleep", "100").stdout.strip()
    server.wait_for_job(name, secondary="Training")
    assert "Stopped" in server.cli("stop", "--wait", name).stdout
    assert server.cli("describe", "--wait", name, check=False).returncode == 11
    server.cli("delete", name)
    assert server.cli("describe", name, check=False).returncode == 3


def test_stop_and_delete_answer_programs(server):
    name = server.cli("submit", "--", "sleep", "100").stdout.strip()
    server.wait_for_job(name, secondary="Training")
    stopping = json.loads(server.cli("stop", "--json", name).stdout)
    assert stopping["TrainingJobName"] == name and stopping["TrainingJobStatus"] in ("Stopping", "Stopped")
    server.wait_for_job(name)
    assert json.loads(server.cli("delete", "--json", name).stdout) == {"TrainingJobName": name}


def test_logs_are_those_of_the_job_of_this_name_that_there_is(server):
    name = server.run_job("echo of the first")["TrainingJobName"]
    server.client("sagemaker").delete_training_job(TrainingJobName=name)
    time.sleep(1)  # a stream's name tells the second
    server.run_job("echo of the second", name=name)
    assert server.cli("logs", name).stdout == "of the second\n"


@pytest.mark.parametrize("argument, why", [("echo a\necho b", "several lines"), ("x" * 257, "257 characters")])
def test_a_program_that_sagemaker_does_not_take_is_refused_with_a_way_out(server, argument, why):
    refused = server.cli("submit", "--", "sh", "-c", argument, check=False)
    assert refused.returncode == 2 and f"argument 2 of the program after `--` has {why}" in refused.stderr
    assert "--input code=FOLDER" in refused.stderr and len(refused.stderr) < 400


def test_logs_of_two_instances(server):
    name = server.cli("submit", "-n", "2", "--", "bash", "-c", "echo i am $(hostname)").stdout.strip()
    server.wait_for_job(name)
    assert sorted(server.cli("logs", name).stdout.splitlines()) == ["algo-1  i am algo-1", "algo-2  i am algo-2"]
    assert server.cli("logs", "--host", "algo-2", name).stdout == "i am algo-2\n"
    for absent in ("algo-3", "algo-", "algo", "algo-0", "algo-01"):
        refused = server.cli("logs", "--host", absent, name, check=False)
        assert refused.returncode == 3 and "algo-1 to algo-2" in refused.stderr
    lines = [json.loads(line) for line in server.cli("logs", "--json", name).stdout.splitlines()]
    assert {(line["host"], line["message"]) for line in lines} == {("algo-1", "i am algo-1"), ("algo-2", "i am algo-2")}


def test_progress_is_shown(server):
    beat = json.dumps({"beat": {"step": 3, "steps": 4, "loss": 2.5, "tokens_per_s": 1234, "seconds_left": 7}})
    script = f"import os,socket,time\ns=socket.socket(socket.AF_UNIX); s.connect(os.environ['ATHANOR_SOCKET']); s.sendall(b'{beat}\\n'); time.sleep(3)"
    result = server.cli("submit", "--wait", "--env", f"SCRIPT={script}", "--", "python3", "-c", "import os; exec(os.environ['SCRIPT'])")
    assert "step 3/4" in result.stdout and "loss 2.5000" in result.stdout and "1.2k tokens/s" in result.stdout and "7 s left" in result.stdout


def test_cp_there_and_back(server, identity, bucket):
    folder = identity.folder("cp")
    (folder / "in").mkdir()
    (folder / "in/one.bin").write_bytes(os.urandom(70_000))
    (folder / "in/empty").write_bytes(b"")
    server.cli("cp", folder / "in", f"s3://{bucket}/tree")
    server.cli("cp", f"s3://{bucket}/tree/", folder / "out")
    assert (folder / "out/one.bin").read_bytes() == (folder / "in/one.bin").read_bytes()
    assert (folder / "out/empty").read_bytes() == b""
    server.cli("cp", f"s3://{bucket}/tree/one.bin", f"s3://{bucket}/copy.bin")
    assert json.loads(server.cli("cp", "--json", f"s3://{bucket}/copy.bin", folder / "copy.bin").stdout) == {"Objects": 1, "Bytes": 70000}
    server.client("s3").put_object(Bucket=bucket, Key="text", Body=b"text\n")
    assert server.cli("cp", f"s3://{bucket}/text", "-").stdout == "text\n"
    assert server.cli("cp", f"s3://{bucket}/absent", folder, check=False).returncode == 3
    assert server.cli("cp", folder / "absent", f"s3://{bucket}/", check=False).returncode == 3
    shutil.rmtree(folder)


def test_cp_touches_no_neighbour(server, identity, bucket):
    """Keys that look like another's file under way arrive, and a neighbour's file stays."""
    folder = identity.folder("cp")
    (folder / "in").mkdir()
    for name in ("x", "x.part", "x.part.part", "x.tmp"):
        (folder / "in" / name).write_text(f"this is {name}")
    server.cli("cp", folder / "in", f"s3://{bucket}/n/")
    server.cli("cp", f"s3://{bucket}/n/", folder / "out")
    assert {path.name: path.read_text() for path in (folder / "out").iterdir()} == {path.name: path.read_text() for path in (folder / "in").iterdir()}
    (folder / "out/x.part").write_text("mine")
    server.cli("cp", f"s3://{bucket}/n/x", folder / "out/x")
    assert (folder / "out/x.part").read_text() == "mine"


def test_cp_streams(server, identity, bucket):
    """Through pipes, whatever the size: nothing is held back but a part."""
    athanor = server.identity.bin / "athanor"
    to = f"s3://{bucket}/stream"
    script = f"""set -o pipefail; export ATHANOR_DATA_DIR={server.data_dir}
        head -c 100000000 /dev/zero | {athanor} cp --json - {to}
        {athanor} cp {to} - | sha256sum
        head -c 100000000 /dev/zero | sha256sum
        {athanor} cp {to} - | head -c 5 > /dev/null; echo ${{PIPESTATUS[0]}}
        {athanor} cp {to} - > /dev/full; echo $?"""
    result = identity.run(["bash", "-c", script])
    lines = result.stdout.splitlines()
    assert json.loads(lines[0]) == {"Objects": 1, "Bytes": 100_000_000}
    assert lines[1] == lines[2] and lines[3:] == ["1", "1"]
    assert "Broken pipe" in result.stderr and "No space left" in result.stderr
    measure = """import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"""
    kilobytes = identity.run(["python3", "-c", measure, athanor, "cp", "--data-dir", server.data_dir, to, "-"]).stdout
    assert int(kilobytes) < 80_000
    assert server.cli("cp", "-", f"s3://{bucket}/", check=False, stdin=-3).returncode == 2


def test_cp_writes_into_what_is_no_file_and_follows_links(server, identity, bucket):
    folder = identity.folder("cp")
    server.client("s3").put_object(Bucket=bucket, Key="k", Body=b"bytes")
    fifo = folder / "fifo"
    os.mkfifo(fifo)
    reader = subprocess.Popen(["cat", fifo], stdout=subprocess.PIPE)
    server.cli("cp", f"s3://{bucket}/k", fifo)
    assert reader.communicate(timeout=20)[0] == b"bytes" and fifo.is_fifo()
    (folder / "real").write_text("old")
    for link, to in (("link", "real"), ("chain", "link"), ("dangling", "made")):
        (folder / link).symlink_to(to)
        server.cli("cp", f"s3://{bucket}/k", folder / link)
        assert (folder / link).is_symlink() and (folder / link).read_bytes() == b"bytes"
    (folder / "loop").symlink_to("loop")
    assert server.cli("cp", f"s3://{bucket}/k", folder / "loop", check=False).returncode != 0


def test_cp_reads_what_is_no_file(server, identity, bucket):
    fifo = identity.folder("cp") / "fifo"
    os.mkfifo(fifo)
    writer = subprocess.Popen(["bash", "-c", f"printf bytes > {fifo}"])
    server.cli("cp", fifo, f"s3://{bucket}/")
    assert writer.wait(20) == 0 and server.object_bytes(f"s3://{bucket}/fifo") == b"bytes"


def test_cp_never_leaves_the_folder(server, identity, bucket):
    server.client("s3").put_object(Bucket=bucket, Key="p/q/../../escaped", Body=b"x")  # within the bucket, but not within p/q/
    folder = identity.folder("cp")
    result = server.cli("cp", f"s3://{bucket}/p/q/", folder / "deep/out", check=False)
    assert result.returncode == 2 and "cannot be a path" in result.stderr
    assert not (folder / "escaped").exists()


def test_down_tells_what_it_waits_for(new_server):
    server = new_server()
    name = server.submit("trap '' TERM; echo ready; for i in 1 2 3; do sleep 1; done")
    wait_until(lambda: "ready" in server.job_log(name), 20, "the job")
    assert "Waiting for 1 job to end" in server.cli("down").stderr
    assert "Waiting" not in server.cli("down").stderr


def test_an_address_of_another_machine_is_2(identity):
    refused = identity.run([identity.bin / "athanor", "up", "--listen", "192.0.2.1:0", "--data-dir", identity.folder()], check=False)
    assert refused.returncode == 2 and "no address of this machine" in refused.stderr


def test_a_taken_port_is_4_in_the_background_too(server, identity):
    up = [identity.bin / "athanor", "up", "--listen", f"127.0.0.1:{server.port}", "--data-dir", identity.folder()]
    for command in (up, [*up, "--detach"]):
        refused = identity.run(command, check=False, stdin=-3)
        assert refused.returncode == 4 and "another program has the port" in refused.stderr


def test_a_data_folder_keeps_its_region_and_account(identity):
    athanor, data = identity.bin / "athanor", identity.folder()
    up = [athanor, "up", "--detach", "--listen", "127.0.0.1:0", "--data-dir", data]
    down = [athanor, "down", "--data-dir", data]
    identity.run([*up, "--region", "eu-west-1", "--account", "123456789012"], stdin=-3)
    assert json.loads(identity.run([athanor, "env", "--json", "--data-dir", data]).stdout)["ATHANOR_BUCKET"] == "sagemaker-eu-west-1-123456789012"
    identity.run(down)
    for other in (["--region", "us-east-1"], ["--account", "000000000000"]):
        for command in ([*up, *other], [*(word for word in up if word != "--detach"), *other]):
            refused = identity.run(command, check=False, stdin=-3)
            assert refused.returncode == 4 and other[0] in refused.stderr and "--data-dir" in refused.stderr
    identity.run(up, stdin=-3)
    assert json.loads(identity.run([athanor, "env", "--json", "--data-dir", data]).stdout)["AWS_REGION"] == "eu-west-1"
    identity.run(down)


def test_what_up_does_when_it_is_told_nothing(identity):
    athanor, home = identity.bin / "athanor", identity.folder("home")
    assert "127.0.0.1:9100" in identity.run([athanor, "up", "--help"]).stdout
    environment = {"HOME": str(home)}
    try:
        identity.run([athanor, "up", "--detach", "--listen", "127.0.0.1:0"], env=environment, stdin=-3)  # 9100 may be another's here
        assert (home / ".athanor").stat().st_mode & 0o777 == 0o700
        assert "ATHANOR_BUCKET" in identity.run([athanor, "env", "--json"], env=environment).stdout
    finally:
        identity.run([athanor, "down"], env=environment)


def test_up_detached_and_down(identity):
    athanor, data = identity.bin / "athanor", identity.folder()
    up = ["up", "--detach", "--listen", "127.0.0.1:0", "--data-dir", data]
    try:
        assert "listens at http://127.0.0.1:" in identity.run([athanor, *up], stdin=-3).stdout
        second = identity.run([athanor, *up], check=False)
        assert second.returncode == 4 and "already" in second.stderr
    finally:
        identity.run([athanor, "down", "--data-dir", data])
    assert identity.run([athanor, "list", "--data-dir", data], check=False).returncode == 5
    identity.run([athanor, "down", "--data-dir", data])  # nothing to do is no failure


def on_a_terminal(server, *argv):
    """What a command writes to a terminal, whatever it returns."""
    ours, theirs = pty.openpty()
    command = server.identity.command([server.identity.bin / "athanor", argv[0], "--data-dir", server.data_dir, *argv[1:]])
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd="/", start_new_session=True,
                               env=server.identity.environment(TERM="xterm"))
    os.close(theirs)
    written = b""
    try:
        while piece := os.read(ours, 65536):
            written += piece
    except OSError:  # what a terminal says when nobody holds the other end
        pass
    os.close(ours)
    process.wait(60)
    return written.decode()


def test_a_terminal_does_not_obey_what_a_job_prints(server):
    evil = r"\033]0;owned\007\033[2J\302\2332Jcaf\303\251\tgo\ron"
    name = server.submit(f"printf '{evil}\n'; printf '{evil}' > /opt/ml/output/failure; exit 1")
    server.wait_for_job(name)
    raw = "\x1b]0;owned\x07\x1b[2J\x9b2Jcafé\tgo\ron"
    shown = r"\x1b]0;owned\x07\x1b[2J\x9b2Jcafé" + "\tgo" + r"\x0don"
    for command in (["logs", name], ["logs", "--follow", name], ["describe", name], ["describe", "--wait", name]):
        written = on_a_terminal(server, *command)
        assert shown in written, command
        assert "\x1b]0;" not in written and "\x1b[2J" not in written and "\x9b" not in written, command
    piped = subprocess.run(server.identity.command([server.identity.bin / "athanor", "logs", "--data-dir", server.data_dir, name]),
                           env=server.identity.environment(), cwd="/", capture_output=True)
    assert piped.stdout.decode() == raw + "\n"


@pytest.mark.parametrize("how", [["--follow"], ["--wait"], ["--wait", "--json"]])
def test_an_interrupted_submit_says_that_the_job_goes_on(server, how):
    name = unique("cli-interrupted")
    argv = [server.identity.bin / "athanor", "submit", "--data-dir", server.data_dir, "--name", name, *how, "--", "bash", "-c", "echo ready; sleep 60"]
    waiting = subprocess.Popen(server.identity.command(argv), env=server.identity.environment(), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, cwd="/")
    wait_until(lambda: "ready" in server.job_log(name), 60, "the job to run")
    waiting.send_signal(signal.SIGINT)
    _, said = waiting.communicate(timeout=60)
    assert waiting.returncode == 130
    assert f"{name} goes on." in said
    assert server.describe(name)["TrainingJobStatus"] == "InProgress"
    server.cli("stop", name, "--wait")
