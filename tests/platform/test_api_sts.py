"""STS GetCallerIdentity, and with it the verification of signatures, by real clients."""

import json


def test_get_caller_identity_by_boto3(server):
    identity = server.client("sts").get_caller_identity()
    assert identity["Account"] == "000000000000"
    assert identity["Arn"].startswith("arn:aws:iam::000000000000:")
    assert identity["UserId"]


def test_get_caller_identity_by_the_aws_cli(server):
    for secure in (False, True):
        identity = json.loads(server.aws("sts", "get-caller-identity", secure=secure).stdout)
        assert identity["Account"] == "000000000000"
