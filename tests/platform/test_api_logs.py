"""CloudWatch Logs as its clients poll it: both generations of the SageMaker SDK, `aws logs tail --follow`,
`aws logs get-log-events`, and boto3 with every member that Athanor reads."""

import json
import re
import signal
import subprocess
import time

import pytest
from harness import LOG_GROUP, TERMINAL, refusal, unique_name, wait_until


@pytest.fixture
def logs(server):
    return server.client("logs")


@pytest.fixture(scope="module")
def printed(server):
    """A finished job of two instances that printed some lines: its name."""
    script = """
host=$(python3 -c 'import json; print(json.load(open("/opt/ml/input/config/resourceconfig.json"))["current_host"])')
for i in 1 2 3 4 5; do echo "$host line $i"; sleep 0.02; done
echo "$host ERROR: no \\"luck\\" here" >&2
printf 'gr\\303\\274n \\360\\237\\230\\200\\n\\n'
printf 'no end of line'
"""
    return server.run_job(script, instances=2)["TrainingJobName"]


def streams_of(logs, name, **more):
    return [row["logStreamName"] for row in logs.describe_log_streams(
        logGroupName=LOG_GROUP, logStreamNamePrefix=f"{name}/", **more)["logStreams"]]


def read(logs, stream, **more):
    """All pages of GetLogEvents, following `nextForwardToken` until it repeats itself."""
    lines, token = [], None
    while True:
        page = logs.get_log_events(logGroupName=LOG_GROUP, logStreamName=stream, startFromHead=True,
                                   **more, **({"nextToken": token} if token else {}))
        lines += [event["message"] for event in page["events"]]
        if page["nextForwardToken"] == token:
            return lines
        token = page["nextForwardToken"]


# what a job prints

def test_each_line_is_an_event_of_its_hosts_stream(logs, printed):
    streams = streams_of(logs, printed)
    assert [re.fullmatch(rf"{printed}/(algo-\d)-\d{{10}}", stream)[1] for stream in streams] == ["algo-1", "algo-2"]
    for host, stream in zip(("algo-1", "algo-2"), streams):
        lines = read(logs, stream)
        assert [line for line in lines if line.startswith(f"{host} line")] == [f"{host} line {i}" for i in range(1, 6)]
        assert f'{host} ERROR: no "luck" here' in lines
        assert "grün 😀" in lines and lines[-1] == "no end of line"


def test_events_carry_the_time_at_which_they_were_printed(server, logs):
    before_ms = time.time() * 1000
    name = server.run_job("echo one; sleep 0.5; echo two")["TrainingJobName"]
    after_ms = time.time() * 1000
    page = logs.get_log_events(logGroupName=LOG_GROUP, logStreamName=streams_of(logs, name)[0], startFromHead=True)
    one, two = page["events"]
    assert before_ms <= one["timestamp"] < two["timestamp"] <= after_ms
    assert 400 <= two["timestamp"] - one["timestamp"] < 5000
    assert one["timestamp"] <= one["ingestionTime"] <= after_ms and isinstance(one["timestamp"], int)


def test_a_hundred_thousand_lines_come_in_pages_of_at_most_ten_thousand(server, logs):
    name = server.run_job("seq 1 100000", timeout=120)["TrainingJobName"]
    stream, = streams_of(logs, name)
    pages, token = [], None
    while not pages or pages[-1]:
        page = logs.get_log_events(logGroupName=LOG_GROUP, logStreamName=stream, startFromHead=True, **({"nextToken": token} if token else {}))
        pages.append([event["message"] for event in page["events"]])
        token = page["nextForwardToken"]
    assert max(map(len, pages)) <= 10000
    assert sum(pages, []) == [str(i) for i in range(1, 100001)]


def test_a_page_holds_at_most_a_megabyte(server, logs):
    name = server.run_job("for i in $(seq 40); do head -c 100000 /dev/zero | tr '\\0' x; echo; done")["TrainingJobName"]
    stream, = streams_of(logs, name)
    page = logs.get_log_events(logGroupName=LOG_GROUP, logStreamName=stream, startFromHead=True)
    assert 0 < sum(len(event["message"]) for event in page["events"]) <= 1 << 20
    assert sum(map(len, read(logs, stream))) == 40 * 100000


