"""GGUF and llama2.c's files: numbers as the gguf package dequantizes them, models as transformers computes them."""

import pathlib
import struct

import gguf
import numpy
import pytest
import torch
from gguf import GGMLQuantizationType as Type
from safetensors.numpy import load_file

import families
import model_probe
from probe import relative_error

TYPES = [Type.F32, Type.F16, Type.BF16, Type.Q8_0, Type.Q4_0, Type.Q4_1, Type.Q4_K, Type.Q6_K]


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_dequantization_is_exact_on_any_bytes(tmp_path, kind):
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = numpy.random.default_rng(1).integers(0, 256, (500, size), dtype=numpy.uint8)
    (tmp_path / "blocks").write_bytes(blocks.tobytes())
    model_probe.call("dequantize", int(kind), tmp_path / "blocks", tmp_path / "floats")
    ours = numpy.fromfile(tmp_path / "floats", dtype=numpy.float32)
    if kind == Type.F16:
        theirs = blocks.view(numpy.float16).astype(numpy.float32).ravel()
    elif kind == Type.F32:
        theirs = blocks.view(numpy.float32).ravel()
    else:
        with numpy.errstate(all="ignore"):
            theirs = gguf.dequantize(blocks, kind).ravel()
    assert ours.size == theirs.size == 500 * elements
    known = ~numpy.isnan(theirs)
    assert known.sum() > 400 * elements and numpy.array_equal(numpy.isnan(ours), ~known)
    assert numpy.array_equal(ours[known].view(numpy.uint32), theirs[known].view(numpy.uint32))


NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}


def gguf_name(name):
    outer = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}
    if name in outer:
        return outer[name]
    _, _, layer, rest = name.split(".", 3)
    part, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{NAMES[part]}.{kind}"


def pairs_from_halves(weight, heads):
    """What llama.cpp's converter does to Llama's queries and keys."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def write_gguf(path, model, architecture, types, factors=None):
    """As the converter does; returns the weights as they are in the file, by Hugging Face's names."""
    config = model.config
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(head_dim)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"token {i}" for i in range(config.vocab_size)])
    writer.add_token_merges(["a b", "ab c"])
    writer.add_eos_token_id(5)
    if factors is not None:
        writer.add_tensor("rope_freqs.weight", factors)
    kept = {}
    for i, (name, parameter) in enumerate(model.named_parameters()):
        value = parameter.detach().float().numpy()
        kind = types[i % len(types)] if value.ndim == 2 else Type.F32
        heads = {"q_proj.weight": config.num_attention_heads, "k_proj.weight": config.num_key_value_heads}.get(
            ".".join(name.split(".")[-2:])) if architecture == "llama" else None
        stored = gguf.quantize(pairs_from_halves(value, heads) if heads else value, kind)
        writer.add_tensor(gguf_name(name), stored, raw_dtype=kind)
        back = gguf.dequantize(stored, kind)
        if heads:  # the inverse: rows (pair, which) of a head back to (which, pair)
            back = back.reshape(heads, head_dim // 2, 2, back.shape[1]).swapaxes(1, 2).reshape(back.shape)
        kept[name] = back
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return kept


MODELS = {"llama": "Llama 2", "qwen2": "Qwen2", "qwen3": "Qwen3"}


@pytest.mark.parametrize("architecture", MODELS)
@pytest.mark.parametrize("types", [[Type.F32], [Type.F16, Type.BF16, Type.Q8_0, Type.Q4_0, Type.Q4_1]], ids=["float32", "mixed"])
def test_a_model_is_read_as_it_was_written(tmp_path, monkeypatch, architecture, types):
    monkeypatch.setitem(families.SHAPE, "hidden_size", 192)  # rows of whole blocks
    monkeypatch.setitem(families.SHAPE, "intermediate_size", 96)
    family = MODELS[architecture]
    model = families.build(family)
    if architecture == "qwen3":
        model = type(model)(model.config.__class__(**families.SHAPE, head_dim=32)).eval()
        model.set_attn_implementation("eager")
    kept = write_gguf(tmp_path / "model.gguf", model, architecture, types)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(kept[name]))
    model_probe.call("convert", tmp_path / "model.gguf", tmp_path / "ours")
    written = load_file(tmp_path / "ours/model.safetensors")
    for name, value in kept.items():
        assert numpy.array_equal(written[name], value), name
    tokens = numpy.random.default_rng(1).integers(0, 97, (2, 40))
    ours, _ = model_probe.run(tmp_path, tmp_path / "model.gguf", tokens=tokens, targets=tokens)
    theirs = model.double()(torch.from_numpy(tokens)).logits.detach().numpy()
    assert relative_error(ours["logits"], theirs) < 2e-5


