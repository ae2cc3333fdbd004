"""Runs the real programs for the end-to-end tests: servers on free ports and data directories of their own, boto3 and
AWS CLI pointed at them, helpers that wait. Nothing here knows how Athanor works inside; it starts `athanor` and reads
what `athanor env --json` says.

ATHANOR_BIN names the folder with the programs (default: build/bin).
"""

import json
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid

ROOT = pathlib.Path(__file__).resolve().parents[1]
BIN = pathlib.Path(os.environ.get("ATHANOR_BIN", ROOT / "build/bin"))
PROGRAMS = ("athanor", "athanor-agent", "athanor-launch", "athanor-llm")
ORDINARY_USER = "athanor-test"
TERMINAL = ("Completed", "Failed", "Stopped")
LOG_GROUP = "/aws/sagemaker/TrainingJobs"


def wait_until(condition, timeout=60, what="the condition", every=0.05):
    """Polls until `condition()` is truthy and returns its value."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout} s in vain for {what}")
        time.sleep(every)


def unique_name(prefix):
    return f"{prefix}-{uuid.uuid4().hex[:10]}"


def refusal(call, **request):
    """The error that a boto3 call ends with: (code, message)."""
    from botocore.exceptions import ClientError

    try:
        call(**request)
    except ClientError as error:
        return error.response["Error"]["Code"], error.response["Error"]["Message"]
    raise AssertionError(f"{call.__name__} was not refused: {request}")


def clean_environment(**extra):
    """The caller's environment without anything that would lead an AWS client or Athanor elsewhere."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "ATHANOR_")) and not k.lower().endswith("_proxy")}
    kept["AWS_EC2_METADATA_DISABLED"] = "true"
    kept.update(extra)
    return kept


def ordinary_user():
    """The name of an unprivileged user: made when we are root, else ourselves."""
    if os.getuid() != 0:
        return pwd.getpwuid(os.getuid()).pw_name
    try:
        pwd.getpwnam(ORDINARY_USER)
    except KeyError:
        subprocess.run(["useradd", "--create-home", "--shell", "/bin/bash", ORDINARY_USER], check=True)
    return ORDINARY_USER


class Identity:
    """Who runs the programs, and from where: an ordinary user cannot read root's checkout, so gets copies of them."""

    def __init__(self, user=None):
        self.user = user if os.getuid() == 0 and user not in (None, "root") else None
        self.scratch = pathlib.Path(tempfile.mkdtemp(prefix="athanor-test-", dir="/var/tmp"))
        self.bin = BIN
        if self.user:
            self.scratch.chmod(0o755)
            self.bin = self.scratch / "bin"
            self.bin.mkdir()
            for program in PROGRAMS:
                if (BIN / program).exists():
                    shutil.copy(BIN / program, self.bin / program)
            self.home = pathlib.Path(pwd.getpwnam(self.user).pw_dir)
        else:
            self.home = pathlib.Path.home()

    def command(self, argv):
        argv = [str(a) for a in argv]
        # setpriv, not su or runuser: it becomes the program, so that its process id is the one that we see.
        return ["setpriv", "--reuid", self.user, "--regid", self.user, "--init-groups", *argv] if self.user else argv

    def environment(self, **extra):
        who = {"HOME": str(self.home), "USER": self.user, "LOGNAME": self.user} if self.user else {}
        return clean_environment(**{**who, **extra})

    def folder(self, name="data"):
        """A new private folder that this identity owns, with a short path."""
        path = self.scratch / f"{name}-{uuid.uuid4().hex[:6]}"
        path.mkdir(mode=0o700)
        if self.user:
            shutil.chown(path, self.user, self.user)
        return path

    def run(self, argv, check=True, timeout=120, env=None, **options):
        options.setdefault("capture_output", True)
        result = subprocess.run(self.command(argv), timeout=timeout, text=True, cwd="/", env=self.environment(**(env or {})), **options)
        if check and result.returncode != 0:
            raise AssertionError(f"{argv} ended with {result.returncode}\n{result.stdout}\n{result.stderr}")
        return result

    def close(self):
        shutil.rmtree(self.scratch, ignore_errors=True)


