"""docs/contract.md, seen from inside: what a program finds, and what becomes of what it does."""

import io
import json
import os
import re
import tarfile
import uuid

import pytest

from harness import wait_until

# Prints what the program finds as one JSON object a line.
LOOK = r'''
import glob, json, os, socket, urllib.request
read = lambda path: json.load(open("/opt/ml/input/config/" + path))
show = lambda what, value: print(json.dumps({what: value}))
show("argv", __import__("sys").argv[1:])
show("environment", dict(os.environ))
for name in ("hyperparameters", "inputdataconfig", "resourceconfig"):
    show(name, read(name + ".json"))
show("files", {p: open(p).read() for p in glob.glob("/opt/ml/input/data/**", recursive=True) if os.path.isfile(p) and "/code/" not in p})
show("folders", [p for p in ("/opt/ml/model", "/opt/ml/output/data", "/opt/ml/checkpoints") if os.access(p, os.W_OK)])
show("hosts", {host: socket.gethostbyname(host) for host in read("resourceconfig.json")["hosts"]})
show("me", [socket.gethostname(), os.getcwd(), os.cpu_count(), len(os.sched_getaffinity(0))])
show("interfaces", sorted(name for _, name in socket.if_nameindex()))
show("credentials", json.load(urllib.request.urlopen(os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"])))
'''


def with_code(server, code, **fields):
    """A job whose program is a Python text, brought by the channel "code"."""
    prefix = f"code/{uuid.uuid4().hex}"
    server.client("s3").put_object(Bucket=server.bucket, Key=f"{prefix}/program.py", Body=code.encode())
    channels = [server.channel("code", f"s3://{server.bucket}/{prefix}/"), *fields.pop("InputDataConfig", [])]
    script = fields.pop("script", "exec python3 /opt/ml/input/data/code/program.py one 'two words'")
    return server.run_job(script, InputDataConfig=channels, **fields)


def found(server, name, host="algo-1"):
    result = {}
    for line in server.log_lines(name, host):
        result.update(json.loads(line))
    return result


def test_what_a_program_finds(any_server):
    server = any_server
    s3 = server.client("s3")
    prefix = f"in/{uuid.uuid4().hex}"
    for key in ("a.txt", "deep/er/b.txt"):
        s3.put_object(Bucket=server.bucket, Key=f"{prefix}/{key}", Body=key.encode())
    train = server.channel("train", f"s3://{server.bucket}/{prefix}/") | {"ContentType": "text/plain"}
    job = with_code(
        server, LOOK, instances=2, InputDataConfig=[train],
        HyperParameters={"rate": "0.1", "name": "a \"b\" ü"}, Environment={"MINE": "yes", "AWS_REGION": "nowhere"},
        CheckpointConfig={"S3Uri": f"s3://{server.bucket}/{prefix}-checkpoints/"})
    name = job["TrainingJobName"]
    region = server.environment["AWS_REGION"]
    for rank, host in enumerate(("algo-1", "algo-2")):
        seen = found(server, name, host)
        assert seen["argv"] == ["one", "two words"]
        assert seen["hyperparameters"] == {"rate": "0.1", "name": "a \"b\" ü"}
        assert seen["inputdataconfig"]["train"] == {
            "TrainingInputMode": "File", "S3DistributionType": "FullyReplicated", "RecordWrapperType": "None", "ContentType": "text/plain"}
        assert "ContentType" not in seen["inputdataconfig"]["code"]
        resource = seen["resourceconfig"]
        assert resource["current_host"] == host and resource["hosts"] == ["algo-1", "algo-2"]
        assert resource["current_instance_type"] == "ml.m5.large" and resource["network_interface_name"] == "eth0"
        group = resource["current_group_name"]
        assert resource["instance_groups"] == [{"instance_group_name": group, "instance_type": "ml.m5.large", "hosts": ["algo-1", "algo-2"]}]
        assert seen["files"] == {"/opt/ml/input/data/train/a.txt": "a.txt", "/opt/ml/input/data/train/deep/er/b.txt": "deep/er/b.txt"}
        assert seen["folders"] == ["/opt/ml/model", "/opt/ml/output/data", "/opt/ml/checkpoints"]
        assert len(set(seen["hosts"].values())) == 2 and "127.0.0.1" not in seen["hosts"].values()
        assert seen["me"][0] == host
        assert seen["interfaces"] == ["eth0", "lo"]
        environment = seen["environment"]
        assert environment["MINE"] == "yes"
        for variable, value in {
            "TRAINING_JOB_NAME": name, "TRAINING_JOB_ARN": job["TrainingJobArn"], "AWS_REGION": region, "AWS_DEFAULT_REGION": region,
            "ATHANOR_CONTRACT": "1", "ATHANOR_RANK": str(rank), "ATHANOR_WORLD_SIZE": "2", "ATHANOR_RENDEZVOUS": "algo-1:7700",
            "ATHANOR_GENERATION": "0", "ATHANOR_SOCKET": "/opt/ml/athanor/agent.sock"}.items():
            assert environment[variable] == value, variable
        assert not [v for v in environment if v.startswith(("XDG_", "SSH_", "SUDO_"))], "nothing of the server's own surroundings"
        assert {"AccessKeyId", "SecretAccessKey", "Token", "Expiration"} <= set(seen["credentials"])


