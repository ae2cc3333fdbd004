"""SageMaker's training-job operations, as real clients meet them: how a job is described, listed, stopped and deleted,
by boto3 and by the AWS CLI, over http and https. What CreateTrainingJob takes and refuses is test_api_create_request.py's."""

import datetime
import json
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest
from botocore.exceptions import ClientError, SSLError, WaiterError
from harness import TERMINAL, refusal, unique_name, wait_until
from raw import Client

BLOCK = "trap 'exit 0' TERM; while :; do sleep 0.1; done"  # a program that ends when it is told to


@pytest.fixture
def sagemaker(server):
    return server.client("sagemaker", parameter_validation=False)


# names

def test_a_missing_job_is_a_validation_exception(sagemaker):
    for call in (sagemaker.describe_training_job, sagemaker.stop_training_job, sagemaker.delete_training_job):
        assert refusal(call, TrainingJobName=unique_name("api")) == ("ValidationException", "Requested resource not found.")


def test_a_name_can_be_used_once_until_its_job_is_deleted(server, sagemaker):
    request = server.job_request("true")
    name = request["TrainingJobName"]
    arn = sagemaker.create_training_job(**request)["TrainingJobArn"]
    assert arn == f"arn:aws:sagemaker:us-east-1:000000000000:training-job/{name}"
    taken = ("ResourceInUse", "Training job names must be unique within an AWS account and region, and a training job with "
                              f"this name already exists ({arn})")
    assert refusal(sagemaker.create_training_job, **request) == taken
    server.wait_for_job(name)
    assert refusal(sagemaker.create_training_job, **request) == taken

    sagemaker.delete_training_job(TrainingJobName=name)
    assert refusal(sagemaker.describe_training_job, TrainingJobName=name)[1] == "Requested resource not found."
    sagemaker.create_training_job(**request)
    assert server.wait_for_job(name)["TrainingJobStatus"] == "Completed"


def test_names_differ_by_case(server, sagemaker):
    name = unique_name("api")
    for one in (name, name.upper()):
        sagemaker.create_training_job(**server.job_request("true", name=one))
    for one in (name, name.upper()):
        assert server.wait_for_job(one)["TrainingJobName"] == one


# describing

def test_a_completed_job_is_described_as_the_service_describes_it(server, sagemaker):
    before = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=2)
    name = unique_name("api")
    request = server.job_request(
        "echo loss=0.25; sleep 1.2; echo hello > /opt/ml/model/file", name=name,
        HyperParameters={"steps": "10", "text": "grün 😀"}, Environment={"A": "b"}, Tags=[{"Key": "team", "Value": "llm"}])
    request["AlgorithmSpecification"]["MetricDefinitions"] = [{"Name": "loss", "Regex": "loss=([0-9.]+)"}]
    sagemaker.create_training_job(**request)
    described = server.wait_for_job(name)

    for member in ("TrainingJobName", "RoleArn", "HyperParameters", "Environment", "ResourceConfig", "StoppingCondition"):
        assert described[member] == request[member], member
    assert described["AlgorithmSpecification"] == request["AlgorithmSpecification"] | {"EnableSageMakerMetricsTimeSeries": False}
    assert described["OutputDataConfig"] == {"S3OutputPath": f"s3://{server.bucket}/output", "KmsKeyId": "", "CompressionType": "GZIP"}
    assert described["TrainingJobArn"].endswith(f":training-job/{name}")
    assert (described["TrainingJobStatus"], described["SecondaryStatus"]) == ("Completed", "Completed")
    assert "FailureReason" not in described and "Tags" not in described
    assert sagemaker.list_tags(ResourceArn=described["TrainingJobArn"])["Tags"] == request["Tags"]
    assert described["ModelArtifacts"] == {"S3ModelArtifacts": f"s3://{server.bucket}/output/{name}/output/model.tar.gz"}
    for flag in ("EnableNetworkIsolation", "EnableInterContainerTrafficEncryption", "EnableManagedSpotTraining"):
        assert described[flag] is False

    times = [described[key] for key in ("CreationTime", "TrainingStartTime", "TrainingEndTime", "LastModifiedTime")]
    assert all(isinstance(time, datetime.datetime) for time in times)
    assert before < times[0] <= times[1] <= times[2] <= times[3]
    # Both round up, and billing is for what training took.
    seconds = (described["TrainingEndTime"] - described["TrainingStartTime"]).total_seconds()
    assert described["TrainingTimeInSeconds"] == described["BillableTimeInSeconds"]
    assert seconds <= described["TrainingTimeInSeconds"] < seconds + 1.01 and described["TrainingTimeInSeconds"] >= 2

    transitions = described["SecondaryStatusTransitions"]
    assert [row["Status"] for row in transitions if row["Status"] != "Pending"] == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    for row, after in zip(transitions, transitions[1:]):
        assert row["StartTime"] <= row["EndTime"] <= after["StartTime"]
    assert all(row["StatusMessage"] for row in transitions)
    assert transitions[0]["StartTime"] >= described["CreationTime"] - datetime.timedelta(milliseconds=1)
    assert transitions[-1]["StatusMessage"] == "Training job completed"
    metric, = described["FinalMetricDataList"]
    assert (metric["MetricName"], metric["Value"]) == ("loss", 0.25)


