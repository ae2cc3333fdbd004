"""Every family from its Hugging Face files: logits and every gradient as transformers', and written back."""

import json

import numpy
import pytest
import torch
from safetensors.numpy import load_file
from torch.nn import functional
from transformers import AutoModelForCausalLM

import families
import model_probe
from probe import relative_error

TOLERANCE = 2e-5
EACH = pytest.mark.parametrize("name", families.FAMILIES)


def random_ids(seed, *shape):
    return numpy.random.default_rng(seed).integers(0, families.SHAPE["vocab_size"], shape).astype(numpy.int32)


def compare(ours, numbers, model, logits, targets):
    loss = functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(targets).long().flatten(), ignore_index=-1)
    loss.backward()
    assert relative_error(ours["logits"], logits.detach().numpy()) < TOLERANCE
    assert numbers["loss"] == pytest.approx(loss.item(), rel=1e-5)
    gradients = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}
    assert ours.keys() - {"logits", "step_by_step"} == gradients.keys()
    # A bias that is the same for all keys shifts every score of a query alike, which the softmax forgets: such gradients
    # are small differences of large terms, so the measure is the whole bias's.
    for name, gradient in gradients.items():
        assert relative_error(ours[name], gradient) < TOLERANCE, name


@EACH
@pytest.mark.parametrize("batch, length", [(2, 11), (1, 150)])
def test_logits_and_every_gradient(tmp_path, name, batch, length):
    model = families.build(name)
    model.save_pretrained(tmp_path / "model")
    tokens, targets = random_ids(1, batch, length), random_ids(2, batch, length)
    targets[:, ::5] = -1
    ours, numbers = model_probe.run(tmp_path, tmp_path / "model", tokens=tokens, targets=targets)
    model = model.double()
    logits = model(torch.from_numpy(tokens).long()).logits
    compare(ours, numbers, model, logits, targets)
    assert relative_error(ours["step_by_step"], logits[0].detach().numpy()) < TOLERANCE


@EACH
def test_packed_documents_do_not_see_each_other(tmp_path, name):
    """A sequence of several documents gives the logits and gradients of each by itself."""
    model = families.build(name)
    model.save_pretrained(tmp_path / "model")
    lengths = [[1, 70, 9, 64, 16], [150, 10, 0, 0, 0]]
    tokens, targets = random_ids(3, 2, 160), random_ids(4, 2, 160)
    starts = numpy.array([[sum(row[:i]) for i, count in enumerate(row) for _ in range(count)] for row in lengths])
    ours, numbers = model_probe.run(tmp_path, tmp_path / "model", tokens=tokens, targets=targets, document_starts=starts)
    model = model.double()
    ids = torch.from_numpy(tokens).long()
    rows = []
    for row, counts in enumerate(lengths):
        pieces = [piece for piece in ids[row].split(counts) if len(piece)]
        rows.append(torch.cat([model(piece[None]).logits[0] for piece in pieces]))
    compare(ours, numbers, model, torch.stack(rows), targets)


@EACH
@pytest.mark.parametrize("kind, shard_bytes", [("f32", 10**9), ("f32", 30_000), ("bf16", 20_000)])
def test_what_we_write_loads_in_transformers(tmp_path, name, kind, shard_bytes):
    model = families.build(name)
    model.generation_config.eos_token_id = [7, 8]
    model.generation_config.top_p = 0.8
    model.generation_config.do_sample = True
    model.save_pretrained(tmp_path / "theirs", max_shard_size="40KB")
    assert len(list((tmp_path / "theirs").glob("*.safetensors"))) > 1
    model_probe.call("convert", tmp_path / "theirs", tmp_path / "ours", kind, shard_bytes)

    files = sorted(path.name for path in (tmp_path / "ours").iterdir())
    config = json.loads((tmp_path / "ours/config.json").read_text())
    assert config["architectures"] == [type(model).__name__] and config["model_type"] == model.config.model_type
    assert ("model.safetensors" in files) == (shard_bytes == 10**9)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "ours", dtype="auto", attn_implementation="eager")
    assert type(again) is type(model)
    assert again.generation_config.eos_token_id == [7, 8] and again.generation_config.top_p == 0.8
    assert again.dtype == (torch.float32 if kind == "f32" else torch.bfloat16)
    rounded = model.to(again.dtype).state_dict()
    assert again.state_dict().keys() == rounded.keys()
    for key, value in again.state_dict().items():
        assert torch.equal(value, rounded[key]), key
    ids = torch.from_numpy(random_ids(5, 1, 100)).long()
    with torch.no_grad():
        theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "theirs", dtype=again.dtype, attn_implementation="eager")
        assert torch.equal(again(ids).logits, theirs(ids).logits)


@pytest.mark.parametrize("change, told", [
    (dict(model_type="gemma2"), "gemma2"),
    (dict(hidden_act="gelu"), "gelu"),
    (dict(rope_parameters={"rope_type": "dynamic", "factor": 2.0}), "dynamic"),
    (dict(quantization_config={"bits": 4}), "quantized"),
    (dict(intermediate_size=64), "config.json makes it (64, 48)"),
    (dict(num_hidden_layers=2), "has no place"),
    (dict(num_hidden_layers=4), "lacks the tensor"),
])
def test_what_is_not_ours_is_refused(tmp_path, change, told):
    families.build("Llama 2").save_pretrained(tmp_path / "model")
    path = tmp_path / "model/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert told in model_probe.refusal("convert", tmp_path / "model", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_in_bfloat16_is_read_as_it_is(tmp_path):
    model = families.build("Qwen3").to(torch.bfloat16)
    model.save_pretrained(tmp_path / "theirs")
    model_probe.call("convert", tmp_path / "theirs", tmp_path / "ours", "f32")
    written = load_file(tmp_path / "ours/model.safetensors")
    for name, value in model.state_dict().items():
        assert numpy.array_equal(written[name], value.float().numpy()), name