# GetLogEvents

def test_get_log_events_without_more_gives_the_latest(logs, printed):
    stream = streams_of(logs, printed)[0]
    everything = read(logs, stream)
    page = logs.get_log_events(logGroupName=LOG_GROUP, logStreamName=stream, limit=2)
    assert [event["message"] for event in page["events"]] == everything[-2:]

    earlier = logs.get_log_events(logGroupName=LOG_GROUP, logStreamName=stream, limit=2, nextToken=page["nextBackwardToken"])
    assert [event["message"] for event in earlier["events"]] == everything[-4:-2]
    # Forward again from there: what was seen first.
    later = logs.get_log_events(logGroupName=LOG_GROUP, logStreamName=stream, limit=2, nextToken=earlier["nextForwardToken"])
    assert [event["message"] for event in later["events"]] == everything[-2:]


def test_reading_backwards_to_the_beginning_misses_nothing(logs, printed):
    stream = streams_of(logs, printed)[0]
    lines, token = [], None
    while True:
        page = logs.get_log_events(logGroupName=LOG_GROUP, logStreamName=stream, limit=3, **({"nextToken": token} if token else {}))
        lines = [event["message"] for event in page["events"]] + lines
        if page["nextBackwardToken"] == token:
            break
        token = page["nextBackwardToken"]
    assert lines == read(logs, stream)


def test_get_log_events_between_two_times(logs, printed):
    stream = streams_of(logs, printed)[0]
    events = logs.get_log_events(logGroupName=LOG_GROUP, logStreamName=stream, startFromHead=True)["events"]
    start, end = events[2]["timestamp"], events[4]["timestamp"]
    expected = [event["message"] for event in events if start <= event["timestamp"] < end]
    assert read(logs, stream, startTime=start, endTime=end) == expected and expected
    assert read(logs, stream, startTime=events[-1]["timestamp"] + 1000) == []


# DescribeLogStreams

def test_streams_are_described_and_paged(logs, printed):
    rows = logs.describe_log_streams(logGroupName=LOG_GROUP, logStreamNamePrefix=f"{printed}/")
    assert "nextToken" not in rows  # SDK v2 would ask for ever
    for row in rows["logStreams"]:
        assert row["firstEventTimestamp"] <= row["lastEventTimestamp"] <= row["lastIngestionTime"]
        assert row["creationTime"] <= row["lastIngestionTime"]
        assert row["arn"].endswith(f":log-group:{LOG_GROUP}:log-stream:{row['logStreamName']}")
    first = logs.describe_log_streams(logGroupName=LOG_GROUP, logStreamNamePrefix=f"{printed}/", limit=1)
    second = logs.describe_log_streams(logGroupName=LOG_GROUP, logStreamNamePrefix=f"{printed}/", limit=1, nextToken=first["nextToken"])
    assert first["logStreams"] + second["logStreams"] == rows["logStreams"] and "nextToken" not in second
    assert streams_of(logs, printed, descending=True) == streams_of(logs, printed)[::-1]


def test_streams_in_the_order_of_their_last_events(server, logs, printed):
    later = server.run_job("echo later")["TrainingJobName"]
    newest = logs.describe_log_streams(logGroupName=LOG_GROUP, orderBy="LastEventTime", descending=True, limit=1)["logStreams"][0]
    assert newest["logStreamName"].startswith(f"{later}/")
    code, _ = refusal(logs.describe_log_streams, logGroupName=LOG_GROUP, orderBy="LastEventTime", logStreamNamePrefix="a")
    assert code == "InvalidParameterException"


def test_the_group_is_described(server, logs, printed):
    group, = logs.describe_log_groups(logGroupNamePrefix="/aws/sagemaker/")["logGroups"]
    assert group["logGroupName"] == LOG_GROUP and group["storedBytes"] > 0
    assert group["arn"] == f"arn:aws:logs:us-east-1:000000000000:log-group:{LOG_GROUP}:*"
    by_cli = json.loads(server.aws("logs", "describe-log-groups").stdout)["logGroups"]
    assert [row["logGroupName"] for row in by_cli] == [LOG_GROUP]


