"""The memory of real runs, as the system counts it: all of the plan is taken before the first step, and later ones take no
more, whatever comes in them: checkpoints, evaluations, rows of other lengths."""

import json
import pathlib
import re

import pytest

import llm

CONTEXT = 128
# 3 million parameters on few tokens: steps are short, and the plan is some 100 MiB.
SHAPE = dict(vocabulary=400, layers=4, hidden_size=256, intermediate_size=704, heads=4)
RUN = dict(length=CONTEXT, steps=60, threads=2, log="json", log_every=1, sample_tokens=0, evaluate_sequences=4)
PEFT = dict(lora_rank=8, lora_dropout=0.1)
# Threads of their own, buffers of files, prepared products: of a plan of 100 MiB.
ALLOWED_BYTES = 6 * 2**20


def memory_of(process):
    """Without the files that are mapped."""
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return 1024 * int(re.search(r"^RssAnon:\s+(\d+) kB", status, re.M)[1])


def measured(*command, late):
    """Bytes that a run has planned, that it has in one of its first steps, and at step `late`, when it is not yet at its end:
    lines that nobody has read hold it up before some 17 steps more."""
    with llm.Ranks(1, commands=[command]) as job:
        process, = job.processes
        job.read_until(r'"event": "step", "step": 1,')
        first = memory_of(process)
        job.read_until(rf'"event": "step", "step": {late},')
        last = memory_of(process)
        assert job.wait() == [0], job.output
    events = [json.loads(line) for line in job.output[0].splitlines() if line.startswith("{")]
    planned, = (event["memory_bytes"] for event in events if event["event"] == "start")
    return planned, first, last, [event["event"] for event in events if event["event"] != "note"]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """The folder of a model, and what its run has taken."""
    folder = tmp_path_factory.mktemp("pretrained")
    text = llm.bible(folder / "corpus", 60_000) / "train/bible.txt"
    command = ["pretrain", *llm.words(text=text, out=folder / "model", **SHAPE, **RUN, batch=2, micro_batch=1, evaluate_every=20,
                                      checkpoint_every=20, checkpoints_kept=1)]
    return folder / "model", measured(*command, late=41)


def test_checkpoints_and_evaluations_take_no_more(pretrained):
    _, (planned, first, last, events) = pretrained
    assert events.count("checkpoint") == 3 and events.count("evaluation") == 4
    assert planned > 80 * 2**20 and first > 0.9 * planned
    assert last - first < ALLOWED_BYTES


@pytest.mark.parametrize("kind", [dict(), PEFT], ids=["whole", "adapters"])
def test_rows_of_other_lengths_take_no_more(pretrained, tmp_path, kind):
    """All pairs are short but for one, which with this seed comes in step 29 first, and then in the second epoch."""
    pairs = [{"prompt": f"And the {i}th said", "chosen": f" come, {i}", "rejected": " no"} for i in range(240)]
    pairs[97]["rejected"] = " no" * (CONTEXT // 2)
    data = tmp_path / "pairs.jsonl"
    data.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    command = ["dpo", *llm.words(model=pretrained[0], data=data, out=tmp_path / "out", **RUN, epochs=0, batch=8, micro_batch=8, held_out=0, seed=1,
                                 **kind)]
    planned, first, last, events = measured(*command, late=41)
    assert events.count("step") == RUN["steps"]
    assert planned > 80 * 2**20 and first > 0.9 * planned
    assert last - first < 2 * ALLOWED_BYTES  # products are prepared for each length
