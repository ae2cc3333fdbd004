"""STS GetCallerIdentity, and with it the verification of signatures as real clients make them: header, presigned, with
session tokens, by keys that are wrong and clocks that are off. What no client would send is in malformed.json."""

import datetime
import json
import urllib.request
from unittest import mock

import boto3
import pytest
from botocore.config import Config
from harness import refusal
from raw import Client, Signer, amz_date, exchange, build


def client(server, service="sts", secure=False, **session):
    keys = {"aws_access_key_id": server.environment["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": server.environment["AWS_SECRET_ACCESS_KEY"], "region_name": "us-east-1"} | session
    return boto3.Session(**keys).client(service, endpoint_url=server.secure_endpoint if secure else server.endpoint,
                                        verify=server.environment["AWS_CA_BUNDLE"] if secure else None,
                                        config=Config(retries={"total_max_attempts": 1}))


def at(offset):
    """botocore's clock, put wrong by a timedelta."""
    import botocore.auth
    import botocore.compat

    now = botocore.compat.get_current_datetime() + offset
    return mock.patch.object(botocore.auth, "get_current_datetime", lambda *a, **k: now)


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_get_caller_identity_by_boto3_and_the_aws_cli(server, secure):
    by_boto3 = client(server, secure=secure).get_caller_identity()
    assert by_boto3["Account"] == "000000000000"
    assert by_boto3["Arn"].startswith("arn:aws:iam::000000000000:user/")
    assert by_boto3["UserId"].startswith("AIDA")
    by_cli = json.loads(server.aws("sts", "get-caller-identity", secure=secure).stdout)
    assert by_cli == {member: by_boto3[member] for member in ("UserId", "Account", "Arn")}


def test_a_wrong_key_or_secret_gets_each_services_own_error(server):
    unknown = {"aws_access_key_id": "AKIAIOSFODNN7EXAMPLE"}
    wrong = {"aws_secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
    calls = {"sts": lambda c: c.get_caller_identity, "sagemaker": lambda c: c.list_training_jobs, "logs": lambda c: c.describe_log_groups,
             "s3": lambda c: c.list_buckets}
    expected = {
        "sts": ("InvalidClientTokenId", "SignatureDoesNotMatch"),
        "sagemaker": ("UnrecognizedClientException", "InvalidSignatureException"),
        "logs": ("UnrecognizedClientException", "InvalidSignatureException"),
        "s3": ("InvalidAccessKeyId", "SignatureDoesNotMatch"),
    }
    for service, call in calls.items():
        assert (refusal(call(client(server, service, **unknown)))[0], refusal(call(client(server, service, **wrong)))[0]) == expected[service], service


def test_the_aws_cli_shows_a_wrong_secret_as_the_service_words_it(server):
    environment = server.aws_environment() | {"AWS_SECRET_ACCESS_KEY": "wrong", "HOME": str(server.identity.scratch)}
    import subprocess

    result = subprocess.run(["/usr/bin/aws", "--endpoint-url", server.endpoint, "sts", "get-caller-identity"], env=environment,
                            capture_output=True, text=True, timeout=60)
    assert result.returncode == 254
    assert "An error occurred (SignatureDoesNotMatch) when calling the GetCallerIdentity operation: The request signature we calculated does not match" in result.stderr


@pytest.mark.parametrize("minutes, fine", [(-14, True), (14, True), (-16, False), (16, False), (-60 * 24, False)])
def test_clocks_may_differ_by_a_quarter_of_an_hour(server, minutes, fine):
    with at(datetime.timedelta(minutes=minutes)):
        if fine:
            assert client(server).get_caller_identity()["Account"]
            assert "TrainingJobSummaries" in client(server, "sagemaker").list_training_jobs()
            return
        code, message = refusal(client(server).get_caller_identity)
        assert code == "SignatureDoesNotMatch"
        assert message.startswith("Signature expired: " if minutes < 0 else "Signature not yet current: ")
        assert refusal(client(server, "sagemaker").list_training_jobs)[0] == "InvalidSignatureException"
        assert refusal(client(server, "s3").list_buckets)[0] == "RequestTimeTooSkewed"


def test_our_reading_of_signature_version_4_is_botocores(server):
    """The oracle of the table of malformed requests is right when nothing is wrong."""
    raw = Client(server)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert raw.send("sts", "POST", headers=form, body=b"Action=GetCallerIdentity&Version=2011-06-15").status == 200
    assert raw.send("sts", "GET", query="Version=2011-06-15&Action=GetCallerIdentity").status == 200
    assert raw.json("sagemaker", "SageMaker.ListTrainingJobs", "{}")[0] == 200
    # Blanks in header values, headers in any order and case, an empty value.
    odd = {"X-Odd": "  a   b  ", "x-empty": "", "X-AMZ-Meta-Z": "z", **form}
    assert raw.send("sts", "POST", headers=odd, body=b"Action=GetCallerIdentity&Version=2011-06-15").status == 200


def test_a_presigned_identity_is_what_its_signer_is(server):
    """As `aws eks get-token` and Vault send it."""
    url = client(server).generate_presigned_url("get_caller_identity", ExpiresIn=60, HttpMethod="GET")
    with urllib.request.urlopen(url) as answer:
        assert b"<Account>000000000000</Account>" in answer.read()
    for tampered, code in ((url.replace("GetCallerIdentity", "GetSessionToken"), b"SignatureDoesNotMatch"),
                           (url.replace("X-Amz-Expires=60", "X-Amz-Expires=6000"), b"SignatureDoesNotMatch")):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(tampered)
        assert caught.value.code == 403 and code in caught.value.read()
    with at(datetime.timedelta(seconds=-120)):
        stale = client(server).generate_presigned_url("get_caller_identity", ExpiresIn=60, HttpMethod="GET")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(stale)
    assert caught.value.code == 403 and b"Signature expired" in caught.value.read()


IDENTITY = """
import json, os, urllib.request
request = urllib.request.Request(os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"])
if "AWS_CONTAINER_AUTHORIZATION_TOKEN" in os.environ:
    request.add_header("Authorization", os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"])
print(urllib.request.urlopen(request).read().decode(), flush=True)
"""


def test_a_jobs_credentials_are_its_roles_and_need_their_session_token(server):
    script = f"python3 - <<'END'\n{IDENTITY}\nEND\nsleep 60"
    name = server.submit(script)
    from harness import wait_until

    line = wait_until(lambda: server.log_lines(name), 60, "the job's credentials")[0]
    given = json.loads(line)
    keys = {"aws_access_key_id": given["AccessKeyId"], "aws_secret_access_key": given["SecretAccessKey"], "aws_session_token": given["Token"]}
    assert given["AccessKeyId"].startswith("ASIA")

    identity = client(server, **keys).get_caller_identity()
    assert identity["Arn"].startswith("arn:aws:sts::000000000000:assumed-role/athanor/")
    assert client(server, "s3", **keys).list_buckets()["Buckets"]
    with urllib.request.urlopen(client(server, **keys).generate_presigned_url("get_caller_identity", HttpMethod="GET")) as answer:
        assert b"assumed-role" in answer.read()

    for token in ({"aws_session_token": None}, {"aws_session_token": given["Token"][:-4] + "AAAA"}):
        assert refusal(client(server, **keys | token).get_caller_identity)[0] == "InvalidClientTokenId"
        assert refusal(client(server, "sagemaker", **keys | token).list_training_jobs)[0] == "UnrecognizedClientException"

    server.client("sagemaker").stop_training_job(TrainingJobName=name)
    server.wait_for_job(name)

    def refused():
        try:
            client(server, **keys).get_caller_identity()
        except Exception as error:  # noqa: BLE001
            return str(error)

    # With the job its credentials end.
    assert "InvalidClientTokenId" in wait_until(refused, 30, "the credentials to end") or "ExpiredToken" in refused()


def test_a_request_that_was_captured_cannot_be_changed_in_any_byte_that_counts(server):
    """Flip each byte of the body, the target and the signed headers: none of it passes."""
    signer = Signer(server.environment["AWS_ACCESS_KEY_ID"], server.environment["AWS_SECRET_ACCESS_KEY"], "sagemaker", date=amz_date())
    body = b'{"TrainingJobName": "none"}'
    plain = {"Host": f"127.0.0.1:{server.port}", "Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "SageMaker.DescribeTrainingJob"}
    data = build("POST", "/", "", signer.header("POST", "/", "", plain, body), body)
    assert exchange(server.port, data).code == "ValidationException"  # no such job: it was let in

    head_end = data.index(b"\r\n\r\n") + 4
    spans = [range(head_end, len(data))]
    for text in (b"SageMaker.DescribeTrainingJob", signer.date.encode(), signer.key.encode() + b"/" + signer.scope.encode()):
        start = data.index(text)
        spans.append(range(start, start + len(text)))
    start = data.index(b"Signature=") + len(b"Signature=")
    spans.append(range(start, start + 64))
    for span in spans:
        for position in span:
            changed = bytearray(data)
            changed[position] ^= 1
            answer = exchange(server.port, bytes(changed))
            assert answer.status in (400, 404), (position, bytes(changed))
            assert answer.code in ("InvalidSignatureException", "IncompleteSignatureException", "UnrecognizedClientException",
                                   "MissingAuthenticationTokenException", ""), (position, answer.received)