def test_a_job_is_described_from_the_moment_that_it_was_created(server, sagemaker):
    name = unique_name("api")
    sagemaker.create_training_job(**server.job_request(BLOCK, name=name))
    described = sagemaker.describe_training_job(TrainingJobName=name)
    assert described["TrainingJobStatus"] == "InProgress"
    for always in ("TrainingJobArn", "ModelArtifacts", "SecondaryStatus", "StoppingCondition", "CreationTime", "LastModifiedTime",
                   "SecondaryStatusTransitions"):
        assert always in described, always
    for not_yet in ("TrainingEndTime", "TrainingTimeInSeconds", "BillableTimeInSeconds", "FailureReason"):
        assert not_yet not in described, not_yet
    sagemaker.stop_training_job(TrainingJobName=name)
    server.wait_for_job(name)


def test_channels_are_described_with_the_services_defaults(server, sagemaker):
    server.client("s3").put_object(Bucket=server.bucket, Key="described/file", Body=b"x")
    name = unique_name("api")
    channel = {"ChannelName": "train", "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{server.bucket}/described/"}}}
    sagemaker.create_training_job(**server.job_request("cat /opt/ml/input/data/train/file", name=name, InputDataConfig=[channel]))
    described, = server.wait_for_job(name)["InputDataConfig"]
    assert described["CompressionType"] == described["RecordWrapperType"] == "None"
    assert described["DataSource"]["S3DataSource"]["S3DataDistributionType"] == "FullyReplicated"


def test_a_failed_job_says_why(server, sagemaker):
    described = server.run_job("echo 'out of luck' > /opt/ml/output/failure; exit 3", expect="Failed")
    assert described["SecondaryStatus"] == "Failed"
    assert described["FailureReason"].startswith("AlgorithmError: out of luck")
    assert described["FailureReason"].endswith("exit code: 3")


# listing

@pytest.fixture(scope="module")
def listed(server):
    """Five jobs that ended, made one after the other: their names in that order; the fourth failed."""
    prefix = unique_name("list")
    names = [f"{prefix}-{letter}" for letter in "cabed"]
    for i, name in enumerate(names):
        server.submit("exit 1" if i == 3 else "true", name=name)
        server.wait_for_job(name)
    return prefix, names


def names_of(page):
    return [row["TrainingJobName"] for row in page["TrainingJobSummaries"]]


def test_listing_sorts(sagemaker, listed):
    prefix, names = listed

    def sorted_by(by, order=None):
        return names_of(sagemaker.list_training_jobs(NameContains=prefix, SortBy=by, **({"SortOrder": order} if order else {})))

    assert sorted_by("CreationTime") == names
    assert sorted_by("CreationTime", "Descending") == names[::-1]
    assert sorted_by("Name") == sorted(names)
    assert sorted_by("Name", "Descending") == sorted(names, reverse=True)
    failed = names[3]
    assert sorted_by("Status", "Descending")[0] == failed
    assert sorted_by("Status", "Ascending")[-1] == failed


def test_listing_pages_with_boto3s_paginator_and_misses_none(sagemaker, listed):
    prefix, names = listed
    for order, expected in (("Ascending", names), ("Descending", names[::-1])):
        pages = list(sagemaker.get_paginator("list_training_jobs").paginate(
            NameContains=prefix, SortOrder=order, PaginationConfig={"PageSize": 2}))
        assert [len(names_of(page)) for page in pages] == [2, 2, 1]
        assert sum(map(names_of, pages), []) == expected


