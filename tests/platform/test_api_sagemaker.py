"""SageMaker's training-job operations, as the real AWS CLI and boto3 meet them: what passes, what is refused and in
which words, and how a job is described."""

import json
import uuid

import pytest
from botocore.exceptions import ClientError


def refusal(call, **request):
    """The error that a call ends with: (code, message)."""
    with pytest.raises(ClientError) as caught:
        call(**request)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def new_name(prefix="api"):
    return f"{prefix}-{uuid.uuid4().hex[:10]}"


@pytest.fixture
def sagemaker(server):
    """A client that sends what it is told to, so that the server does the judging."""
    return server.client("sagemaker", parameter_validation=False)


def test_a_missing_job_is_a_validation_exception(sagemaker):
    for call in (sagemaker.describe_training_job, sagemaker.stop_training_job, sagemaker.delete_training_job):
        assert refusal(call, TrainingJobName=new_name()) == ("ValidationException", "Requested resource not found.")


def test_a_name_can_be_used_once(server, sagemaker):
    request = server.job_request("true")
    arn = sagemaker.create_training_job(**request)["TrainingJobArn"]
    assert refusal(sagemaker.create_training_job, **request) == (
        "ResourceInUse",
        f"Training job names must be unique within an AWS account and region, and a training job with this name already exists ({arn})")
    server.wait_for_job(request["TrainingJobName"])


def test_the_aws_cli_creates_waits_and_describes(server):
    request = server.job_request("echo hello")
    created = json.loads(server.aws("sagemaker", "create-training-job", "--cli-input-json", json.dumps(request)).stdout)
    assert created["TrainingJobArn"].endswith(f":training-job/{request['TrainingJobName']}")
    server.aws("sagemaker", "wait", "training-job-completed-or-stopped", "--training-job-name", request["TrainingJobName"])
    described = json.loads(server.aws("sagemaker", "describe-training-job", "--training-job-name", request["TrainingJobName"]).stdout)
    assert described["TrainingJobStatus"] == "Completed"
