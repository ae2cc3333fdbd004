"""The life of a training job, as its owner sees it through boto3."""

import io
import tarfile
import time

import pytest

from harness import refusal, wait_until


def statuses(description):
    return [row["Status"] for row in description["SecondaryStatusTransitions"]]


def archive(server, uri):
    """The files of a tar.gz object: {name: bytes}."""
    with tarfile.open(fileobj=io.BytesIO(server.object_bytes(uri)), mode="r:gz") as tar:
        return {m.name.removeprefix("./"): tar.extractfile(m).read() for m in tar if m.isfile()}


def test_a_whole_life(any_server):
    before = time.time()
    job = any_server.run_job("echo hello; echo weights > /opt/ml/model/weights; echo report > /opt/ml/output/data/report")
    assert statuses(job) == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    messages = [row["StatusMessage"] for row in job["SecondaryStatusTransitions"]]
    assert messages == [
        "Preparing the instances for training",
        "Downloading the training image",
        "Training image download completed. Training in progress.",
        "Uploading generated training model",
        "Training job completed",
    ]
    rows = job["SecondaryStatusTransitions"]
    for one, next_one in zip(rows, rows[1:]):
        assert one["EndTime"] == next_one["StartTime"] >= one["StartTime"]
    assert before - 1 <= job["CreationTime"].timestamp() <= job["TrainingStartTime"].timestamp() <= job["TrainingEndTime"].timestamp()
    assert job["LastModifiedTime"] >= job["CreationTime"]
    assert 0 <= job["TrainingTimeInSeconds"] <= 60
    assert job["BillableTimeInSeconds"] == job["TrainingTimeInSeconds"]
    assert "FailureReason" not in job
    uri = job["ModelArtifacts"]["S3ModelArtifacts"]
    assert uri == f"s3://{any_server.bucket}/output/{job['TrainingJobName']}/output/model.tar.gz"
    assert archive(any_server, uri) == {"weights": b"weights\n"}
    assert archive(any_server, uri.replace("model.tar", "output.tar"))["report"] == b"report\n"
    assert any_server.log_lines(job["TrainingJobName"]) == ["hello"]


def test_the_log_is_complete_when_the_end_is_seen(server):
    job = server.run_job("for i in $(seq 5000); do echo line $i; done")
    assert server.log_lines(job["TrainingJobName"]) == [f"line {i}" for i in range(1, 5001)]


def test_a_failure_tells_what_the_program_wrote(any_server):
    job = any_server.run_job("printf 'out of paper' > /opt/ml/output/failure; exit 3", expect="Failed")
    assert job["FailureReason"] == "AlgorithmError: out of paper, exit code: 3"
    assert statuses(job)[-1] == "Failed"


def test_a_failure_without_words(server):
    job = server.run_job("exit 7", expect="Failed")
    assert job["FailureReason"].startswith("AlgorithmError: ")
    assert job["FailureReason"].endswith("exit code: 7")


def test_a_failure_reason_has_at_most_1024_characters(server):
    job = server.run_job("for i in $(seq 1000); do printf 'äöü-' >> /opt/ml/output/failure; done; exit 1", expect="Failed")
    assert len(job["FailureReason"]) <= 1024
    assert job["FailureReason"].startswith("AlgorithmError: äöü-")
    assert job["FailureReason"].endswith("exit code: 1")


def test_a_program_that_does_not_exist(server):
    request = server.job_request()
    request["AlgorithmSpecification"]["ContainerEntrypoint"] = ["/nowhere/train"]
    del request["AlgorithmSpecification"]["ContainerArguments"]
    server.client("sagemaker").create_training_job(**request)
    job = server.wait_for_job(request["TrainingJobName"])
    assert job["TrainingJobStatus"] == "Failed"
    assert "/nowhere/train" in job["FailureReason"]


def test_a_stop_is_a_sigterm_and_keeps_what_was_made(any_server):
    name = any_server.submit("trap 'echo caught > /opt/ml/model/weights; exit 0' TERM; echo ready; while :; do sleep 0.05; done")
    wait_until(lambda: "ready" in any_server.job_log(name), what="the program to run")
    client = any_server.client("sagemaker")
    client.stop_training_job(TrainingJobName=name)
    job = any_server.wait_for_job(name)
    assert job["TrainingJobStatus"] == "Stopped"
    assert statuses(job) == ["Starting", "Downloading", "Training", "Stopping", "Uploading", "Stopped"]
    assert archive(any_server, job["ModelArtifacts"]["S3ModelArtifacts"]) == {"weights": b"caught\n"}
    with pytest.raises(client.exceptions.ClientError, match="The request was rejected because the training job is in status Stopped"):
        client.stop_training_job(TrainingJobName=name)


