"""athanor-llm as the program of a training job: what it reads in /opt/ml, and what it leaves there when it fails."""

import json
import shutil

import pytest

import llm
from test_llm_cli import place, refused  # noqa: F401


def job(folder, place, hyperparameters, text="text.txt", channels=("train",)):
    folder = llm.contract(folder, llm.SMALL | dict(steps=2) | hyperparameters, channels)
    if "train" in channels:
        shutil.copy(place / text, folder / "input/data/train")
    return folder


WRONG_JOBS = [
    (dict(hiden_size=64), "text.txt", 'There is no hyperparameter "hiden_size". Did you mean "hidden_size"?'),
    (dict(rabbits=2), "text.txt", 'There is no hyperparameter "rabbits". There are: vocabulary, layers'),
    (dict(steps="many"), "text.txt", 'Hyperparameter steps is "many"; it must be a whole number'),
    (dict(steps=""), "text.txt", 'Hyperparameter steps is ""'),
    (dict(steps=0), "text.txt", "steps is 0; it must be a positive number"),
    (dict(heads=7, head_dim=0), "text.txt", "change one, or give head_dim"),
    ({}, "latin.txt", "latin.txt is not UTF-8 text"),
    ({}, "empty.txt", "give more text or a smaller length"),
    ({}, "text.tokens", 'a channel "tokenizer"'),
]


@pytest.mark.parametrize("hyperparameters, text, tells", WRONG_JOBS)
def test_a_job_that_fails_leaves_the_reason(place, tmp_path, hyperparameters, text, tells):  # noqa: F811
    folder = job(tmp_path / "ml", place, hyperparameters, text)
    told = refused("train", "--contract", folder)
    assert tells in told
    assert (folder / "output/failure").read_text() == told
    assert list((folder / "model").iterdir()) == []


def test_a_job_without_its_channel_leaves_the_reason(place, tmp_path):  # noqa: F811
    folder = job(tmp_path / "ml", place, {}, channels=("validation",))
    told = refused("train", "--contract", folder)
    assert 'no channel "train"' in told and (folder / "output/failure").read_text() == told


@pytest.mark.parametrize("content", ["", "{", "[]", '"text"'])
@pytest.mark.parametrize("name", ["hyperparameters", "inputdataconfig", "resourceconfig"])
def test_a_job_with_a_damaged_configuration(place, tmp_path, name, content):  # noqa: F811
    folder = job(tmp_path / "ml", place, {})
    (folder / f"input/config/{name}.json").write_text(content)
    told = refused("train", "--contract", folder)
    assert f"{name}.json" in told and (folder / "output/failure").read_text() == told


@pytest.mark.parametrize("change, tells", [
    ({"TrainingInputMode": "Pipe"}, "use File mode"), ({"S3DistributionType": "ShardedByS3Key"}, "use FullyReplicated")])
def test_a_channel_that_the_engine_cannot_use(place, tmp_path, change, tells):  # noqa: F811
    folder = job(tmp_path / "ml", place, {})
    path = folder / "input/config/inputdataconfig.json"
    channels = json.loads(path.read_text())
    channels["train"] |= change
    path.write_text(json.dumps(channels))
    (folder / "input/config/resourceconfig.json").write_text(json.dumps({"current_host": "algo-1", "hosts": ["algo-1", "algo-2"]}))
    told = refused("train", "--contract", folder)
    assert tells in told and (folder / "output/failure").read_text() == told


def test_a_job_that_is_right_leaves_a_model_and_no_failure(place, tmp_path):  # noqa: F811
    """With what SageMaker's SDKs send beside it: values as JSON, and names of their own."""
    folder = job(tmp_path / "ml", place, dict(prompt='"And"', sagemaker_region='"us-east-1"', steps=3))
    done = llm.run("train", "--contract", folder)
    assert not (folder / "output/failure").exists()
    assert {path.name for path in (folder / "model").iterdir()} == {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert (folder / "model/model.safetensors").read_bytes() == (place / "model/model.safetensors").read_bytes()
    assert llm.losses(done.stdout)[3]