def test_an_aws_client_works_inside(any_server):
    """The distribution's AWS CLI with nothing given but the endpoint: the credentials come from where SDKs look."""
    server = any_server
    key = f"from-inside/{uuid.uuid4().hex}"
    job = server.run_job(f"echo hi > /tmp/x; exec aws --endpoint-url $AWS_ENDPOINT_URL s3 cp --no-progress /tmp/x s3://{server.bucket}/{key} 2>&1")
    assert server.object_bytes(f"s3://{server.bucket}/{key}") == b"hi\n", server.job_log(job["TrainingJobName"])
    job = server.run_job("aws --endpoint-url $AWS_ENDPOINT_URL sts get-caller-identity --query Arn --output text 2>&1")
    assert server.log_lines(job["TrainingJobName"])[0].startswith("arn:aws:")


def test_shards_are_complete_and_disjoint(server):
    s3 = server.client("s3")
    prefix = f"shards/{uuid.uuid4().hex}"
    for i in range(7):
        s3.put_object(Bucket=server.bucket, Key=f"{prefix}/{i}", Body=b"x")
    job = server.run_job("ls /opt/ml/input/data/train", instances=2,
                         InputDataConfig=[server.channel("train", f"s3://{server.bucket}/{prefix}/", "ShardedByS3Key")])
    parts = [server.log_lines(job["TrainingJobName"], f"algo-{i}") for i in (1, 2)]
    assert sorted(parts[0] + parts[1]) == [str(i) for i in range(7)]
    assert {len(part) for part in parts} == {3, 4}


def test_a_prefix_that_is_a_folder_needs_no_slash(server):
    """As the SageMaker SDK's upload_data() returns it."""
    s3 = server.client("s3")
    prefix = f"data/{uuid.uuid4().hex}"
    for key in ("x", "deep/y"):
        s3.put_object(Bucket=server.bucket, Key=f"{prefix}/{key}", Body=b"x")
    job = server.run_job("cd /opt/ml/input/data/train && find . -type f | sort",
                         InputDataConfig=[server.channel("train", f"s3://{server.bucket}/{prefix}")])
    assert server.log_lines(job["TrainingJobName"]) == ["./deep/y", "./x"]


def test_keys_that_cannot_be_files_together_fail_the_job(server):
    s3 = server.client("s3")
    prefix = f"data/{uuid.uuid4().hex}"
    for key in ("a", "a/b"):
        s3.put_object(Bucket=server.bucket, Key=f"{prefix}/{key}", Body=b"x")
    job = server.run_job("true", expect="Failed", InputDataConfig=[server.channel("train", f"s3://{server.bucket}/{prefix}/")])
    assert job["FailureReason"] == f"ClientError: Data download failed: the key '{prefix}/a' of channel 'train' is both a file and a folder of other keys: rename one"


CONNECT = '''
import os, socket, time
if os.environ["ATHANOR_RANK"] == "0":
    link, who = socket.create_server(("0.0.0.0", 7700)).accept()
    print(link.makefile().readline().strip(), flush=True)
    link.sendall(b"hello from algo-1\\n")
else:
    for attempt in range(200):
        try:
            link = socket.create_connection(("algo-1", 7700))
            break
        except OSError:
            time.sleep(0.05)
    link.sendall(b"hello from algo-2\\n")
    print(link.makefile().readline().strip(), flush=True)
'''


def test_instances_talk_to_each_other(any_server):
    job = with_code(any_server, CONNECT, instances=2)
    assert any_server.log_lines(job["TrainingJobName"], "algo-1") == ["hello from algo-2"]
    assert any_server.log_lines(job["TrainingJobName"], "algo-2") == ["hello from algo-1"]