def test_a_group_or_stream_that_is_not_there(logs, printed):
    assert refusal(logs.describe_log_streams, logGroupName="/none") == ("ResourceNotFoundException", "The specified log group does not exist.")
    assert refusal(logs.get_log_events, logGroupName=LOG_GROUP, logStreamName="none") == (
        "ResourceNotFoundException", "The specified log stream does not exist.")
    assert refusal(logs.get_log_events, logGroupName=LOG_GROUP, logStreamName=streams_of(logs, printed)[0], nextToken="f/1/s")[0] == "InvalidParameterException"


# FilterLogEvents

def filtered(logs, **more):
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=LOG_GROUP, **more)
    return [event for page in pages for event in page["events"]]


def test_filtering_merges_the_streams_by_time(logs, printed):
    events = filtered(logs, logStreamNamePrefix=f"{printed}/")
    assert len(events) == sum(len(read(logs, stream)) for stream in streams_of(logs, printed))
    times = [event["timestamp"] for event in events]
    assert times == sorted(times)
    assert len({event["eventId"] for event in events}) == len(events)
    assert {event["logStreamName"] for event in events} == set(streams_of(logs, printed))
    in_pages = filtered(logs, logStreamNamePrefix=f"{printed}/", PaginationConfig={"PageSize": 3})
    assert in_pages == events


@pytest.mark.parametrize("pattern, found", [
    ("line", 12), ("algo-1 line", 5), ('"algo-1 line 3"', 1), ("ERROR", 2), ("error", 0), ("line -algo-2", 7),
    ("?ERROR ?grün", 4), ('"\\"luck\\""', 2), ("", None)])
def test_filter_patterns(logs, printed, pattern, found):
    events = filtered(logs, logStreamNamePrefix=f"{printed}/", filterPattern=pattern)
    assert len(events) == (len(filtered(logs, logStreamNamePrefix=f"{printed}/")) if found is None else found)


def test_filtering_named_streams_and_times(logs, printed):
    one = streams_of(logs, printed)[1]
    events = filtered(logs, logStreamNames=[one])
    assert [event["message"] for event in events] == read(logs, one)
    middle = events[3]["timestamp"]
    assert filtered(logs, logStreamNames=[one], startTime=middle, endTime=middle) == [e for e in events if e["timestamp"] == middle]
    assert refusal(logs.filter_log_events, logGroupName=LOG_GROUP, logStreamNames=["none"])[0] == "ResourceNotFoundException"
    assert refusal(logs.filter_log_events, logGroupName=LOG_GROUP, logStreamNames=[one], logStreamNamePrefix="a")[0] == "InvalidParameterException"
    assert refusal(logs.filter_log_events, logGroupName=LOG_GROUP, filterPattern="{ $.a = 1 }")[0] == "InvalidParameterException"


# as clients follow a running job

SLOW = "for i in $(seq 1 30); do echo tick $i; echo tock $i; sleep 0.2; done"  # two lines in one millisecond
SLOW_LINES = [f"{word} {i}" for i in range(1, 31) for word in ("tick", "tock")]


def poll_as_sdk_v2(logs, name, instances, positions):
    """One turn of the SageMaker SDK v2: the streams of a job, then each from the last time that it saw, skipping what it
    had seen of that time. Never sends DescribeLogStreams' nextToken back."""
    try:
        answer = logs.describe_log_streams(logGroupName=LOG_GROUP, logStreamNamePrefix=name + "/", orderBy="LogStreamName", limit=min(instances, 50))
    except logs.exceptions.ResourceNotFoundException:
        return []
    assert "nextToken" not in answer, "SDK v2 would never leave this loop"
    lines = []
    for stream in (row["logStreamName"] for row in answer["logStreams"]):
        start, skip = positions.setdefault(stream, (0, 0))
        left, token, count = skip, None, 1
        while count:
            page = logs.get_log_events(logGroupName=LOG_GROUP, logStreamName=stream, startTime=start, startFromHead=True,
                                       **({"nextToken": token} if token else {}))
            token, count = page["nextForwardToken"], len(page["events"])
            events, left = page["events"][left:], max(left - count, 0)
            for event in events:
                lines.append((stream, event["message"]))
                seen_at, seen = positions[stream]
                positions[stream] = (seen_at, seen + 1) if event["timestamp"] == seen_at else (event["timestamp"], 1)
    return lines


