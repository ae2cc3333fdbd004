"""What CreateTrainingJob takes, and how it refuses the rest: the constraints of the shapes in the service's own words,
members that we do not honour by name, and what shapes cannot say. boto3 goes without its own validation here, so that
the server judges."""

import copy
import json
import re

import pytest
from harness import refusal, unique_name
from raw import Client


def with_member(request, path, value):
    """A copy of the request with the member at "A.B.0.C" set, or removed when the value is None."""
    request = copy.deepcopy(request)
    at = request
    *way, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    for step in way:
        at = at[step] if isinstance(step, int) or step in at else at.setdefault(step, {})
    if value is None:
        del at[last]
    else:
        at[last] = value
    return request


@pytest.fixture
def sagemaker(server):
    return server.client("sagemaker", parameter_validation=False)


@pytest.fixture
def request_with_channel(server):
    return server.job_request(InputDataConfig=[server.channel("train", f"s3://{server.bucket}/none/")])


# the constraints of the shapes

LONG_NAME = "a" * 64
LONG_VALUE = "v" * 2501
CONSTRAINTS = [
    # A member of the request, the value put there, where the error says it is, the value that it shows, the constraint.
    ("TrainingJobName", "a_b", "trainingJobName", "'a_b'", "Member must satisfy regular expression pattern: ^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"),
    ("TrainingJobName", None, "trainingJobName", "null", "Member must not be null"),
    ("RoleArn", "arn:aws:iam::1:role/x", "roleArn", "'arn:aws:iam::1:role/x'",
     r"Member must satisfy regular expression pattern: ^arn:aws[a-z\-]*:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+"),
    ("OutputDataConfig", None, "outputDataConfig", "null", "Member must not be null"),
    ("OutputDataConfig.S3OutputPath", None, "outputDataConfig.s3OutputPath", "null", "Member must not be null"),
    ("OutputDataConfig.S3OutputPath", "s3://b/" + "x" * 1018, "outputDataConfig.s3OutputPath", None,  # shown in part
     "Member must have length less than or equal to 1024"),
    ("OutputDataConfig.CompressionType", "ZIP", "outputDataConfig.compressionType", "'ZIP'", "Member must satisfy enum value set: [GZIP, NONE]"),
    ("AlgorithmSpecification.TrainingInputMode", None, "algorithmSpecification.trainingInputMode", "null", "Member must not be null"),
    ("AlgorithmSpecification.TrainingInputMode", "file", "algorithmSpecification.trainingInputMode", "'file'",
     "Member must satisfy enum value set: [Pipe, File, FastFile]"),
    ("AlgorithmSpecification.TrainingImage", "i" * 256, "algorithmSpecification.trainingImage", f"'{'i' * 256}'",
     "Member must have length less than or equal to 255"),
    ("AlgorithmSpecification.ContainerEntrypoint", [], "algorithmSpecification.containerEntrypoint", "'[]'",
     "Member must have length greater than or equal to 1"),
    ("AlgorithmSpecification.ContainerArguments", ["ok", "a" * 257], "algorithmSpecification.containerArguments", f"'[ok, {'a' * 257}]'",
     "Member must satisfy constraint: [Member must have length less than or equal to 256, "
     "Member must have length greater than or equal to 0, Member must satisfy regular expression pattern: .*]"),
    ("AlgorithmSpecification.MetricDefinitions", [{"Name": "loss"}], "algorithmSpecification.metricDefinitions.1.member.regex", "null",
     "Member must not be null"),
    ("ResourceConfig.InstanceCount", -1, "resourceConfig.instanceCount", "'-1'", "Member must have value greater than or equal to 0"),
    ("ResourceConfig.KeepAlivePeriodInSeconds", 21601, "resourceConfig.keepAlivePeriodInSeconds", "'21601'",
     "Member must have value less than or equal to 21600"),
    ("StoppingCondition.MaxRuntimeInSeconds", 0, "stoppingCondition.maxRuntimeInSeconds", "'0'",
     "Member must have value greater than or equal to 1"),
    ("StoppingCondition.MaxRuntimeInSeconds", 2419201, "stoppingCondition.maxRuntimeInSeconds", "'2419201'",
     "Member must have value less than or equal to 2419200"),
    ("HyperParameters", {"a": LONG_VALUE}, "hyperParameters", None,
     "Map value must satisfy constraint: [Member must have length less than or equal to 2500, "
     "Member must have length greater than or equal to 0, Member must satisfy regular expression pattern: .*]"),
    ("HyperParameters", {str(i): "" for i in range(101)}, "hyperParameters", None, "Member must have length less than or equal to 100"),
    ("Environment", {"1A": "x"}, "environment", "'{1A=x}'",
     "Map keys must satisfy constraint: [Member must have length less than or equal to 512, "
     "Member must have length greater than or equal to 0, Member must satisfy regular expression pattern: ^[a-zA-Z_][a-zA-Z0-9_]*]"),
    ("InputDataConfig", [], "inputDataConfig", "'[]'", "Member must have length greater than or equal to 1"),
    ("InputDataConfig.0.ChannelName", "a/b", "inputDataConfig.1.member.channelName", "'a/b'",
     r"Member must satisfy regular expression pattern: ^[A-Za-z0-9\.\-_]+"),
    ("InputDataConfig.0.DataSource", None, "inputDataConfig.1.member.dataSource", "null", "Member must not be null"),
    ("InputDataConfig.0.DataSource.S3DataSource.S3Uri", "file:///x", "inputDataConfig.1.member.dataSource.s3DataSource.s3Uri", "'file:///x'",
     "Member must satisfy regular expression pattern: ^(https|s3)://([^/]+)/?(.*)"),
    ("InputDataConfig.0.DataSource.S3DataSource.S3DataDistributionType", "Some",
     "inputDataConfig.1.member.dataSource.s3DataSource.s3DataDistributionType", "'Some'",
     "Member must satisfy enum value set: [FullyReplicated, ShardedByS3Key]"),
    ("Tags", [{"Key": "", "Value": "x"}], "tags.1.member.key", "''", "Member must have length greater than or equal to 1"),
    ("Tags", [{"Key": "k"}], "tags.1.member.value", "null", "Member must not be null"),
    ("CheckpointConfig", {"LocalPath": "/opt/ml/checkpoints"}, "checkpointConfig.s3Uri", "null", "Member must not be null"),
    ("RetryStrategy", {"MaximumRetryAttempts": 31}, "retryStrategy.maximumRetryAttempts", "'31'", "Member must have value less than or equal to 30"),
]


