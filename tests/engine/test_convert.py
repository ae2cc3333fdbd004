"""`athanor-llm convert`: a checkpoint that transformers loads, from any model that is read, with its tokenizer."""

import numpy
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import llm
import model_probe
from test_llm_models import as_gguf, trained  # noqa: F401


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_every_type_is_what_torch_rounds_to(trained, tmp_path, dtype):  # noqa: F811
    model, text = trained
    as_gguf(model, tmp_path / "model.gguf")
    for source in (model, tmp_path / "model.gguf"):
        out = tmp_path / f"from-{source.name.replace('.', '-')}"
        assert "parameters as " + dtype in llm.run("convert", "--model", source, "--out", out, "--dtype", dtype).stdout
        written, original = load_torch(out / "model.safetensors"), load_torch(model / "model.safetensors")
        assert written.keys() == original.keys()
        for name, value in original.items():
            assert torch.equal(written[name], value.to(getattr(torch, dtype))), name
        loaded = AutoModelForCausalLM.from_pretrained(out, dtype="auto")
        assert loaded.dtype == getattr(torch, dtype)
        sentence = text.read_text()[:2000]
        assert AutoTokenizer.from_pretrained(out)(sentence).input_ids == AutoTokenizer.from_pretrained(model)(sentence).input_ids
    if dtype == "float32":
        assert (tmp_path / "from-model/tokenizer.json").read_bytes() == (model / "tokenizer.json").read_bytes()


def test_what_float16_does_not_hold_is_refused(trained, tmp_path):  # noqa: F811
    model = AutoModelForCausalLM.from_pretrained(trained[0])
    for limit, code in ((65519.0, 0), (65520.0, 2)):
        with torch.no_grad():
            model.model.norm.weight[0] = limit
        source = tmp_path / f"{limit}"
        model.save_pretrained(source)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (source / name).write_bytes((trained[0] / name).read_bytes())
        done = llm.run("convert", "--model", source, "--out", tmp_path / f"out-{limit}", "--dtype", "float16", code=code)
        if code:
            assert "model.norm.weight has the number 65520, and float16 ends at 65504: write float32 or bfloat16" in done.stderr
            assert not (tmp_path / f"out-{limit}/config.json").exists()


def test_bad_places_and_types_are_refused(trained, tmp_path):  # noqa: F811
    model, _ = trained
    assert "--out" in llm.run("convert", "--model", model, "--out", model, code=2).stderr
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    assert "new or empty" in llm.run("convert", "--model", model, "--out", tmp_path / "full", code=2).stderr
    assert "it must be float32, bfloat16 or float16" in llm.run("convert", "--model", model, "--out", tmp_path / "new", "--dtype", "int8", code=2).stderr
    assert not (tmp_path / "new").exists()