def test_llama_3s_scaled_rope_is_recognised(tmp_path):
    scaling = families.LLAMA3 | {"original_max_position_embeddings": 8192, "rope_theta": 500000.0}
    config = families.LlamaConfig(**families.SHAPE | {"hidden_size": 384, "max_position_embeddings": 32768}, rope_parameters=scaling)
    torch.manual_seed(0)
    model = families.LlamaForCausalLM(config).eval()
    plain = 500000.0 ** -(numpy.arange(0, 64, 2) / 64)
    scaled = model.model.rotary_emb.inv_freq.double().numpy()
    assert 1 < (plain / scaled < 1.5).sum() < 32
    write_gguf(tmp_path / "model.gguf", model, "llama", [Type.F32], factors=(plain / scaled).astype(numpy.float32))
    tokens = numpy.random.default_rng(1).integers(0, 97, (1, 300))
    ours, _ = model_probe.run(tmp_path, tmp_path / "model.gguf", tokens=tokens, targets=tokens)
    assert relative_error(ours["logits"], model.double()(torch.from_numpy(tokens)).logits.detach().numpy()) < 2e-5

    write_gguf(tmp_path / "other.gguf", model, "llama", [Type.F32], factors=(1 + (plain / scaled)).astype(numpy.float32))
    assert "rope_freqs" in model_probe.refusal("convert", tmp_path / "other.gguf", tmp_path / "out")


def test_what_is_not_ours_is_refused(tmp_path):
    model = families.build("Llama 2")
    write_gguf(tmp_path / "good.gguf", model, "llama", [Type.F32])
    good = (tmp_path / "good.gguf").read_bytes()
    model_probe.call("convert", tmp_path / "good.gguf", tmp_path / "out")
    for bytes_, told in [
        (good[:-100], "cut off"),
        (good[:200], "no whole GGUF file"),
        (good[:4] + struct.pack("<I", 1) + good[8:], "version 1"),
        (good.replace(b"blk.1.attn_q.", b"blk.1.attn_z."), "lacks the tensor blk.1.attn_q"),
        (good.replace(b"llama", b"lambo"), "lambo"),
        (b"\x80\x02" + good[2:], "PyTorch"),
        (good[4:], "what would do"),
    ]:
        (tmp_path / "bad.gguf").write_bytes(bytes_)
        assert told in model_probe.refusal("convert", tmp_path / "bad.gguf", tmp_path / "none")
    write_gguf(tmp_path / "other.gguf", model, "gemma3", [Type.F32])
    assert "gemma3" in model_probe.refusal("convert", tmp_path / "other.gguf", tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("tied", [True, False])
def test_llama2_cs_format(tmp_path, tied):
    torch.manual_seed(0)
    model = families.LlamaForCausalLM(families.LlamaConfig(
        **families.SHAPE | {"num_key_value_heads": 3}, tie_word_embeddings=tied)).eval()
    state = {name: value.float().numpy() for name, value in model.state_dict().items()}
    config = model.config
    head_dim = config.hidden_size // config.num_attention_heads

    def layers(part, heads=None):
        for layer in range(config.num_hidden_layers):
            value = state[f"model.layers.{layer}.{part}.weight"]
            yield pairs_from_halves(value, heads) if heads else value

    parts = [state["model.embed_tokens.weight"], *layers("input_layernorm"),
             *layers("self_attn.q_proj", config.num_attention_heads), *layers("self_attn.k_proj", config.num_key_value_heads),
             *layers("self_attn.v_proj"), *layers("self_attn.o_proj"), *layers("post_attention_layernorm"),
             *layers("mlp.gate_proj"), *layers("mlp.down_proj"), *layers("mlp.up_proj"), state["model.norm.weight"],
             numpy.zeros((2, 512, head_dim // 2), numpy.float32), *([] if tied else [state["lm_head.weight"]])]
    header = struct.pack("<7i", config.hidden_size, config.intermediate_size, config.num_hidden_layers, config.num_attention_heads,
                         config.num_key_value_heads, config.vocab_size * (1 if tied else -1), 512)
    path: pathlib.Path = tmp_path / "model.bin"
    path.write_bytes(header + b"".join(part.astype("<f4").tobytes() for part in parts))
    tokens = numpy.random.default_rng(1).integers(0, 97, (2, 40))
    ours, _ = model_probe.run(tmp_path, path, tokens=tokens, targets=tokens)
    assert relative_error(ours["logits"], model.double()(torch.from_numpy(tokens)).logits.detach().numpy()) < 2e-5
    path.write_bytes(path.read_bytes()[:-4])
    assert "cut off" in model_probe.refusal("convert", path, tmp_path / "out")