@pytest.mark.slow
def test_a_program_that_ignores_sigterm_is_killed_after_120_s(server):
    name = server.submit("trap '' TERM; echo ready; while :; do sleep 0.05; done")
    wait_until(lambda: "ready" in server.job_log(name), what="the program to run")
    server.client("sagemaker").stop_training_job(TrainingJobName=name)
    began = time.monotonic()
    job = server.wait_for_job(name, timeout=150)
    assert job["TrainingJobStatus"] == "Stopped"
    assert 119 <= time.monotonic() - began <= 140


def test_max_runtime_stops_the_job(any_server):
    job = any_server.run_job("echo half > /opt/ml/model/weights; exec sleep 100", expect="Stopped",
                             StoppingCondition={"MaxRuntimeInSeconds": 2})
    assert job["SecondaryStatus"] == "MaxRuntimeExceeded"
    assert statuses(job) == ["Starting", "Downloading", "Training", "Stopping", "Uploading", "MaxRuntimeExceeded"]
    assert job["SecondaryStatusTransitions"][-1]["StatusMessage"] == "Training job runtime exceeded MaxRuntimeInSeconds provided"
    assert 1 <= job["TrainingTimeInSeconds"] <= 10
    assert archive(any_server, job["ModelArtifacts"]["S3ModelArtifacts"]) == {"weights": b"half\n"}


def test_two_instances_make_one_model(any_server):
    job = any_server.run_job("hostname > /opt/ml/model/$(hostname)", instances=2)
    assert archive(any_server, job["ModelArtifacts"]["S3ModelArtifacts"]) == {"algo-1": b"algo-1\n", "algo-2": b"algo-2\n"}
    assert any_server.log_lines(job["TrainingJobName"]) == [], "neither printed anything"


def test_the_first_failing_instance_ends_the_others(any_server):
    job = any_server.run_job('if [ "$(hostname)" = algo-2 ]; then sleep 0.5; exit 9; fi; exec sleep 1000', instances=2, expect="Failed")
    assert job["FailureReason"].startswith("AlgorithmError: ")
    assert "exit code: 9" in job["FailureReason"]


def test_the_others_are_asked_to_end_and_may_say_goodbye(server):
    job = server.run_job("""if [ "$(hostname)" = algo-1 ]; then sleep 1; printf broken > /opt/ml/output/failure; exit 9; fi
trap 'echo asked; exit 0' TERM; echo ready; while :; do sleep 0.05; done""", instances=2, expect="Failed")
    assert job["FailureReason"] == "AlgorithmError: broken, exit code: 9"
    assert server.log_lines(job["TrainingJobName"], "algo-2") == ["ready", "asked"]


def test_sigterm_is_for_the_program_itself(server):
    """Its children go on until it ends, as in a container."""
    name = server.submit("""(trap 'echo child asked' TERM; until [ -e /tmp/asked ]; do sleep 0.05; done; sleep 0.5; echo child done) &
trap 'echo asked; touch /tmp/asked; wait; wait; exit 0' TERM; echo ready; wait""")
    wait_until(lambda: "ready" in server.job_log(name), what="the program to run")
    server.client("sagemaker").stop_training_job(TrainingJobName=name)
    assert server.wait_for_job(name)["TrainingJobStatus"] == "Stopped"
    assert server.log_lines(name) == ["ready", "asked", "child done"]


def test_checkpoints_go_up_while_the_program_runs(server):
    place = f"s3://{server.bucket}/checkpoints/{time.time_ns()}"
    key = place.removeprefix(f"s3://{server.bucket}/")
    name = server.submit("cd /opt/ml/checkpoints; echo 1 > one; exec sleep 1000",
                         CheckpointConfig={"S3Uri": place})
    s3 = server.client("s3")

    def keys():
        return {row["Key"]: row["Size"] for row in s3.list_objects_v2(Bucket=server.bucket, Prefix=key).get("Contents", [])}

    wait_until(lambda: keys() == {f"{key}/one": 2}, timeout=30, what="the checkpoint to be uploaded")
    assert server.describe(name)["SecondaryStatus"] == "Training"
    server.client("sagemaker").stop_training_job(TrainingJobName=name)
    server.wait_for_job(name)
    again = server.run_job("cat /opt/ml/checkpoints/one", CheckpointConfig={"S3Uri": place})
    assert server.log_lines(again["TrainingJobName"]) == ["1"]
    assert again["CheckpointConfig"]["S3Uri"] == place


def test_uncompressed_output(server):
    job = server.run_job("mkdir /opt/ml/model/sub; echo one > /opt/ml/model/sub/one",
                         OutputDataConfig={"S3OutputPath": f"s3://{server.bucket}/plain/", "CompressionType": "NONE"})
    uri = job["ModelArtifacts"]["S3ModelArtifacts"]
    assert uri == f"s3://{server.bucket}/plain/{job['TrainingJobName']}/output/model/"
    assert server.object_bytes(uri + "sub/one") == b"one\n"


