"""A run that was stopped or killed and goes on is, loss for loss and bit for bit, the run that never was."""

import shutil
import signal

import pytest

import llm

STEPS = 96  # more lines than a pipe of one page holds ahead of its reader: no run can end before it is interrupted
RUN = llm.SMALL | dict(steps=STEPS, checkpoint_every=7, evaluate_every=20)
TERMINATED, INTERRUPTED, KILLED = 128 + signal.SIGTERM, 128 + signal.SIGINT, -signal.SIGKILL


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return llm.bible(tmp_path_factory.mktemp("corpus"), 100_000)


@pytest.fixture(scope="module")
def never_stopped(corpus, tmp_path_factory):
    """{ranks: (its losses, its model's bytes, its evaluation before and after)}"""
    runs = {}

    def run(ranks):
        if ranks not in runs:
            out = tmp_path_factory.mktemp("whole") / "model"
            with llm.Ranks(ranks, text=corpus / "train", validation=corpus / "validation", out=out, **RUN) as job:
                assert job.wait() == [0] * ranks, job.output
            found = llm.losses(job.output[0])
            assert len(found) == STEPS + 6 and len(set(found.values())) > STEPS * 0.9
            runs[ranks] = found, (out / "model.safetensors").read_bytes(), llm.before_and_after(job.output[0])
        return runs[ranks]

    return run


def go_on(corpus, out, ranks, **more):
    return llm.Ranks(ranks, "--resume", text=corpus / "train", validation=corpus / "validation", out=out, **RUN | more)


def assert_exactly(parts, out, expected):
    """All losses of all parts are the whole run's, together they are all of it, and so is the model."""
    losses, model, evaluations = expected
    seen = {}
    for part in parts:
        for step, loss in llm.losses(part).items():
            assert losses[step] == loss, f"step {step}: {loss} instead of {losses[step]}"
            seen[step] = loss
    assert seen == losses
    assert (out / "model.safetensors").read_bytes() == model
    assert llm.before_and_after(parts[-1]) == evaluations


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("number, code", [(signal.SIGTERM, TERMINATED), (signal.SIGINT, INTERRUPTED)])
def test_stopped_twice(corpus, never_stopped, tmp_path, ranks, number, code):
    parts, at = [], [5, 60]
    for step in at:
        with go_on(corpus, tmp_path, ranks) as job:
            job.read_until(rf"step {step}/")
            job.signal(number)
            assert job.wait() == [code] * ranks, job.output
        parts.append(job.output[0])
        stopped = f"stopped after step {max(s for s in llm.losses(parts[-1]) if isinstance(s, int))} of {STEPS}; "
        assert stopped in parts[-1]
        assert (tmp_path / "model.safetensors").exists()  # the model as it stood
    assert "going on after step" not in parts[0] and "going on after step" in parts[1]
    with go_on(corpus, tmp_path, ranks) as job:
        assert job.wait() == [0] * ranks, job.output
    parts.append(job.output[0])
    assert [min(s for s in llm.losses(part) if isinstance(s, int)) for part in parts[1:]] == [
        1 + max(s for s in llm.losses(part) if isinstance(s, int)) for part in parts[:-1]]  # not a step twice
    assert_exactly(parts, tmp_path, never_stopped(ranks))


def test_one_rank_is_told_to_stop_and_all_do(corpus, never_stopped, tmp_path):
    with go_on(corpus, tmp_path, 2) as job:
        job.read_until(r"step 5/")
        job.signal(signal.SIGTERM, 1)
        assert job.wait() == [TERMINATED] * 2, job.output
    first = job.output[0]
    with go_on(corpus, tmp_path, 2) as job:
        assert job.wait() == [0, 0], job.output
    assert_exactly([first, job.output[0]], tmp_path, never_stopped(2))


@pytest.mark.parametrize("ranks", [1, 2])
def test_killed_at_any_moment(corpus, never_stopped, tmp_path, ranks):
    parts = []
    for last_line in (r"step 4/", r"checkpoint step-00000007", r"step 15/", r"evaluation loss .* at step 20", r"checkpoint step-0000004"):
        with go_on(corpus, tmp_path, ranks) as job:
            job.read_until(last_line)
            job.signal(signal.SIGKILL)
            assert job.wait() == [KILLED] * ranks
        parts.append(job.output[0])
    assert "going on" not in parts[0]
    assert sum("going on after step" in part for part in parts[1:]) >= 3
    with go_on(corpus, tmp_path, ranks) as job:
        assert job.wait() == [0] * ranks, job.output
    assert_exactly([*parts, job.output[0]], tmp_path, never_stopped(ranks))
    assert sorted(folder.name for folder in (tmp_path / "checkpoints").iterdir()) == ["step-00000091", "step-00000096"]


