"""What a newcomer does, with real clients: real text into S3, a training job on two instances, its losses in the logs, the
model in transformers, a job stopped and another that goes on from its checkpoints."""

import io
import json
import re
import tarfile

import numpy
import pytest
import torch
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import llm
from harness import unique_name, wait_until
from probe import probe, relative_error

STEPS, INTERRUPTED_AT = 400, 25
SETTINGS = dict(
    vocabulary=600, layers=2, hidden_size=64, heads=4, kv_heads=2, length=64, batch=8, micro_batch=4, steps=STEPS, learning_rate=4e-3,
    log_every=1, evaluate_every=200, evaluate_sequences=16, checkpoint_every=10, threads=1, sample_tokens=20, temperature=0,
    prompt="And God said",
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return llm.bible(tmp_path_factory.mktemp("corpus"), 200_000)


@pytest.fixture(scope="module")
def prefix(server, corpus):
    """The text in S3; the key prefix of everything here."""
    name, s3 = unique_name("demo-path"), server.client("s3")
    for channel in ("train", "validation"):
        s3.upload_file(str(corpus / channel / "bible.txt"), server.bucket, f"{name}/{channel}/bible.txt")
    return name


def submit(server, prefix, instances, **fields):
    return server.submit(
        None, image="athanor/llm", instances=instances, name=unique_name("bible"),
        HyperParameters={name: str(value) for name, value in SETTINGS.items()},
        InputDataConfig=[server.channel(name, f"s3://{server.bucket}/{prefix}/{name}/") for name in ("train", "validation")],
        OutputDataConfig={"S3OutputPath": f"s3://{server.bucket}/{prefix}/models"}, **fields)


def unpack(server, description, folder):
    """Downloads and unpacks model.tar.gz."""
    content = server.object_bytes(description["ModelArtifacts"]["S3ModelArtifacts"])
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def trained(server, prefix, tmp_path_factory):
    """A job on two instances that ran to its end: (description, what algo-1 printed, the model's folder)."""
    name = submit(server, prefix, 2)
    description = server.wait_for_job(name, timeout=150)
    assert description["TrainingJobStatus"] == "Completed", (description.get("FailureReason"), server.job_log(name))
    return description, server.job_log(name, "algo-1"), unpack(server, description, tmp_path_factory.mktemp("model"))


def test_the_loss_falls(trained):
    description, printed, _ = trained
    losses = {step: float(loss) for step, loss in llm.losses(printed).items()}
    assert [step for step in losses if isinstance(step, int)] == list(range(1, STEPS + 1))
    assert losses[1] == pytest.approx(numpy.log(SETTINGS["vocabulary"]), abs=0.3)
    assert numpy.mean([losses[step] for step in range(STEPS - 20, STEPS + 1)]) < losses[1] - 2
    before, after = llm.before_and_after(printed)
    assert after < before - 2
    assert before == pytest.approx(losses["evaluation 0"], abs=1e-4) and after == pytest.approx(losses[f"evaluation {STEPS}"], abs=1e-4)
    assert description["TrainingTimeInSeconds"] >= 1 and "sample:" in printed


def test_two_instances_gave_the_losses_of_one(server, trained, corpus, tmp_path):
    """The engine by hand, on one rank and this machine, with the same text: the same by rounding."""
    description, printed, folder = trained
    name = description["TrainingJobName"]
    assert "on 2 ranks with 1 thread each" in printed
    assert "rank 1 of 2: meeting the others at algo-1:7700" in server.job_log(name, "algo-2")
    alone = llm.losses(llm.train(text=corpus / "train", validation=corpus / "validation", out=tmp_path, **SETTINGS))
    job = llm.losses(printed)
    assert job.keys() == alone.keys() and len(alone) == STEPS + 3
    differences = [abs(float(job[step]) - float(alone[step])) for step in alone]
    assert max(differences) < 1e-3 and numpy.mean(differences) < 1e-4  # rounding, carried on for 400 steps
    ours, theirs = load_file(folder / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert ours.keys() == theirs.keys()
    for tensor, value in theirs.items():
        assert relative_error(ours[tensor], value) < 1e-2, tensor
    for file in ("tokenizer.json", "config.json"):
        assert (folder / file).read_bytes() == (tmp_path / file).read_bytes()


def test_transformers_loads_the_model(trained, corpus, tmp_path):
    _, printed, folder = trained
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer((corpus / "validation/bible.txt").read_text())["input_ids"]
    length = SETTINGS["length"]
    tokens = numpy.array(ids[:6 * length], dtype=numpy.int32).reshape(6, length)
    with torch.no_grad():
        theirs = model(torch.from_numpy(tokens).long()).logits
    config = json.loads((folder / "config.json").read_text())
    shape = {name: value for name, value in config.items() if isinstance(value, (int, float)) and name in (
        "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
        "rms_norm_eps", "rope_theta", "tie_word_embeddings")}
    assert len(shape) == 10
    ours, _ = probe(tmp_path, "model", {"tokens": tokens, "targets": tokens, **load_file(folder / "model.safetensors")}, **shape)
    assert relative_error(ours["logits"], theirs.numpy().reshape(6 * length, -1)) < 1e-5

    # The evaluation that the job told, and the text that it wrote at its end with the likeliest tokens.
    count = SETTINGS["evaluate_sequences"] * length
    windows = torch.tensor(ids[:count + 1])
    with torch.no_grad():
        logits = model(windows[:-1].view(-1, length)).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), windows[1:]).item()
    assert float(llm.losses(printed)[f"evaluation {STEPS}"]) == pytest.approx(loss, rel=1e-6)
    given = tokenizer(SETTINGS["prompt"])["input_ids"]
    written = model.generate(torch.tensor([given]), do_sample=False, max_new_tokens=SETTINGS["sample_tokens"], temperature=None, top_k=None,
                             pad_token_id=tokenizer.eos_token_id)[0]
    assert len(set(written.tolist())) > 5
    told = printed.split("sample:\n")[1].rstrip("\n")
    assert told == tokenizer.decode(written, skip_special_tokens=True).rstrip("\n")


