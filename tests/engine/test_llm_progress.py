"""What athanor-llm says while it trains, to people and to machines, and of a run before it is one."""

import contextlib
import fcntl
import json
import os
import pty
import random
import re
import string
import struct
import subprocess
import termios

import pytest

import llm
from test_llm_cli import place  # noqa: F401


def test_lines_for_machines_tell_what_lines_for_people_do(place, tmp_path):  # noqa: F811
    run = llm.SMALL | dict(steps=6, checkpoint_every=3, evaluate_every=3, schedule="wsd", text=place / "text.txt")
    told = llm.losses(llm.train(out=tmp_path / "text", **run))
    events = [json.loads(line) for line in llm.train(out=tmp_path / "json", log="json", **run).splitlines()]
    by_name = {name: [event for event in events if event["event"] == name] for name in ("start", "step", "evaluation", "checkpoint")}
    assert {step["step"]: f"{step['loss']:.6f}" for step in by_name["step"]} == {k: v for k, v in told.items() if isinstance(k, int)}
    assert [f"{found['loss']:.6f}" for found in by_name["evaluation"]] == [v for k, v in told.items() if not isinstance(k, int)]
    assert [found["name"] for found in by_name["checkpoint"]] == ["step-00000003", "step-00000006"]
    assert [found["steps"] for found in by_name["start"]] == [6]
    assert all(step["skipped_steps"] == 0 and step["targets"] == run["batch"] * run["length"] for step in by_name["step"])