def test_a_damaged_checkpoint_is_passed_over(corpus, never_stopped, tmp_path):
    with go_on(corpus, tmp_path, 1) as job:
        job.read_until(r"step 30/")
        job.signal(signal.SIGTERM)
        job.wait()
    parts = [job.output[0]]
    newest, before = sorted((tmp_path / "checkpoints").iterdir(), reverse=True)
    shard = newest / "shard-00000.safetensors"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with go_on(corpus, tmp_path, 1) as job:
        assert job.wait() == [0], job.output
    parts.append(job.output[0])
    assert "Skipping a damaged checkpoint" in parts[1] and newest.name in parts[1]
    assert f"going on after step {int(before.name.removeprefix('step-'))}," in parts[1]
    assert_exactly(parts, tmp_path, never_stopped(1))


def test_going_on_after_the_end_trains_no_more(corpus, never_stopped, tmp_path):
    for attempt in range(2):
        with go_on(corpus, tmp_path, 1) as job:
            assert job.wait() == [0], job.output
    assert f"going on after step {STEPS}," in job.output[0] and llm.losses(job.output[0]) == {}
    losses, model, evaluations = never_stopped(1)
    assert (tmp_path / "model.safetensors").read_bytes() == model
    assert llm.before_and_after(job.output[0]) == evaluations


def test_other_ranks_go_on_with_the_same_losses(corpus, never_stopped, tmp_path):
    """Stopped on 1, resumed on 3: the same by rounding."""
    with go_on(corpus, tmp_path, 1) as job:
        job.read_until(r"step 20/")
        job.signal(signal.SIGTERM)
        assert job.wait() == [TERMINATED]
    with go_on(corpus, tmp_path, 3) as job:
        assert job.wait() == [0] * 3, job.output
    expected, _, _ = never_stopped(1)
    found = llm.losses(job.output[0])
    assert STEPS in found and 1 not in found
    for step, loss in found.items():
        assert float(loss) == pytest.approx(float(expected[step]), abs=1e-4), step


def test_by_the_contract_it_goes_on_by_itself(corpus, never_stopped, tmp_path):
    """A job's program is run again with the checkpoints that it left, in a container that is new otherwise."""
    parts, kept = [], tmp_path / "kept"
    for attempt in range(2):
        folder = llm.contract(tmp_path / f"ml-{attempt}", RUN, ("train", "validation"))
        for channel in ("train", "validation"):
            shutil.copy(corpus / channel / "bible.txt", folder / "input/data" / channel)
        shutil.copytree(kept, folder / "checkpoints") if attempt else (folder / "checkpoints").mkdir()
        with llm.Ranks(1, commands=[["train", "--contract", folder]]) as job:
            if attempt == 0:
                job.read_until(r"step 33/")
                job.signal(signal.SIGTERM)
            assert job.wait() == [0 if attempt else TERMINATED], job.output
        assert (folder / "model/model.safetensors").exists() and not (folder / "output/failure").exists()
        parts.append(job.output[0])
        shutil.copytree(folder / "checkpoints", kept, dirs_exist_ok=True)
    assert "going on after step" in parts[1]
    assert_exactly(parts, tmp_path / "ml-1/model", never_stopped(1))


def test_a_text_that_grew_is_gone_on_with_in_the_same_tokens(corpus, tmp_path):
    """A tokenizer learned anew would give the ids that the parameters know other meanings."""
    with go_on(corpus, tmp_path / "out", 1) as job:
        job.read_until(r"step 60/")
        job.signal(signal.SIGTERM)
        assert job.wait() == [TERMINATED], job.output
    tokenizer = (tmp_path / "out/tokenizer.json").read_bytes()
    folder = tmp_path / "grown"
    folder.mkdir()
    shutil.copy(corpus / "train/bible.txt", folder)
    (folder / "more.txt").write_text("Zyxwvu zyxwvu, quoth the zyxwvu of Zyxwvutania. " * 1000)
    alone = llm.train(text=folder, validation=corpus / "validation", out=tmp_path / "alone", **RUN | dict(steps=1))
    assert (tmp_path / "alone/tokenizer.json").read_bytes() != tokenizer, "the text must be one that changes the tokenizer"
    with llm.Ranks(1, "--resume", text=folder, validation=corpus / "validation", out=tmp_path / "out", **RUN) as job:
        assert job.wait() == [0], job.output
    assert "The text has changed since checkpoint" in job.output[0]
    assert (tmp_path / "out/tokenizer.json").read_bytes() == tokenizer
    before, after = llm.before_and_after(job.output[0])
    assert after < before - 0.5 and len(llm.losses(alone)) > 0


@pytest.mark.parametrize("changed", [dict(batch=5), dict(length=16), dict(seed=2)])
def test_another_order_of_the_data_is_refused(corpus, tmp_path, changed):
    """The position is a step: with another batch, length or seed it would be that of other sequences."""
    settings = llm.SMALL | dict(steps=2)
    llm.train(text=corpus / "train", out=tmp_path, **settings)
    model = (tmp_path / "model.safetensors").read_bytes()
    done = llm.run("train", "--resume", *llm.words(text=corpus / "train", out=tmp_path, **settings | dict(steps=4) | changed), code=2)
    (name, value), = changed.items()
    assert f"it was made with {name} {settings.get(name, 1)}, and this run has {value}; give the same" in done.stderr
    assert (tmp_path / "model.safetensors").read_bytes() == model