def test_a_stopped_job_is_gone_on_with_exactly(server, prefix, trained, tmp_path):
    """StopTrainingJob, and another job with the same CheckpointConfig: together, loss by loss, the run that never stopped."""
    _, never_stopped, model = trained
    expected = llm.losses(never_stopped)
    checkpoints = {"CheckpointConfig": {"S3Uri": f"s3://{server.bucket}/{prefix}/checkpoints/"}}
    first = submit(server, prefix, 2, **checkpoints)
    wait_until(lambda: f"step {INTERRUPTED_AT}/" in server.job_log(first, "algo-1"), 60, "some steps", every=0.1)
    server.client("sagemaker").stop_training_job(TrainingJobName=first)
    description = server.wait_for_job(first, timeout=60)
    assert description["TrainingJobStatus"] == "Stopped"
    before = server.job_log(first, "algo-1")
    done = [step for step in llm.losses(before) if isinstance(step, int)]
    assert INTERRUPTED_AT <= max(done) < STEPS, "it ended before it was stopped: give it more steps"
    assert f"stopped after step {max(done)} of {STEPS}" in before
    keys = [item["Key"] for item in server.client("s3").list_objects_v2(Bucket=server.bucket, Prefix=f"{prefix}/checkpoints/")["Contents"]]
    assert f"{prefix}/checkpoints/step-{max(done):08}/checkpoint.json" in keys

    second = submit(server, prefix, 2, CheckpointConfig={**checkpoints["CheckpointConfig"], "LocalPath": "/opt/ml/kept"})
    description = server.wait_for_job(second, timeout=150)
    assert description["TrainingJobStatus"] == "Completed", description
    after = server.job_log(second, "algo-1")
    assert f"going on after step {max(done)}, from /opt/ml/kept" in after
    parts = [llm.losses(before), llm.losses(after)]
    assert min(step for step in parts[1] if isinstance(step, int)) == max(done) + 1
    assert parts[0] | parts[1] == expected
    assert llm.before_and_after(after) == llm.before_and_after(never_stopped)
    assert (unpack(server, description, tmp_path) / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()


def test_a_model_is_fine_tuned_by_a_job(server, prefix, trained, tmp_path):
    """What a job made, at the address that it tells, is the channel `model` of another, with completions that are new to it: two
    instances, and it learns them."""
    first, _, model = trained
    artifact = first["ModelArtifacts"]["S3ModelArtifacts"]
    assert artifact.endswith("/model.tar.gz")
    lines = [{"prompt": "And God said,", "completion": f" Let there be light number {number % 4}."} for number in range(80)]
    s3 = server.client("s3")
    s3.put_object(Bucket=server.bucket, Key=f"{prefix}/completions/lines.jsonl", Body="\n".join(map(json.dumps, lines)).encode())
    told = dict(task="finetune", epochs=20, batch=4, learning_rate=3e-3, log_every=1, threads=1)
    name = server.submit(
        None, image="athanor/llm", instances=2, name=unique_name("tuned"), HyperParameters={name: str(value) for name, value in told.items()},
        InputDataConfig=[server.channel("model", artifact),
                         server.channel("train", f"s3://{server.bucket}/{prefix}/completions/")],
        OutputDataConfig={"S3OutputPath": f"s3://{server.bucket}/{prefix}/models"})
    description = server.wait_for_job(name, timeout=150)
    printed = server.job_log(name, "algo-1")
    assert description["TrainingJobStatus"] == "Completed", (description.get("FailureReason"), printed)
    assert "76 examples to train on" in printed and "4 held out" in printed
    before, after = llm.before_and_after(printed)
    assert after < before / 2
    tuned = unpack(server, description, tmp_path)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        assert (tuned / file).read_bytes() == (model / file).read_bytes()
    ours = AutoModelForCausalLM.from_pretrained(tuned, dtype=torch.float64).eval()
    tokenizer = AutoTokenizer.from_pretrained(tuned)
    prompt, answer = (tokenizer(text)["input_ids"] for text in ("And God said,", " Let there be light number 2."))
    with torch.no_grad():
        logits = ours(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1:-1]
    assert torch.nn.functional.cross_entropy(logits, torch.tensor(answer)) < 1


def test_a_job_that_fails_tells_the_engines_reason(server, prefix):
    description = server.run_job(
        None, image="athanor/llm", expect="Failed", HyperParameters={"hiden_size": "64"},
        InputDataConfig=[server.channel("train", f"s3://{server.bucket}/{prefix}/train/")])
    assert re.search('There is no hyperparameter "hiden_size". Did you mean "hidden_size"', description["FailureReason"])