@pytest.mark.parametrize("path, value, where, shown, constraint", CONSTRAINTS, ids=[f"{row[0]}-{i}" for i, row in enumerate(CONSTRAINTS)])
def test_each_constraint_is_refused_in_the_services_words(sagemaker, request_with_channel, path, value, where, shown, constraint):
    code, message = refusal(sagemaker.create_training_job, **with_member(request_with_channel, path, value))
    assert code == "ValidationException"
    start, end = "1 validation error detected: Value ", f" at '{where}' failed to satisfy constraint: {constraint}"
    assert message.startswith(start) and message.endswith(end), message
    assert shown is None or message == start + shown + end


def test_several_violations_come_as_one_error_that_counts_them(sagemaker, server):
    request = server.job_request(name="a_b", StoppingCondition={"MaxRuntimeInSeconds": 0})
    code, message = refusal(sagemaker.create_training_job, **request)
    assert code == "ValidationException"
    assert message == (
        "2 validation errors detected: Value 'a_b' at 'trainingJobName' failed to satisfy constraint: Member must satisfy regular "
        "expression pattern: ^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}; Value '0' at 'stoppingCondition.maxRuntimeInSeconds' failed to "
        "satisfy constraint: Member must have value greater than or equal to 1")


def test_a_name_that_is_too_long_breaks_its_length_and_its_pattern(sagemaker, server):
    code, message = refusal(sagemaker.create_training_job, **server.job_request(name=LONG_NAME))
    assert code == "ValidationException"
    assert message.startswith(f"2 validation errors detected: Value '{LONG_NAME}' at 'trainingJobName' failed to satisfy "
                              "constraint: Member must have length less than or equal to 63; ")


def test_a_refused_request_leaves_no_job(sagemaker, server):
    request = server.job_request(StoppingCondition={"MaxRuntimeInSeconds": 0})
    refusal(sagemaker.create_training_job, **request)
    assert refusal(sagemaker.describe_training_job, TrainingJobName=request["TrainingJobName"])[1] == "Requested resource not found."


# nothing is ignored

EXAMPLES = {  # a value for each pattern of the model that "x" does not satisfy
    "fs-": "fs-0123456789abcdef0",
    "lambda": "arn:aws:lambda:us-east-1:000000000000:function:f",
    "(https|s3)": "s3://bucket/prefix",
    "training-plan": "arn:aws:sagemaker:us-east-1:000000000000:training-plan/plan",
    "/DataSet": "arn:aws:sagemaker:us-east-1:000000000000:hub-content/hub/DataSet/data/1.0.0",
    r"\/DataSet": "arn:aws:sagemaker:us-east-1:000000000000:hub-content/hub/DataSet/data/1.0.0",
    r"\/Model": "arn:aws:sagemaker:us-east-1:000000000000:hub-content/hub/Model/model/1.0.0",
    "mlflow": "arn:aws:sagemaker:us-east-1:000000000000:mlflow-app/app",
    "model-package-group/": "arn:aws:sagemaker:us-east-1:000000000000:model-package-group/group",
    "model-package/": "arn:aws:sagemaker:us-east-1:000000000000:model-package/package",
    "role": "arn:aws:iam::000000000000:role/athanor",
    r"\d+K": "8K",
}


