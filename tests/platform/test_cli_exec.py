"""athanor exec: unmodified clients, which believe that they speak to AWS."""

import sys

import pytest

CALLERS_ARN = "import boto3; print(boto3.client('sts', endpoint_url='https://sts.us-east-1.amazonaws.com').get_caller_identity()['Arn'])"
VIRTUAL_HOST = """
import boto3, sys
from botocore.config import Config
s3 = boto3.client('s3', config=Config(s3={'addressing_style': 'virtual'}))
s3.put_object(Bucket=sys.argv[1], Key='a b/c', Body=b'through a virtual host')
print(s3.get_object(Bucket=sys.argv[1], Key='a b/c')['Body'].read().decode())
"""


def run(server, *command, **options):
    return server.cli("exec", "--", *command, **options)


@pytest.fixture
def python(any_server):
    """A python with boto3 that the server's user may run."""
    if any_server.identity.user:
        import boto3, os, pathlib, shutil
        packages = pathlib.Path(boto3.__file__).parents[1]
        copied = any_server.identity.scratch / "site-packages"
        if not copied.exists():
            shutil.copytree(packages, copied, ignore=shutil.ignore_patterns("__pycache__", "pip*", "pytest*"))
            os.chmod(copied, 0o755)
        return ["env", f"PYTHONPATH={copied}", "/usr/bin/python3"]
    return [sys.executable]


def test_boto3_speaks_to_us_at_amazonaws_com(any_server, python):
    assert run(any_server, *python, "-c", CALLERS_ARN).stdout.startswith("arn:aws:iam::000000000000:")
    script = "import boto3; print(len(boto3.client('sagemaker').list_training_jobs()['TrainingJobSummaries']) >= 0)"
    assert run(any_server, *python, "-c", script).stdout == "True\n"


def test_virtual_hosts(any_server, python):
    assert run(any_server, *python, "-c", VIRTUAL_HOST, any_server.bucket).stdout == "through a virtual host\n"


def test_the_distributions_aws_cli(any_server):
    assert "arn:aws:iam::000000000000:" in run(any_server, "aws", "sts", "get-caller-identity").stdout


def test_the_programs_exit_code_is_passed_on(server):
    assert run(server, "bash", "-c", "exit 42", check=False).returncode == 42
    assert run(server, "bash", "-c", "kill -15 $$", check=False).returncode == 143
    assert run(server, "/no/such/program", check=False).returncode == 127


def test_the_callers_own_settings_do_not_lead_elsewhere(server):
    misleading = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_PROFILE": "absent", "HTTPS_PROXY": "http://127.0.0.1:1"}
    result = run(server, sys.executable, "-c", CALLERS_ARN, env=misleading)
    assert result.stdout.startswith("arn:aws:iam::")


def test_everything_else_is_as_ever(server):
    """Other hosts, here our own plain endpoint, are reached directly; input and output are the program's."""
    script = f"import sys, urllib.request, urllib.error\ntry: urllib.request.urlopen('{server.endpoint}/')\nexcept urllib.error.HTTPError as e: print(e.code, sys.stdin.read())"
    assert run(server, sys.executable, "-c", script, input="typed", stdout=-1, stderr=-1, capture_output=False).stdout == "403 typed\n"


def test_without_a_server_it_says_so(identity, new_server):
    one = new_server()
    one.interrupt()
    result = run(one, "true", check=False)
    assert result.returncode == 5 and "start it again" in result.stderr