def test_listing_goes_on_where_it_was_when_jobs_come_and_go(server, sagemaker, listed):
    prefix, names = listed
    first = sagemaker.list_training_jobs(NameContains=prefix, SortBy="Name", MaxResults=2)
    extra = f"{prefix}-aa"
    server.submit("true", name=extra)  # sorts into what was shown already
    server.wait_for_job(extra)
    rest = sagemaker.list_training_jobs(NameContains=prefix, SortBy="Name", MaxResults=100, NextToken=first["NextToken"])
    assert names_of(first) + names_of(rest) == sorted(names)
    sagemaker.delete_training_job(TrainingJobName=extra)


def test_listing_filters_by_status_after_the_page_is_cut(sagemaker, listed):
    prefix, names = listed
    page = sagemaker.list_training_jobs(NameContains=prefix, StatusEquals="Failed", MaxResults=3)
    assert names_of(page) == [] and page["NextToken"]
    page = sagemaker.list_training_jobs(NameContains=prefix, StatusEquals="Failed", MaxResults=3, NextToken=page["NextToken"])
    assert names_of(page) == [names[3]] and "NextToken" not in page


def test_listing_filters_by_time(sagemaker, listed):
    prefix, names = listed
    created = [sagemaker.describe_training_job(TrainingJobName=name) for name in names]
    middle = created[2]["CreationTime"]
    after = sagemaker.list_training_jobs(NameContains=prefix, CreationTimeAfter=middle)
    before = sagemaker.list_training_jobs(NameContains=prefix, CreationTimeBefore=middle)
    # boto3 sends whole seconds or milliseconds as its version likes; the middle one may be on either side.
    assert set(names[3:]) <= set(names_of(after)) and names[0] not in names_of(after)
    assert set(names[:2]) <= set(names_of(before)) and names[4] not in names_of(before)
    modified = sagemaker.list_training_jobs(NameContains=prefix, LastModifiedTimeAfter=created[4]["LastModifiedTime"] + datetime.timedelta(seconds=5))
    assert names_of(modified) == []


def test_a_listed_job_has_the_services_members(sagemaker, listed):
    prefix, names = listed
    row = sagemaker.list_training_jobs(NameContains=names[0])["TrainingJobSummaries"][0]
    described = sagemaker.describe_training_job(TrainingJobName=names[0])
    for member in ("TrainingJobName", "TrainingJobArn", "CreationTime", "TrainingEndTime", "LastModifiedTime", "TrainingJobStatus", "SecondaryStatus"):
        assert row[member] == described[member], member


def test_listing_refuses_what_it_cannot_do(sagemaker):
    assert refusal(sagemaker.list_training_jobs, MaxResults=101) == (
        "ValidationException", "1 validation error detected: Value '101' at 'maxResults' failed to satisfy constraint: Member must "
                               "have value less than or equal to 100")
    assert refusal(sagemaker.list_training_jobs, SortBy="Size")[0] == "ValidationException"
    assert refusal(sagemaker.list_training_jobs, NextToken="bm90IG91cnM=")[0] == "ValidationException"
    assert names_of(sagemaker.list_training_jobs(WarmPoolStatusEquals="Available")) == []


# stopping, deleting, waiting