def sample(shape, only=None):
    """A valid value of a shape: its required members, and those on the way `only`."""
    facts = shape.metadata
    if shape.type_name == "structure":
        wanted = {*shape.required_members, *([only[0]] if only else [])}
        return {name: sample(shape.members[name], only[1:] if only and only[0] == name else None) for name in sorted(wanted)}
    if shape.type_name == "list":
        return [sample(shape.member, only[1:] if only else None)]
    if shape.type_name == "map":
        return {sample(shape.key): sample(shape.value)}
    if shape.type_name == "boolean":
        return True
    if shape.type_name in ("integer", "long"):
        return max(facts.get("min", 1), 1)
    if "enum" in facts:
        return facts["enum"][-1]
    for part, example in EXAMPLES.items():
        if part in facts.get("pattern", ""):
            return example
    return "x" * max(facts.get("min", 1), 1)


def ways(shape, way=()):
    """The ways from a shape to each of its scalars: ("InputDataConfig", "[]", "ChannelName")."""
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            yield from ways(member, (*way, name))
    elif shape.type_name == "list":
        yield from ways(shape.member, (*way, "[]"))
    else:
        yield way


HONOURED = {  # what of CreateTrainingJob this version acts upon, with values that it takes
    "TrainingJobName", "RoleArn", "HyperParameters", "Environment", "Tags[].Key", "Tags[].Value",
    "AlgorithmSpecification.TrainingImage", "AlgorithmSpecification.TrainingInputMode",
    "AlgorithmSpecification.MetricDefinitions[].Name", "AlgorithmSpecification.MetricDefinitions[].Regex",
    "AlgorithmSpecification.ContainerEntrypoint[]", "AlgorithmSpecification.ContainerArguments[]",
    "InputDataConfig[].ChannelName", "InputDataConfig[].ContentType",
    "InputDataConfig[].DataSource.S3DataSource.S3DataType", "InputDataConfig[].DataSource.S3DataSource.S3Uri",
    "InputDataConfig[].DataSource.S3DataSource.S3DataDistributionType",
    "OutputDataConfig.S3OutputPath", "OutputDataConfig.CompressionType",
    "ResourceConfig.InstanceType", "ResourceConfig.InstanceCount", "ResourceConfig.VolumeSizeInGB",
    "StoppingCondition.MaxRuntimeInSeconds", "CheckpointConfig.S3Uri", "CheckpointConfig.LocalPath",
    "ProfilerConfig.DisableProfiler",
}


def merge(into, other):
    for name, value in other.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            merge(into[name], value)
        elif isinstance(value, list) and isinstance(into.get(name), list) and isinstance(value[0], dict):
            merge(into[name][0], value[0])
        else:
            into[name] = value


def test_every_member_of_the_model_is_honoured_or_refused_by_name(server, sagemaker, request_with_channel):
    """The newest botocore knows members that we do not honour: none of them may be ignored."""
    model = sagemaker.meta.service_model.operation_model("CreateTrainingJob").input_shape
    seen = set()
    for way in ways(model):
        path = ".".join(way).replace(".[]", "[]")
        seen.add(path)
        if path in HONOURED:
            continue
        asked = sample(model, list(way))
        request = copy.deepcopy(request_with_channel)
        merge(request, {way[0]: asked[way[0]]})
        code, message = refusal(sagemaker.create_training_job, **request)
        named = re.sub(r"\[\d+\]", "[]", message.split(" ")[0])
        assert code == "ValidationException" and " is not supported by this version of Athanor" in message, (path, message)
        # By its own name or by that of what holds it; or by one that had to come with it.
        assert path.startswith(named) or named.startswith(way[0]), (path, message)
    assert HONOURED <= seen, "the model no longer has these members"


def test_what_asks_for_nothing_passes(server, sagemaker):
    """Clients send such values of their own accord."""
    name = unique_name("api")
    request = server.job_request(
        "true", name=name, EnableManagedSpotTraining=False, EnableNetworkIsolation=False, EnableInterContainerTrafficEncryption=False,
        ProfilerConfig={"DisableProfiler": True}, RemoteDebugConfig={"EnableRemoteDebug": False}, InfraCheckConfig={"EnableInfraCheck": False},
        SessionChainingConfig={"EnableSessionTagChaining": False}, HyperParameters={}, Tags=[])
    request["ResourceConfig"]["KeepAlivePeriodInSeconds"] = 0
    request["OutputDataConfig"]["KmsKeyId"] = ""
    sagemaker.create_training_job(**request)
    assert server.wait_for_job(name)["TrainingJobStatus"] == "Completed"


