"""CloudWatch Logs as its clients poll it: both SageMaker SDKs, `aws logs tail --follow`, get-log-events."""

from harness import LOG_GROUP


def test_a_jobs_lines_are_read_from_the_head(server):
    name = server.run_job("for i in 1 2 3; do echo line $i; done")["TrainingJobName"]
    streams = server.client("logs").describe_log_streams(logGroupName=LOG_GROUP, logStreamNamePrefix=name + "/")["logStreams"]
    assert [stream["logStreamName"].startswith(f"{name}/algo-1-") for stream in streams] == [True]
    assert server.log_lines(name) == ["line 1", "line 2", "line 3"]