def test_stopping_and_deleting_follow_the_jobs_status(server, sagemaker):
    name = server.submit(BLOCK)
    server.wait_for_job(name, secondary="Training")
    code, message = refusal(sagemaker.delete_training_job, TrainingJobName=name)
    assert code == "ValidationException" and "InProgress" in message

    assert set(sagemaker.stop_training_job(TrainingJobName=name)) == {"ResponseMetadata"}
    stopped = server.wait_for_job(name)
    assert (stopped["TrainingJobStatus"], stopped["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert "Stopping" in [row["Status"] for row in stopped["SecondaryStatusTransitions"]]
    assert refusal(sagemaker.stop_training_job, TrainingJobName=name) == (
        "ValidationException", "The request was rejected because the training job is in status Stopped.")

    assert set(sagemaker.delete_training_job(TrainingJobName=name)) == {"ResponseMetadata"}
    assert refusal(sagemaker.delete_training_job, TrainingJobName=name)[1] == "Requested resource not found."


def test_boto3s_waiter(server, sagemaker):
    waiter = sagemaker.get_waiter("training_job_completed_or_stopped")
    patience = {"Delay": 1, "MaxAttempts": 60}
    waiter.wait(TrainingJobName=server.submit("true"), WaiterConfig=patience)
    with pytest.raises(WaiterError, match="terminal failure"):
        waiter.wait(TrainingJobName=server.submit("exit 1"), WaiterConfig=patience)
    with pytest.raises(WaiterError, match="ValidationException|not found"):  # the newest boto3 tells the code alone
        waiter.wait(TrainingJobName=unique_name("api"), WaiterConfig=patience)


# the AWS CLI, http and https

@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_the_aws_cli_creates_describes_lists_and_stops(server, secure):
    """Debian's AWS CLI is older than DeleteTrainingJob; boto3 deletes, above."""
    def aws(*argv, **options):
        result = server.aws("sagemaker", *argv, secure=secure, **options)
        return json.loads(result.stdout) if result.stdout.strip() else None

    name = unique_name("cli")
    created = aws("create-training-job", "--cli-input-json", json.dumps(server.job_request(BLOCK, name=name)))
    assert created["TrainingJobArn"].endswith(f":training-job/{name}")
    assert aws("describe-training-job", "--training-job-name", name)["TrainingJobStatus"] == "InProgress"
    listed = aws("list-training-jobs", "--name-contains", name, "--sort-by", "CreationTime", "--sort-order", "Descending")
    assert [row["TrainingJobName"] for row in listed["TrainingJobSummaries"]] == [name]
    assert aws("stop-training-job", "--training-job-name", name) is None
    aws("wait", "training-job-completed-or-stopped", "--training-job-name", name)
    assert aws("describe-training-job", "--training-job-name", name)["TrainingJobStatus"] == "Stopped"

    refused = server.aws("sagemaker", "stop-training-job", "--training-job-name", name, secure=secure, check=False)
    assert refused.returncode == 254
    assert "An error occurred (ValidationException) when calling the StopTrainingJob operation" in refused.stderr


def test_boto3_over_https_with_the_ca_bundle(server):
    client = server.client("sagemaker", secure=True)
    name = server.submit("true")
    server.wait_for_job(name)
    assert client.describe_training_job(TrainingJobName=name)["TrainingJobStatus"] in TERMINAL

    stranger = boto3.Session(aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1").client(
        "sagemaker", endpoint_url=server.secure_endpoint)  # knows nothing of our certificate authority
    with pytest.raises(SSLError):
        stranger.list_training_jobs()


def test_the_environment_alone_leads_boto3_to_us(server):
    """What `athanor env` prints is all that a program of today needs."""
    program = "import boto3; print(len(boto3.client('sagemaker').list_training_jobs()['TrainingJobSummaries']) >= 0)"
    result = subprocess.run([sys.executable, "-c", program], env=server.aws_environment(), capture_output=True, text=True, timeout=60)
    assert result.stdout.strip() == "True", result.stderr


def test_replies_carry_a_request_id_of_their_own(server, sagemaker):
    replies = [sagemaker.list_training_jobs(MaxResults=1) for _ in range(2)]
    ids = {reply["ResponseMetadata"]["RequestId"] for reply in replies}
    assert len(ids) == 2 and all(uuid.UUID(one) for one in ids)


def test_many_clients_at_once_create_describe_and_list(server):
    """Ten threads with a client each: every job is created once, and all of them end."""
    prefix = unique_name("many")

    def one(i):
        client = server.client("sagemaker")
        name = f"{prefix}-{i}"
        client.create_training_job(**server.job_request("true", name=name))
        with pytest.raises(ClientError):
            client.create_training_job(**server.job_request("true", name=name))
        assert client.describe_training_job(TrainingJobName=name)["TrainingJobName"] == name
        assert name in names_of(client.list_training_jobs(NameContains=prefix, MaxResults=100))
        return name

    with ThreadPoolExecutor(10) as pool:
        names = list(pool.map(one, range(10)))
    for name in names:
        assert server.wait_for_job(name, timeout=120)["TrainingJobStatus"] == "Completed"


def test_a_jobs_progress_beat_is_told_by_our_own_operation(server):
    beat = '{"beat": {"step": 12, "steps": 400, "loss": 3.5}}'
    name = server.submit(f"""python3 - <<'END'
import os, socket, time
with socket.socket(socket.AF_UNIX) as agent:
    agent.connect(os.environ["ATHANOR_SOCKET"])
    agent.sendall(b'{beat}\\n')
    time.sleep(60)
END""")
    client = Client(server)

    def progress():
        status, reply = client.json("sagemaker", "Athanor.GetProgress", json.dumps({"TrainingJobName": name}))
        assert status == 200
        return reply["Progress"]

    assert wait_until(progress, 30, "the beat") == {"step": 12, "steps": 400, "loss": 3.5}
    server.client("sagemaker").stop_training_job(TrainingJobName=name)
    server.wait_for_job(name)