def test_an_unknown_member_is_refused_too(server):
    """Something newer than our table of shapes, which boto3 cannot send."""
    body = json.dumps(server.job_request("true") | {"QuantumConfig": {"Qubits": 3}})
    status, reply = Client(server).json("sagemaker", "SageMaker.CreateTrainingJob", body)
    assert status == 400 and reply["__type"] == "ValidationException"
    assert reply["message"].startswith("QuantumConfig is not supported by this version of Athanor")


MEANING = [
    ("AlgorithmSpecification", {"TrainingImage": "nobody/nothing", "TrainingInputMode": "File"}, "Cannot find the training image nobody/nothing"),
    ("AlgorithmSpecification.TrainingImage", "athanor/llm:v99", "Cannot find the training image athanor/llm:v99"),
    ("Tags", [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}], "Tag keys must be unique: 'a'"),
    ("AlgorithmSpecification", {"TrainingImage": "athanor/script", "TrainingInputMode": "File"}, "needs AlgorithmSpecification.ContainerEntrypoint"),
    ("AlgorithmSpecification.MetricDefinitions", [{"Name": "loss", "Regex": "("}], "Invalid regex"),
    ("ResourceConfig.InstanceCount", 0, "InstanceCount"),
    ("ResourceConfig", None, "Value null at 'resourceConfig' failed to satisfy constraint: Member must not be null"),
    ("ResourceConfig.InstanceType", None, "Value null at 'resourceConfig.instanceType'"),
    ("StoppingCondition", None, "Value null at 'stoppingCondition'"),
    ("AlgorithmSpecification", None, "Value null at 'algorithmSpecification'"),
    ("OutputDataConfig.S3OutputPath", "https://bucket/x", "Invalid S3 URI 'https://bucket/x'"),
    ("OutputDataConfig.S3OutputPath", "s3://Bad_Bucket/x", "Invalid S3 URI"),
    ("AlgorithmSpecification.ContainerEntrypoint", ["/bin/sh", "a\0b"], "'algorithmSpecification.containerEntrypoint' failed"),
    ("AlgorithmSpecification.ContainerArguments", ["-c", "true\0x=1"], "'algorithmSpecification.containerArguments' failed"),
    ("Environment", {"A": "1\0PATH=/mine"}, "'environment' failed to satisfy constraint: Member must not contain the character U+0000"),
    *[("CheckpointConfig", {"S3Uri": "s3://bucket/c", "LocalPath": path},
       f"Invalid CheckpointConfig.LocalPath '{path}': it must be a folder of its own below /opt/ml, such as /opt/ml/checkpoints.")
      for path in ("/", "/etc", "/proc", "/data/checkpoints", "/opt/ml", "/opt/ml/input", "/opt/ml/athanor/x", "checkpoints")],
    ("CheckpointConfig", {"S3Uri": "s3://bucket/c", "LocalPath": "/opt/ml/checkpoints/../model"}, "LocalPath"),
    ("CheckpointConfig", {"S3Uri": "s3://bucket/c", "LocalPath": "/opt/ml/model/checkpoints"}, "LocalPath"),
]


@pytest.mark.parametrize("path, value, said", MEANING, ids=[f"{row[0]}-{i}" for i, row in enumerate(MEANING)])
def test_what_shapes_cannot_say_is_refused_with_a_reason(sagemaker, request_with_channel, path, value, said):
    code, message = refusal(sagemaker.create_training_job, **with_member(request_with_channel, path, value))
    assert code == "ValidationException" and said in message


def test_a_channel_without_objects_is_refused(server, sagemaker, request_with_channel):
    request = request_with_channel
    source = request["InputDataConfig"][0]["DataSource"]["S3DataSource"]
    for uri, bucket in ((f"s3://{server.bucket}/no/such/prefix/", server.bucket), ("s3://no-such-bucket/x", "no-such-bucket")):
        source["S3Uri"] = uri
        assert refusal(sagemaker.create_training_job, **request) == (
            "ValidationException", f'No S3 objects found under S3 URL "{uri}" given in input data source. Please ensure that the bucket '
            f'exists in the selected region (us-east-1), that objects exist under that S3 prefix, and that the role "{server.role}" has '
            f'"s3:ListBucket" permissions on bucket "{bucket}".')


def test_two_channels_of_one_name_are_refused(sagemaker, server, request_with_channel):
    request = request_with_channel
    request["InputDataConfig"] *= 2
    assert "unique" in refusal(sagemaker.create_training_job, **request)[1]


def test_more_instances_than_there_are_is_resource_limit_exceeded(server, sagemaker):
    code, message = refusal(sagemaker.create_training_job, **server.job_request("true", instances=100))
    assert code == "ResourceLimitExceeded"
    assert message.startswith("The account-level service limit 'ml.m5.large for training job usage' is ")
    assert "a request delta of 100 Instances" in message