def test_final_metrics(server):
    request = server.job_request("echo step=1 loss=3.5; echo step=2 loss=1.25")
    request["AlgorithmSpecification"]["MetricDefinitions"] = [{"Name": "train:loss", "Regex": "loss=([0-9.]+)"}]
    server.client("sagemaker").create_training_job(**request)
    job = server.wait_for_job(request["TrainingJobName"])
    assert [(m["MetricName"], m["Value"]) for m in job["FinalMetricDataList"]] == [("train:loss", 1.25)]


def test_an_input_that_vanishes_before_it_is_downloaded(new_server):
    server = new_server("--instances", "1")
    s3 = server.client("s3")
    s3.put_object(Bucket=server.bucket, Key="nowhere/x", Body=b"x")
    first = server.submit("sleep 1000")
    server.wait_for_job(first, secondary="Training")
    name = server.submit("true", InputDataConfig=[server.channel("train", f"s3://{server.bucket}/nowhere/")])
    server.wait_for_job(name, secondary="Pending")
    s3.delete_object(Bucket=server.bucket, Key="nowhere/x")
    server.client("sagemaker").stop_training_job(TrainingJobName=first)
    job = server.wait_for_job(name, status="Failed")
    assert job["FailureReason"].startswith("ClientError: ")
    assert "nowhere" in job["FailureReason"]
    assert statuses(job) == ["Starting", "Pending", "Starting", "Downloading", "Failed"]
    assert job["SecondaryStatusTransitions"][-2]["StatusMessage"] == "Downloading input data"


def test_an_output_bucket_that_is_not_there(server):
    job = server.run_job("echo 1 > /opt/ml/model/1", expect="Failed", OutputDataConfig={"S3OutputPath": "s3://no-such-bucket-here/x"})
    assert job["FailureReason"].startswith("ClientError: ")
    assert "no-such-bucket-here" in job["FailureReason"]


def test_more_instances_than_there_are(server):
    code, message = refusal(server.submit, instances=3)
    assert code == "ResourceLimitExceeded"
    assert "'ml.m5.large for training job usage' is 2 Instances" in message and "request delta of 3 Instances" in message


def test_ten_jobs_run_two_at_a_time_in_order(new_any_server):
    server = new_any_server("--instances", "2")
    names = [server.submit("sleep 2", name=f"job-{i}") for i in range(10)]
    jobs = [server.wait_for_job(name, timeout=120) for name in names]
    assert [job["TrainingJobStatus"] for job in jobs] == ["Completed"] * 10
    assert statuses(jobs[9]) == ["Starting", "Pending", "Starting", "Downloading", "Training", "Uploading", "Completed"]

    # From the launch to the end of each.
    spans = [([row["StartTime"] for row in job["SecondaryStatusTransitions"] if row["Status"] == "Starting"][-1],
              job["TrainingEndTime"]) for job in jobs]
    starts = [start for start, _ in spans]
    assert starts == sorted(starts), "in the order of submission"
    for start, _ in spans:
        assert sum(other_start <= start < other_end for other_start, other_end in spans) <= 2


def test_a_pending_job_can_be_stopped(new_server):
    server = new_server("--instances", "1")
    blocker = server.submit("exec sleep 1000")
    name = server.submit("true")
    assert server.describe(name)["SecondaryStatus"] == "Pending"
    client = server.client("sagemaker")
    client.stop_training_job(TrainingJobName=name)
    job = server.wait_for_job(name, timeout=5)
    assert statuses(job) == ["Starting", "Pending", "Stopping", "Stopped"]
    assert server.describe(blocker)["TrainingJobStatus"] == "InProgress"


def test_a_name_is_free_again_after_deletion(server):
    name = server.run_job("echo first")["TrainingJobName"]
    client = server.client("sagemaker")
    code, message = refusal(server.submit, name=name)
    assert code == "ResourceInUse" and message.startswith("Training job names must be unique within an AWS account and region")
    client.delete_training_job(TrainingJobName=name)
    assert refusal(server.describe, name=name)[1] == "Requested resource not found."
    job = server.run_job("echo second > /opt/ml/model/x", name=name)
    assert archive(server, job["ModelArtifacts"]["S3ModelArtifacts"]) == {"x": b"second\n"}


def test_a_running_job_cannot_be_deleted(server):
    name = server.submit("exec sleep 1000")
    client = server.client("sagemaker")
    with pytest.raises(client.exceptions.ClientError, match="in status InProgress"):
        client.delete_training_job(TrainingJobName=name)
    client.stop_training_job(TrainingJobName=name)
    assert server.wait_for_job(name)["TrainingJobStatus"] == "Stopped"
    client.delete_training_job(TrainingJobName=name)
