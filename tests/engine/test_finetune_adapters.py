"""`athanor-llm finetune --lora-rank`: what comes out is PEFT's, merges, does not depend on ranks, and goes on when stopped."""

import json
import shutil
import signal

import numpy
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

import llm
from probe import relative_error
from test_finetune import RUN, place as narrow_place  # noqa: F401

LORA = RUN | dict(lora_rank=8, lora_alpha=16, lora_dropout=0.05, learning_rate=1e-2)


@pytest.fixture(scope="module")
def place(narrow_place):  # noqa: F811
    """As that of test_finetune, but for rows of the model that are multiples of a block's 32 numbers: wide/."""
    folder = narrow_place
    shutil.copytree(folder / "model", folder / "wide")
    torch.manual_seed(3)
    LlamaForCausalLM(LlamaConfig(**json.loads((folder / "model/config.json").read_text()) | dict(
        hidden_size=64, num_attention_heads=4, head_dim=16, intermediate_size=96))).save_pretrained(folder / "wide")
    return folder


def finetune(place, out, *flags, code=0, **settings):
    settings = dict(model=place / "wide", data=place / "chats.jsonl", out=out) | LORA | settings
    return llm.run("finetune", *llm.words(**settings), *flags, code=code)


def base(place):
    return AutoModelForCausalLM.from_pretrained(place / "wide", dtype=torch.float32).eval()


@pytest.mark.parametrize("types", [dict(), dict(base_dtype="bfloat16"), dict(base_dtype="q8_0"), dict(base_dtype="q4_0"),
                                   dict(dtype="bfloat16"), dict(dtype="bfloat16", base_dtype="q4_0")], ids=str)
def test_adapters_are_pefts_and_merge(place, tmp_path, types):
    printed = finetune(place, tmp_path / "out", held_out=0.2, **types).stdout
    before, after = llm.before_and_after(printed)
    assert after < before - 0.5 and f"the adapters are in {tmp_path / 'out'}" in printed
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"adapter_config.json", "adapter_model.safetensors", "checkpoints"}
    model = PeftModel.from_pretrained(base(place), tmp_path / "out").eval()
    merged = llm.run("merge", *llm.words(model=place / "wide", adapter=tmp_path / "out", out=tmp_path / "merged")).stdout
    assert "are one model in" in merged
    tokens = torch.from_numpy(numpy.random.default_rng(1).integers(0, 300, (2, 40)))
    with torch.no_grad():
        theirs = model(tokens).logits.numpy()
        assert relative_error(AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32).eval()(tokens).logits.numpy(), theirs) < 1e-5
        assert relative_error(base(place)(tokens).logits.numpy(), theirs) > 1e-2
    assert (tmp_path / "merged/tokenizer.json").read_bytes() == (place / "wide/tokenizer.json").read_bytes()

    (tmp_path / "text.txt").write_text("After one come two three. After two come three four. " * 5)
    measure = ["eval", "--json", *llm.words(text=tmp_path / "text.txt", threads=1)]
    found = {name: json.loads(llm.run(*measure, *llm.words(**given)).stdout)["loss"] for name, given in {
        "merged": dict(model=tmp_path / "merged"), "adapter": dict(model=place / "wide", adapter=tmp_path / "out"),
        "base": dict(model=place / "wide")}.items()}
    assert found["merged"] == pytest.approx(found["adapter"], rel=1e-6)
    assert found["merged"] < found["base"] - 0.3
    say = ["generate", *llm.words(prompt="After one", tokens=12, temperature=0, threads=1)]
    assert llm.run(*say, "--model", tmp_path / "merged").stdout == llm.run(*say, "--model", place / "wide", "--adapter", tmp_path / "out").stdout


@pytest.mark.parametrize("ranks", [1, 2])
def test_stopped_and_gone_on_with_is_never_stopped(place, tmp_path, ranks):
    run = dict(model=place / "wide", data=place / "chats.jsonl", base_dtype="q8_0", **{k: v for k, v in LORA.items() if k != "steps"}) | dict(epochs=30, batch=2, held_out=0.1)
    # Only rank 0 has the model.
    commands = [["finetune", *llm.words(**run)], *[["finetune", *llm.words(**{k: v for k, v in run.items() if k not in ("model", "data")})]] * (ranks - 1)]

    def job(out, *flags):
        return llm.Ranks(ranks, commands=[[*command, "--out", tmp_path / out, *flags] for command in commands])

    with job("whole") as whole:
        assert whole.wait() == [0] * ranks, whole.output
    with job("parts") as first:
        first.read_until(r"step 9/")
        first.signal(signal.SIGTERM)
        assert first.wait() == [143] * ranks, first.output
    with job("parts", "--resume") as second:
        assert second.wait() == [0] * ranks, second.output
    assert "going on after step" in second.output[0]
    assert llm.losses(first.output[0]) | llm.losses(second.output[0]) == llm.losses(whole.output[0])
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_only_the_layers_that_are_named(place, tmp_path):
    finetune(place, tmp_path / "out", steps=2, lora_layers="q,v")
    names = load_file(tmp_path / "out/adapter_model.safetensors").keys()
    assert len(names) == 2 * 2 * 2 and all(".q_proj." in name or ".v_proj." in name for name in names)
    assert json.loads((tmp_path / "out/adapter_config.json").read_text())["target_modules"] == ["q_proj", "v_proj"]


def test_dry_run_plans_no_gradients_of_what_is_frozen(place, tmp_path):
    printed = finetune(place, tmp_path / "out", "--dry-run", base_dtype="q4_0").stdout
    assert "frozen weights, q4_0" in printed and "a step" in printed
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("change, tells", [
    (dict(lora_layers="q,head"), "'head' is no layer that can have an adapter; name some of q,k,v,o,gate,up,down"),
    (dict(lora_dropout=1), "dropout of an adapter must be at least 0 and below 1"),
    (dict(lora_alpha=0), "alpha of an adapter must be above 0"),
    (dict(lora_rank=-1), "lora_rank is -1"),
    (dict(base_dtype="q5_0"), "name float32, bfloat16, q8_0 or q4_0"),
    (dict(dtype="bfloat16", base_dtype="float32"), "must be bfloat16, q8_0 or q4_0"),
])
def test_a_wrong_setting(place, tmp_path, change, tells):
    done = finetune(place, tmp_path / "out", code=2, **change)
    assert tells in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def test_refuses_what_does_not_go_together(place, tmp_path):
    # A model whose rows are no blocks: 48 numbers.
    done = finetune(place, tmp_path / "out", code=2, model=place / "model", base_dtype="q4_0")
    assert "rows of 48 numbers, which are no multiple of the 32 of a block that bfloat16 is kept in: keep the frozen weights in float32" in done.stderr
    done = llm.run("pretrain", *llm.words(text=place / "chats.jsonl", out=tmp_path / "out", lora_rank=4), code=2)
    assert "pretrain begins from nothing: use finetune" in done.stderr
    finetune(place, tmp_path / "half", steps=2)
    done = finetune(place, tmp_path / "half", "--resume", code=2, steps=4, lora_alpha=8)
    assert "it was made with adapters rank 8, alpha 16" in done.stderr
    # The adapters of another model.
    done = llm.run("merge", *llm.words(model=place / "model", adapter=tmp_path / "half", out=tmp_path / "merged"), code=2)
    assert "they do not belong together" in done.stderr