class Server:
    """One `athanor up`."""

    def __init__(self, identity, data_dir=None, arguments=()):
        self.identity = identity
        self.data_dir = pathlib.Path(data_dir) if data_dir else identity.folder()
        self.arguments = list(arguments)
        self.listen = "127.0.0.1:0"
        self.process = None
        self.environment = {}

    # the process

    def start(self, timeout=30):
        endpoint = self.data_dir / "endpoint"
        endpoint.unlink(missing_ok=True)
        self.output = open(self.identity.scratch / f"server-{self.data_dir.name}.log", "ab")
        self.process = subprocess.Popen(
            self.identity.command([self.identity.bin / "athanor", "up", "--listen", self.listen, "--data-dir", self.data_dir, *self.arguments]),
            stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.STDOUT, cwd="/",
            env=self.identity.environment(), start_new_session=True)

        def ready():
            if self.process.poll() is not None:
                raise AssertionError(f"athanor up ended with {self.process.returncode}:\n{self.printed()}")
            return endpoint.exists() and endpoint.read_text().strip().endswith("}")

        wait_until(ready, timeout, "athanor up to listen")
        at = json.loads(endpoint.read_text())
        self.port = at["port"]
        self.listen = f"127.0.0.1:{self.port}"  # a restart comes back at the same place
        self.environment = json.loads(self.cli("env", "--json").stdout)
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.secure_endpoint = f"https://127.0.0.1:{self.port}"
        return self

    def printed(self):
        self.output.flush()
        return pathlib.Path(self.output.name).read_text(errors="replace")

    def kill(self):
        """kill -9 of the server alone; jobs go on."""
        self.process.kill()
        self.process.wait()

    def interrupt(self, timeout=30):
        """Ctrl-C; returns the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout)

    def restart(self):
        if self.process.poll() is None:
            self.kill()
        return self.start()

    def close(self):
        """Ends server, jobs and agents, whatever state they are in."""
        try:
            if self.process and self.process.poll() is None:
                self.cli("down", check=False, timeout=60)
                try:
                    self.process.wait(15)
                except subprocess.TimeoutExpired:
                    self.kill()
        finally:
            for pid in self.agents():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass

    def agents(self):
        """Process ids of everything that runs on behalf of this data directory, apart from the server itself."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit() or (self.process and int(entry.name) == self.process.pid):
                continue
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if command[0].endswith(b"athanor-agent") and any(str(self.data_dir).encode() in part for part in command):
                found.append(int(entry.name))
        return found

    # clients

    def cli(self, *argv, **options):
        """Runs `athanor ARGV` against this server."""
        return self.identity.run([self.identity.bin / "athanor", argv[0], "--data-dir", self.data_dir, *argv[1:]], **options)

    def aws_environment(self):
        """What an unmodified AWS client is given, as `athanor env` prints it."""
        return clean_environment(**self.environment)

    def aws(self, *argv, secure=False, check=True, timeout=180, environment=None, **options):
        """Runs the distribution's AWS CLI, which ignores AWS_ENDPOINT_URL, with `environment` on top of what any client
        is given; returns the finished process."""
        options.setdefault("capture_output", True)
        endpoint = self.secure_endpoint if secure else self.endpoint
        command = ["/usr/bin/aws", "--endpoint-url", endpoint, *map(str, argv)]
        environment = self.aws_environment() | {"AWS_PAGER": "", "HOME": str(self.identity.scratch)} | (environment or {})
        environment.pop("AWS_ENDPOINT_URL", None)
        result = subprocess.run(command, text=True, timeout=timeout, env=environment, **options)
        if check and result.returncode != 0:
            raise AssertionError(f"{command} ended with {result.returncode}\n{result.stdout}\n{result.stderr}")
        return result

    def client(self, service, secure=False, retries=0, **config):
        """A boto3 client. Without retries, so that a test sees the first answer."""
        import boto3
        from botocore.config import Config

        settings = Config(retries={"total_max_attempts": retries + 1}, connect_timeout=5, read_timeout=60, **config)
        return boto3.Session(
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            region_name=self.environment["AWS_REGION"],
        ).client(
            service,
            endpoint_url=self.secure_endpoint if secure else self.endpoint,
            verify=self.environment["AWS_CA_BUNDLE"] if secure else None,
            config=settings,
        )

    # jobs

    @property
    def bucket(self):
        return self.environment["ATHANOR_BUCKET"]

    @property
    def role(self):
        return self.environment["ATHANOR_ROLE"]

    def job_request(self, script="true", name=None, image="athanor/script", instances=1, **fields):
        """A CreateTrainingJob request whose program is a shell script; `fields` replace or add top-level members."""
        request = {
            "TrainingJobName": name or f"job-{uuid.uuid4().hex[:10]}",
            "RoleArn": self.role,
            "AlgorithmSpecification": {"TrainingImage": image, "TrainingInputMode": "File"},
            "OutputDataConfig": {"S3OutputPath": f"s3://{self.bucket}/output"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": instances, "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        }
        if script is not None and image == "athanor/script":
            # An argument has at most 256 characters in one line; a variable holds twice that, and lines.
            fits = len(script) <= 256 and "\n" not in script
            request["AlgorithmSpecification"]["ContainerEntrypoint"] = ["/bin/bash", "-c"]
            request["AlgorithmSpecification"]["ContainerArguments"] = [script if fits else 'eval "$TEST_SCRIPT"']
            if not fits:
                assert len(script) <= 512, "give the job a longer script by a channel"
                fields["Environment"] = {"TEST_SCRIPT": script, **fields.get("Environment", {})}
        request.update(fields)
        return request

    def channel(self, name, s3_uri, distribution="FullyReplicated"):
        """One member of InputDataConfig: a File-mode channel of everything below a prefix."""
        source = {"S3DataType": "S3Prefix", "S3Uri": s3_uri, "S3DataDistributionType": distribution}
        return {"ChannelName": name, "DataSource": {"S3DataSource": source}}

    def submit(self, script="true", **fields):
        """Creates a job through boto3; returns its name."""
        request = self.job_request(script, **fields)
        self.client("sagemaker").create_training_job(**request)
        return request["TrainingJobName"]

    def describe(self, name):
        return self.client("sagemaker").describe_training_job(TrainingJobName=name)

    def wait_for_job(self, name, timeout=60, status=TERMINAL, secondary=None):
        """Waits until the job has one of the statuses (or secondary statuses); returns its description."""
        client = self.client("sagemaker", retries=3)
        wanted = (status,) if isinstance(status, str) else status
        last = {}

        def there():
            nonlocal last
            last = client.describe_training_job(TrainingJobName=name)
            if secondary:
                if last["SecondaryStatus"] in ((secondary,) if isinstance(secondary, str) else secondary):
                    return last
                assert last["TrainingJobStatus"] not in TERMINAL, f"{name} ended before {secondary}: {last}"
                return None
            return last if last["TrainingJobStatus"] in wanted else None

        try:
            return wait_until(there, timeout, f"job {name} to be {secondary or wanted}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {last.get('SecondaryStatus')}\nlog:\n{self.job_log(name)}\nserver:\n{self.printed()[-4000:]}") from None

    def run_job(self, script="true", timeout=60, expect="Completed", **fields):
        """Submits, waits for the end, checks the status; returns the description."""
        description = self.wait_for_job(self.submit(script, **fields), timeout)
        assert description["TrainingJobStatus"] == expect, (
            f"{description['TrainingJobStatus']}: {description.get('FailureReason')}\nlog:\n{self.job_log(description['TrainingJobName'])}")
        return description

    def log_lines(self, name, host=None):
        """All lines that a job printed, stream by stream in the order of the hosts' names."""
        client = self.client("logs", retries=3)
        prefix = f"{name}/{host + '-' if host else ''}"
        lines = []
        try:
            streams = client.describe_log_streams(logGroupName=LOG_GROUP, logStreamNamePrefix=prefix)["logStreams"]
        except client.exceptions.ResourceNotFoundException:  # no job has printed a line yet
            return []
        for stream in streams:
            token = None
            while True:
                page = client.get_log_events(logGroupName=LOG_GROUP, logStreamName=stream["logStreamName"], startFromHead=True,
                                             **({"nextToken": token} if token else {}))
                lines += [event["message"] for event in page["events"]]
                if page["nextForwardToken"] == token:
                    break
                token = page["nextForwardToken"]
        return lines

    def job_log(self, name, host=None):
        """log_lines as one text; never raises, for the messages of failing tests."""
        try:
            return "\n".join(self.log_lines(name, host))
        except Exception as error:  # noqa: BLE001
            return f"(no log: {error})"

    def object_bytes(self, s3_uri):
        bucket, _, key = s3_uri.removeprefix("s3://").partition("/")
        return self.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