def test_a_run_goes_back_from_a_spike_and_on(tmp_path):
    """A text that is soon known, with noise in its midst: where that comes the loss is many times the median."""
    noise = "".join(random.Random(1).choices(string.ascii_letters + string.digits, k=400))
    known = "In the beginning God created the heaven and the earth.\n" * 1000
    (tmp_path / "text.txt").write_text(known + noise + "\n" + known)
    run = llm.SMALL | dict(text=tmp_path / "text.txt", vocabulary=300, steps=140, learning_rate=1e-2, checkpoint_every=10, spike_factor=5,
                           spike_rollbacks_max=20)
    lines = llm.train(out=tmp_path / "json", log="json", **run).splitlines()
    events = [event for event in map(json.loads, lines) if event["event"] in ("step", "rollback")]
    rollbacks = [event for event in events if event["event"] == "rollback"]
    assert len(rollbacks) >= 3
    step, losses = 0, {}
    for event in events:
        if event["event"] == "step":
            assert event["step"] == step + 1
            step += 1
            losses[step] = event["loss"]
            continue
        assert event["from_step"] == step + 1 > 16 and event["to_step"] == step // 10 * 10
        recent = sorted(list(losses.values())[-64:])
        assert event["median"] == recent[len(recent) // 2] and event["loss"] > 5 * event["median"]
        step = event["to_step"]
        losses = {number: loss for number, loss in losses.items() if number <= step}
    assert step == 140 and losses[140] < losses[1] / 4
    assert (tmp_path / "json/model.safetensors").exists()

    printed = llm.train(out=tmp_path / "text", **run)
    told = re.findall(r"^step (\d+) has a spike: its loss is (\S+), and the median of the last ones (\S+); going back to step (\d+), and on with", printed, re.M)
    assert told == [(str(event["from_step"]), f"{event['loss']:.6f}", f"{event['median']:.6f}", str(event["to_step"])) for event in rollbacks]


def at_a_terminal(*arguments, columns=100, terminal="xterm"):
    """Runs it as somebody who looks at it; returns all that came to the terminal."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen([llm.PROGRAM, *map(str, arguments)], stdin=its, stdout=its, stderr=its, env=llm.environment(TERM=terminal))
    os.close(its)
    seen = b""
    with contextlib.suppress(OSError):  # EIO: nobody has the other end any more
        while part := os.read(ours, 65536):
            seen += part
    os.close(ours)
    assert process.wait() == 0, seen
    return seen.decode()


def test_a_terminal_is_shown_every_step_in_a_line_that_moves(place, tmp_path):  # noqa: F811
    run = llm.words(**llm.SMALL | dict(steps=24, log_every=10), text=place / "text.txt")
    seen = at_a_terminal("train", *run, "--out", tmp_path / "model", columns=70)
    status = re.findall(r"\r\x1b\[K(\[[= ]+\] +\d+%  step \d+/24[^\r]*)", seen)
    assert [int(re.search(r"step (\d+)/", line)[1]) for line in status] == list(range(1, 24))
    bar, = re.findall(r"^\[(=+ +)\]  50%  step 12/24  loss [0-9.]+  .* left  [0-9,]+ tokens/s$", status[11])
    assert bar.count("=") == len(bar) // 2
    assert all(len(line) <= 69 for line in status)
    # What stays is what a pipe would have been given: each line begins where the status was taken away.
    lines = [line.removeprefix("\r\x1b[K") for line in re.sub(r"\r\x1b\[K\[[= ]+\][^\r]*", "", seen).split("\r\n")]
    assert [line.split("  ")[0] for line in lines if line.startswith("step ")] == ["step 1/24", "step 10/24", "step 20/24", "step 24/24"]
    assert not any("\x1b" in line for line in lines)


def test_a_terminal_that_cannot_move_is_given_lines(place, tmp_path):  # noqa: F811
    run = llm.words(**llm.SMALL | dict(steps=3), text=place / "text.txt")
    assert "\x1b" not in at_a_terminal("train", *run, "--out", tmp_path / "dumb", terminal="dumb")
    assert "\x1b" not in at_a_terminal("train", *run, "--out", tmp_path / "machine", "--log", "json")


@pytest.mark.parametrize("log", ["text", "json"])
def test_the_documented_expressions_read_one_series_each(place, tmp_path, log):  # noqa: F811
    """Those of docs/cli.md, as a job's MetricDefinitions have them."""
    documented = dict(re.findall(r"^\| `(\w+:\w+)` \| `(.+?)` \| `.+?` \|$" if log == "text" else r"^\| `(\w+:\w+)` \| `.+?` \| `(.+?)` \|$",
                                 (llm.ROOT / "docs/cli.md").read_text(), re.M))
    assert list(documented) == ["train:loss", "validation:loss", "train:throughput", "train:gradient_norm"]
    run = llm.SMALL | dict(steps=6, evaluate_every=3, spike_factor=100, checkpoint_every=2, text=place / "text.txt", out=tmp_path / "model")
    lines = llm.train(log=log, **run).splitlines()
    found = {name: [float(match[1].replace(",", "")) for line in lines if (match := re.search(expression, line))] for name, expression in documented.items()}
    assert [len(values) for values in found.values()] == [6, 3, 6, 6]  # evaluated before as well
    assert found["train:loss"][0] > found["train:loss"][-1] > 0
    assert not set(found["train:loss"]) & set(found["validation:loss"])


@pytest.mark.parametrize("more", [dict(), dict(batch=12, layers=5, length=48)], ids=str)
def test_a_dry_run_tells_what_a_run_takes(place, tmp_path, more):  # noqa: F811
    run = llm.SMALL | dict(steps=2, text=place / "text.txt", out=tmp_path / "model") | more
    dry, real = (json.loads(llm.train(*flags, log="json", **run).splitlines()[0]) for flags in (["--dry-run"], []))
    assert dry == real and dry["memory_bytes"] > 0
    told = re.search(r"^a step +(\S+) floating-point operations over all ranks; about (\S+) s, at the (\S+) operations a second that products of "
                     r"float32 make here and (\S+) bytes of memory\n^the run +about (\S+) s for 2 steps", llm.train("--dry-run", **run), re.M)
    flops, seconds, flops_per_s, bytes_per_s = map(float, told.groups()[:4])
    heads, kv_heads, width, tokens = run["heads"] * run["head_dim"], run["kv_heads"] * run["head_dim"], run["hidden_size"], run["batch"] * run["length"]
    inner = -(-width * 8 // 3 // 64) * 64
    weights = run["layers"] * (width * (2 * heads + 2 * kv_heads) + 3 * width * inner) + run["vocabulary"] * width
    attention = run["layers"] * 12 * run["length"] / 2 * heads
    assert flops == pytest.approx((6 * weights + attention) * tokens, rel=5e-3)
    # Products and what moves memory, at the rates that it tells; attention, which has a rate of its own, comes on top.
    elements = run["layers"] * (20 * width + 11 * inner + 4 * (heads + kv_heads))
    least = 6 * weights * tokens / flops_per_s + (2 * 4 * elements * tokens + 32 * weights) / bytes_per_s
    assert 0.98 * least < seconds < 2 * least