def test_output_of_every_kind_becomes_lines(server):
    """Very long lines are cut at what an event holds, bytes that are no text become U+FFFD, the last line needs no newline."""
    code = r'''
import os
os.write(1, b"plain\n")
os.write(2, b"on stderr\n")
os.write(1, b"x" * 600_000 + b"\n")
os.write(1, b"\xff\xfe\x00bin\x80\n")
os.write(1, b"\n")
os.write(1, "ü€😀\n".encode())
os.write(1, b"tab\tand\rreturn\n")
os.write(1, b"no newline")
'''
    lines = server.log_lines(with_code(server, code)["TrainingJobName"])
    assert lines[:2] == ["plain", "on stderr"]
    long = [line for line in lines if set(line) == {"x"}]
    assert "".join(long) == "x" * 600_000 and max(map(len, long)) <= 262_144
    rest = lines[2 + len(long):]
    assert re.fullmatch("��.bin�", rest[0], re.S)
    assert "ü€😀" in rest and rest[-1] == "no newline"
    assert "tab\tand\rreturn" in rest


@pytest.mark.parametrize("code, reason", [
    ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "exit code: 137"),
    ("raise SystemExit(4)", "exit code: 4"),
])
def test_how_a_program_ends_is_told(server, code, reason):
    job = with_code(server, code, expect="Failed")
    assert job["FailureReason"].startswith("AlgorithmError: ") and reason in job["FailureReason"]


def test_a_folder_that_all_hosts_have_is_in_the_archive_once(server):
    job = server.run_job("mkdir -p /opt/ml/model/shared/empty; touch /opt/ml/model/shared/$(hostname)", instances=2)
    with tarfile.open(fileobj=io.BytesIO(server.object_bytes(job["ModelArtifacts"]["S3ModelArtifacts"]))) as archive:
        assert sorted(archive.getnames()) == ["shared", "shared/algo-1", "shared/algo-2", "shared/empty"]


@pytest.mark.parametrize("compression", ["GZIP", "NONE"])
@pytest.mark.parametrize("script", ["rm -rf /opt/ml/model", "rm -rf /opt/ml/output", "rm -rf /opt/ml/model /opt/ml/output/data"])
def test_a_folder_that_the_job_removed_is_an_empty_one(server, script, compression):
    output = {"S3OutputPath": f"s3://{server.bucket}/output", "CompressionType": compression}
    job = server.run_job(script, OutputDataConfig=output)
    if compression == "GZIP":
        with tarfile.open(fileobj=io.BytesIO(server.object_bytes(job["ModelArtifacts"]["S3ModelArtifacts"]))) as archive:
            assert archive.getnames() == []


@pytest.mark.parametrize("script, named", [
    ("rm -rf /opt/ml/model; ln -s /etc /opt/ml/model", "/opt/ml/model"),
    ("rm -rf /opt/ml/model; echo > /opt/ml/model", "/opt/ml/model"),
    ("rm -rf /opt/ml/output; ln -s {host} /opt/ml/output", "/opt/ml/output/data"),
    ("mkdir /opt/ml/model/a; chmod 000 /opt/ml/model", "/opt/ml/model"),
])
def test_a_folder_that_is_something_else_is_told_by_its_name(user_server, script, named):
    """Nothing outside of /opt/ml is ever read for the job, and no path of the host is told."""
    host = user_server.identity.folder("host")
    (host / "data").mkdir(mode=0o755)
    job = user_server.run_job(script.format(host=host), expect="Failed")
    assert named in job["FailureReason"] and job["FailureReason"].startswith("ClientError: ")
    assert "/ml/" not in job["FailureReason"].replace("/opt/ml/", "")
    assert not user_server.client("s3").list_objects_v2(Bucket=user_server.bucket, Prefix=f"output/{job['TrainingJobName']}/").get("Contents")


def test_checkpoints_come_down_and_go_up(any_server):
    server = any_server
    prefix = f"ckpt/{uuid.uuid4().hex}"
    s3 = server.client("s3")
    s3.put_object(Bucket=server.bucket, Key=f"{prefix}/step-1/old", Body=b"old")
    job = server.run_job("cd /opt/ml/checkpoints; cat step-1/old; mkdir step-2; echo new > step-2/new; rm step-1/old",
                         CheckpointConfig={"S3Uri": f"s3://{server.bucket}/{prefix}/"})
    assert server.log_lines(job["TrainingJobName"]) == ["old"]
    keys = [o["Key"] for o in s3.list_objects_v2(Bucket=server.bucket, Prefix=prefix).get("Contents", [])]
    assert keys == [f"{prefix}/step-2/new"]


def test_checkpoints_may_have_a_folder_of_another_name(server):
    prefix = f"ckpt/{uuid.uuid4().hex}"
    job = server.run_job("cd /opt/ml/deep/er && echo $ATHANOR_CHECKPOINTS && echo new > file",
                         CheckpointConfig={"S3Uri": f"s3://{server.bucket}/{prefix}", "LocalPath": "/opt/ml/deep/er/"})
    assert server.log_lines(job["TrainingJobName"]) == ["/opt/ml/deep/er"]
    assert server.object_bytes(f"s3://{server.bucket}/{prefix}/file") == b"new\n"