def poll_as_sdk_v3(logs, name, tokens):
    """One turn of the SageMaker SDK v3: each stream goes on from the token that it was left with."""
    try:
        answer = logs.describe_log_streams(logGroupName=LOG_GROUP, logStreamNamePrefix=name + "/", orderBy="LogStreamName")
    except logs.exceptions.ResourceNotFoundException:
        return []
    lines = []
    for stream in (row["logStreamName"] for row in answer["logStreams"]):
        while True:
            page = logs.get_log_events(logGroupName=LOG_GROUP, logStreamName=stream, startFromHead=True,
                                       **({"nextToken": tokens[stream]} if stream in tokens else {}))
            tokens[stream] = page["nextForwardToken"]
            if not page["events"]:
                break
            lines += [(stream, event["message"]) for event in page["events"]]
    return lines


@pytest.mark.parametrize("generation", ["v2", "v3"])
def test_the_sdks_see_each_line_once_while_a_job_runs(server, logs, generation):
    name = server.submit(SLOW, instances=2)
    state, lines, turns = {}, [], 0
    deadline = time.monotonic() + 60
    ended = False
    while time.monotonic() < deadline:
        ended = ended or server.describe(name)["TrainingJobStatus"] in TERMINAL
        some = poll_as_sdk_v2(logs, name, 2, state) if generation == "v2" else poll_as_sdk_v3(logs, name, state)
        turns += bool(some)
        lines += some
        if ended:
            break
        time.sleep(0.1)
    assert ended and turns >= 3, "the lines came while the job ran, not at its end"
    streams = streams_of(logs, name)
    assert len(streams) == 2
    for stream in streams:
        assert [message for at, message in lines if at == stream] == SLOW_LINES


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_aws_logs_tail_follows_a_running_job(server, secure):
    name = server.submit("for i in $(seq 1 200); do echo tick $i; sleep 0.1; done")
    server.wait_for_job(name, secondary="Training")
    wait_until(lambda: server.log_lines(name), 20, "the first line")
    command = ["/usr/bin/aws", "--endpoint-url", server.secure_endpoint if secure else server.endpoint, "logs", "tail", LOG_GROUP,
               "--log-stream-name-prefix", f"{name}/", "--since", "10m", "--format", "short", "--follow"]
    environment = server.aws_environment() | {"HOME": str(server.identity.scratch), "PYTHONUNBUFFERED": "1"}
    environment.pop("AWS_ENDPOINT_URL", None)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment) as tail:
        lines = []
        try:
            deadline = time.monotonic() + 60
            while len(lines) < 100 and time.monotonic() < deadline:
                line = tail.stdout.readline()
                if not line:
                    break
                lines.append(line.rstrip("\n"))
        finally:
            tail.send_signal(signal.SIGKILL)
    # It began with what was there and went on with what came: each line once, in order, with its time.
    assert [re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d (tick \d+)", line)[1] for line in lines] == [f"tick {i}" for i in range(1, 101)]
    server.client("sagemaker").stop_training_job(TrainingJobName=name)
    server.wait_for_job(name)


def test_the_aws_cli_reads_and_filters(server, printed):
    stream = json.loads(server.aws("logs", "describe-log-streams", "--log-group-name", LOG_GROUP,
                                   "--log-stream-name-prefix", f"{printed}/").stdout)["logStreams"][0]["logStreamName"]
    page = json.loads(server.aws("logs", "get-log-events", "--log-group-name", LOG_GROUP, "--log-stream-name", stream, "--limit", "3",
                                 "--start-from-head").stdout)
    assert len(page["events"]) == 3 and page["nextForwardToken"].startswith("f/")
    found = json.loads(server.aws("logs", "filter-log-events", "--log-group-name", LOG_GROUP, "--log-stream-name-prefix", f"{printed}/",
                                  "--filter-pattern", "ERROR").stdout)
    assert len(found["events"]) == 2
    tailed = server.aws("logs", "tail", LOG_GROUP, "--log-stream-names", stream, "--since", "1h", "--format", "short").stdout
    assert "algo-1 line 5" in tailed


def test_a_job_that_prints_nothing_has_no_lines(server, logs):
    name = server.run_job("true", name=unique_name("silent"))["TrainingJobName"]
    for stream in streams_of(logs, name):
        assert read(logs, stream) == []
