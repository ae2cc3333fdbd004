"""1, 2 and 3 processes train the same model: their sums are rounded otherwise, and nothing else differs."""

import json
import subprocess

import numpy
import pytest
from safetensors.numpy import load_file

import llm
from probe import relative_error

# float32 has 24 bits, and a step's sums differ in the last few of them; 40 steps carry that on. What is printed has 6
# decimals. A rank that saw other sequences, or a gradient summed twice, moves the losses by more than 1e-3.
LOSS_TOLERANCE = 2e-5
WEIGHT_TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return llm.bible(tmp_path_factory.mktemp("corpus"), 100_000)


@pytest.fixture(scope="module")
def alone(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "model"
    printed = llm.train(text=corpus / "train", validation=corpus / "validation", out=out, **llm.SMALL)
    return out, llm.losses(printed)


def assert_the_same(found, expected):
    assert found.keys() == expected.keys()
    for step, loss in expected.items():
        assert float(found[step]) == pytest.approx(float(loss), abs=LOSS_TOLERANCE), step


def assert_the_same_model(folder, expected):
    ours, theirs = load_file(folder / "model.safetensors"), load_file(expected / "model.safetensors")
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert relative_error(ours[name], value) < WEIGHT_TOLERANCE, name
    for name in ("config.json", "tokenizer.json"):
        assert (folder / name).read_bytes() == (expected / name).read_bytes()


@pytest.mark.parametrize("ranks, micro_batch", [(2, 2), (3, 2), (2, 1), (3, 6), (5, 1)])
def test_any_number_of_ranks_gives_the_same(corpus, alone, tmp_path, ranks, micro_batch):
    expected_model, expected = alone
    assert len(expected) == llm.SMALL["steps"] + 2
    assert float(expected[40]) < float(expected[1]) - 0.5
    # Only rank 0 is given the texts and a place for the model; the others get everything from it.
    settings = llm.words(**llm.SMALL | dict(micro_batch=micro_batch))
    first = ["train", *settings, *llm.words(text=corpus / "train", validation=corpus / "validation", out=tmp_path / "model")]
    others = [["train", *settings, *llm.words(out=tmp_path / f"rank-{rank}")] for rank in range(1, ranks)]
    with llm.Ranks(ranks, commands=[first, *others]) as job:
        assert job.wait() == [0] * ranks, job.output
    assert_the_same(llm.losses(job.output[0]), expected)
    assert_the_same_model(tmp_path / "model", expected_model)
    for rank in range(1, ranks):
        assert job.output[rank].startswith(f"rank {rank} of {ranks}: ") and "step 1/" not in job.output[rank]
        assert not (tmp_path / f"rank-{rank}").exists()


@pytest.mark.parametrize("otherwise", [dict(learning_rate=0.02), dict(seed=5), dict(batch=12)])
def test_ranks_that_are_told_otherwise_are_refused(corpus, tmp_path, otherwise):
    given = dict(text=corpus / "train", out=tmp_path / "model", **llm.SMALL)
    with llm.Ranks(2, commands=[["train", *llm.words(**given)], ["train", *llm.words(**given | otherwise)]]) as job:
        assert job.wait() == [2, 2], job.output
    (name, value), = otherwise.items()
    assert f'Rank 1 was told "{name} {value}", and rank 0 "{name} {llm.SMALL.get(name, 1)}": give all' in job.output[1]
    assert "Of 2 ranks 1 had other options than rank 0" in job.output[0]
    assert not (tmp_path / "model/model.safetensors").exists()


def test_the_comparison_can_fail(corpus, alone, tmp_path):
    """Another order of the text is another run, by far more than the tolerances."""
    expected_model, expected = alone
    printed = llm.train(text=corpus / "train", validation=corpus / "validation", out=tmp_path, **llm.SMALL | dict(batch=5))
    differences = [abs(float(loss) - float(expected[step])) for step, loss in llm.losses(printed).items()]
    assert max(differences) > 100 * LOSS_TOLERANCE
    ours, theirs = load_file(tmp_path / "model.safetensors"), load_file(expected_model / "model.safetensors")
    assert max(relative_error(ours[name], theirs[name]) for name in theirs) > 10 * WEIGHT_TOLERANCE


def test_the_number_of_threads_changes_rounding_only(corpus, alone, tmp_path):
    expected_model, expected = alone
    printed = llm.train(text=corpus / "train", validation=corpus / "validation", out=tmp_path, **llm.SMALL | dict(threads=3))
    assert_the_same(llm.losses(printed), expected)
    assert_the_same_model(tmp_path, expected_model)


def test_ranks_from_resourceconfig_alone(corpus, alone, tmp_path):
    """As in any SageMaker container: who is who is told by resourceconfig.json, and rank 0 listens at port 7700."""
    _, expected = alone
    hosts = ["127.0.0.1", "127.0.0.2"]
    commands = []
    for rank, host in enumerate(hosts):
        folder = llm.contract(tmp_path / host, llm.SMALL, ("train", "validation"), hosts, current=host)
        for channel in ("train", "validation"):
            (folder / "input/data" / channel / "bible.txt").write_bytes((corpus / channel / "bible.txt").read_bytes())
        commands.append(f"{llm.PROGRAM} train --contract {folder} > {folder}/printed 2>&1")
    # A network of its own: the port may be taken on this machine's.
    done = subprocess.run(["unshare", "--user", "--map-root-user", "--net", "sh", "-c",
                           f"ip link set lo up; {commands[1]} & {commands[0]}; code=$?; wait $! && exit $code"],
                          env=llm.environment(), timeout=120)
    printed = [(tmp_path / host / "printed").read_text() for host in hosts]
    assert done.returncode == 0, printed
    assert_the_same(llm.losses(printed[0]), expected)
    assert "rank 1 of 2: meeting the others at 127.0.0.1:7700" in printed[1]
    assert (tmp_path / hosts[0] / "model/model.safetensors").exists()
    assert list((tmp_path / hosts[1] / "model").iterdir()) == []


def test_a_rank_that_dies_ends_the_others_with_its_name(corpus, tmp_path):
    with llm.Ranks(3, text=corpus / "train", out=tmp_path / "model", **llm.SMALL | dict(steps=100_000)) as job:
        job.read_until(r"step 3/")
        job.signal(9, 1)
        codes = job.wait()
    assert codes[1] == -9 and codes[0] == codes[2] == 1, job.output
    for rank in (0, 2):
        reason = job.output[rank].splitlines()[-1]
        assert reason.startswith("athanor-llm: ") and "rank" in reason, reason


@pytest.mark.parametrize("environment, tells", [
    ({"ATHANOR_WORLD_SIZE": "2"}, "ATHANOR_RANK"),
    ({"ATHANOR_WORLD_SIZE": "2", "ATHANOR_RANK": "2"}, "ATHANOR_RANK"),
    ({"ATHANOR_WORLD_SIZE": "2", "ATHANOR_RANK": "0"}, "ATHANOR_RENDEZVOUS"),
    ({"ATHANOR_WORLD_SIZE": "two"}, "ATHANOR_WORLD_SIZE"),
    ({"ATHANOR_WORLD_SIZE": "2", "ATHANOR_RANK": "0", "ATHANOR_RENDEZVOUS": "no-port"}, "no-port"),
])
def test_ranks_that_are_told_nonsense(corpus, tmp_path, environment, tells):
    done = llm.run("train", *llm.words(text=corpus / "train", out=tmp_path / "model"), code=2, **environment)
    assert tells in done.stderr and len(done.stderr.splitlines()) == 1