def test_a_checkpoint_folder_that_the_job_removed_is_an_empty_one(server):
    prefix = f"ckpt/{uuid.uuid4().hex}"
    s3 = server.client("s3")
    s3.put_object(Bucket=server.bucket, Key=f"{prefix}/old", Body=b"old")
    config = {"CheckpointConfig": {"S3Uri": f"s3://{server.bucket}/{prefix}/"}}
    server.run_job("rm -rf /opt/ml/checkpoints", **config)
    assert "Contents" not in s3.list_objects_v2(Bucket=server.bucket, Prefix=prefix)
    job = server.run_job("rm -rf /opt/ml/checkpoints; ln -s /etc /opt/ml/checkpoints", expect="Failed", **config)
    assert "/opt/ml/checkpoints" in job["FailureReason"] and "instance" not in job["FailureReason"]
    assert "Contents" not in s3.list_objects_v2(Bucket=server.bucket, Prefix=prefix)


# A checkpoint that is never still, so that nothing but the message sends it up; beside it something newer that may go at any time.
ANNOUNCE = r'''
import json, os, pathlib, socket, time
folder = pathlib.Path(os.environ["ATHANOR_CHECKPOINTS"])
step = folder / "step-1"
step.mkdir()
for i in range(40):
    (step / f"{i:02}").write_bytes(bytes([i]) * 250_000)
link = socket.socket(socket.AF_UNIX)
link.connect(os.environ["ATHANOR_SOCKET"])
link.sendall(json.dumps({"checkpoint": {"path": "step-1", "step": 1}}).encode() + b"\n")
time.sleep(0.1)
(folder / "newer").write_text("newer")
os.utime(folder / "newer", (1, 1))
while True:
    (folder / "moving").write_text(str(time.time()))
    for file in step.iterdir():
        os.utime(file)
    time.sleep(0.1)
'''


def test_a_checkpoint_that_is_called_complete_goes_up_before_anything_newer(server):
    prefix = f"ckpt/{uuid.uuid4().hex}"
    s3 = server.client("s3")
    source = f"code/{uuid.uuid4().hex}"
    s3.put_object(Bucket=server.bucket, Key=f"{source}/program.py", Body=ANNOUNCE.encode())
    name = server.submit("exec python3 /opt/ml/input/data/code/program.py",
                         InputDataConfig=[server.channel("code", f"s3://{server.bucket}/{source}/")],
                         CheckpointConfig={"S3Uri": f"s3://{server.bucket}/{prefix}"})

    def sizes(below):
        listed = s3.list_objects_v2(Bucket=server.bucket, Prefix=f"{prefix}/{below}").get("Contents", [])
        return {row["Key"].removeprefix(f"{prefix}/"): row["Size"] for row in listed}

    wait_until(lambda: sizes("newer"), what="the newer file to be uploaded", every=0.01)
    assert sizes("step-1/") == {f"step-1/{i:02}": 250_000 for i in range(40)}
    assert sizes("moving") == {}, "it is being written"
    assert server.describe(name)["SecondaryStatus"] == "Training"
    server.client("sagemaker").stop_training_job(TrainingJobName=name)
    assert server.wait_for_job(name)["TrainingJobStatus"] == "Stopped"
    assert sizes("moving") != {} and server.object_bytes(f"s3://{server.bucket}/{prefix}/step-1/07") == bytes([7]) * 250_000


def test_what_is_no_message_of_the_extension_is_told_and_does_no_harm(server):
    code = '''
import json, os, socket, time
link = socket.socket(socket.AF_UNIX)
link.connect(os.environ["ATHANOR_SOCKET"])
link.sendall(b"this is no message\\n" + json.dumps({"beat": {"step": 3, "loss": 2.5}}).encode() + b"\\n")
time.sleep(0.7)
'''
    job = with_code(server, code)
    assert any("ignored" in line for line in server.log_lines(job["TrainingJobName"]))


@pytest.mark.parametrize("mode, status", [("644", "Completed"), ("000", "Failed")])
def test_files_may_have_names_in_any_encoding(any_server, mode, status):
    """A name that is no UTF-8 is uploaded, or told of in the reason; it is not the end of the agent."""
    script = f"cd /opt/ml/model && f=$(printf 'caf\\351') && echo x > \"$f\" && chmod {mode} \"$f\""
    job = any_server.run_job(script, expect=status)
    if status == "Failed":
        assert job["FailureReason"] == "ClientError: Unable to upload the job's artifacts: /opt/ml/model/caf\ufffd: it cannot be read"
    else:
        archive = tarfile.open(fileobj=io.BytesIO(any_server.object_bytes(job["ModelArtifacts"]["S3ModelArtifacts"])))
        assert [os.fsencode(name) for name in archive.getnames() if name.startswith("caf")] == [b"caf\xe9"]
