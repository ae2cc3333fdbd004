"""Generation keeps weights as their files have them: its logits against transformers' with the same numbers."""

import gguf
import numpy
import pytest
import torch
from gguf import GGMLQuantizationType as Type
from safetensors.numpy import load_file, save_file

import families
import model_probe
from probe import relative_error
from test_gguf import MODELS, write_gguf


def any_blocks(value, kind):
    """GGUF's package does not quantize to these: blocks of any q, with scales that make numbers like the value's."""
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    rng = numpy.random.default_rng(value.size)
    blocks = rng.integers(0, 256, (value.shape[0], value.shape[1] // elements, size), dtype=numpy.uint8)
    scales = {Type.Q4_K: [(0, 4e-4), (2, 3e-3)], Type.Q6_K: [(208, 6e-5)]}[kind]
    for place, scale in scales:
        halves = (scale * rng.uniform(0.5, 1.5, blocks.shape[:2])).astype(numpy.float16)
        blocks[..., place:place + 2] = halves[..., None].view(numpy.uint8)
    return blocks.reshape(value.shape[0], -1)


def logits(folder, model, tokens):
    save_file({"tokens": numpy.ascontiguousarray(tokens, dtype=numpy.int32)}, folder / "in.safetensors")
    model_probe.call("packed", model, folder / "in.safetensors", folder / "out.safetensors")
    return load_file(folder / "out.safetensors")["logits"]


TOKENS = numpy.random.default_rng(1).integers(0, 97, (3, 30))


@pytest.mark.parametrize("architecture", MODELS)
@pytest.mark.parametrize("types", [[Type.F32], [Type.F16], [Type.BF16], [Type.Q8_0], [Type.Q4_0], [Type.Q4_1], [Type.Q4_K], [Type.Q6_K],
                                   [Type.Q4_1, Type.Q8_0, Type.F16, Type.Q4_0]], ids=lambda types: "+".join(one.name for one in types))
def test_gguf(tmp_path, monkeypatch, architecture, types):
    rows = 256 if types[0] in (Type.Q4_K, Type.Q6_K) else 192  # rows of whole blocks
    monkeypatch.setitem(families.SHAPE, "hidden_size", rows)
    monkeypatch.setitem(families.SHAPE, "intermediate_size", rows)
    monkeypatch.setitem(families.SHAPE, "num_attention_heads", 4)
    quantize = gguf.quantize
    monkeypatch.setattr(gguf, "quantize", lambda value, kind: any_blocks(value, kind) if kind in (Type.Q4_K, Type.Q6_K) else quantize(value, kind))
    family = MODELS[architecture]
    model = families.build(family)
    if architecture == "qwen3":
        model = type(model)(model.config.__class__(**families.SHAPE, head_dim=rows // 4)).eval()
        model.set_attn_implementation("eager")
    kept = write_gguf(tmp_path / "model.gguf", model, architecture, types)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(kept[name]))
    expected = model.double()(torch.from_numpy(TOKENS)).logits.detach().numpy()
    assert relative_error(logits(tmp_path, tmp_path / "model.gguf", TOKENS), expected) < 1e-5


@pytest.mark.parametrize("family", families.FAMILIES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_safetensors(tmp_path, family, dtype):
    model = families.build(family).to(getattr(torch, dtype))
    model.save_pretrained(tmp_path / "model")
    # Read anew: what is computed once, as RoPE's frequencies, was rounded with the weights.
    model = type(model).from_pretrained(tmp_path / "model", dtype=torch.float64, attn_implementation="eager").eval()
    expected = model(torch.from_numpy(TOKENS)).logits.detach().numpy()
    assert relative_error(logits(tmp_path, tmp_path / "model", TOKENS), expected) < 1e-5
