"""athanor-llm bench: what it says of steps, and of where their time goes."""

import json
import math
import re
import subprocess

import pytest

import llm

SHAPE = dict(shape="small", vocabulary=300, layers=2, hidden_size=64, intermediate_size=96, heads=4, kv_heads=2, length=32, steps=3)


def bench(*flags, code=0, **settings):
    return llm.run("bench", *llm.words(**(SHAPE | settings)), *flags, code=code)


def test_operators_as_json():
    batch, length, layers, width, inner, vocabulary = 2, 32, 2, 64, 96, 300
    for dtype, size in (("float32", 4), ("bfloat16", 2)):
        told = json.loads(bench("--operators", "--json", dtype=dtype).stdout)
        assert len(told["losses"]) == 3
        assert told[f"product_flops_{dtype}"] > 0 and told["triad_bytes_per_s"] > 0
        operators = {line["name"]: line for line in told["operators"]}
        # Of a layer: q, k and v, o, gate and up, down; each forward, for x and for W.
        weights = layers * (width * 2 * width + width * width + width * 2 * inner + inner * width)
        assert operators["matrix products"]["calls"] == layers * 4 * 3
        assert operators["matrix products"]["flops"] == 3 * 2 * batch * length * weights
        assert operators["head and cross-entropy, with gradients"]["flops"] == 3 * 2 * batch * length * width * vocabulary
        assert operators["attention"]["flops"] == layers * 2 * 2 * batch * width * length * (length + 1) / 2
        assert operators["attention backward"]["flops"] == operators["attention"]["flops"] * 5 / 2
        assert operators["swiglu backward"]["bytes"] == layers * size * batch * length * inner * 5
        assert operators["adamw"]["calls"] >= 1 and operators["adamw"]["flops"] == 0
        for name, line in operators.items():
            assert line["seconds"] >= 0 and 0 <= line["share"] <= 1.01, name
            if name != "the rest":
                assert line["roofline_fraction"] > 0 and line["unit"] in ("FLOP/s", "B/s"), name
        took = sum(line["seconds"] for line in operators.values())
        steps = told["step_s"][1:]
        assert abs(took - sum(steps) / len(steps)) < 1e-6 * took + 1e-9
        seconds = [line["seconds"] for name, line in operators.items() if name != "the rest"]
        assert seconds == sorted(seconds, reverse=True)


def test_operators_as_a_table():
    lines = bench("--operators").stdout.splitlines()
    assert "tokens/s" in lines[0]
    assert lines[1].split()[-1] == "roofline"
    names = [line[:36].strip() for line in lines[2:]]
    assert {"matrix products", "swiglu", "rmsnorm backward", "the rest", "a step"} <= set(names)
    assert lines[-1].startswith("this machine: products ")


def test_operators_need_a_step_that_is_not_the_first():
    assert "--steps 2" in bench("--operators", steps=1, code=2).stderr


@pytest.mark.parametrize("settings", [
    dict(), dict(dtype="bfloat16"), dict(micro_batch=1), dict(optimizer="adamw8"), dict(dtype="bfloat16", optimizer="muon"),
    dict(lora_rank=8, base_dtype="q4_0"), dict(lora_rank=8, dtype="bfloat16", lora_dropout=0.1), dict(recompute="layer")], ids=str)
def test_memory_does_not_grow_after_the_first_step(settings):
    told = json.loads(llm.run("bench", *llm.words(shape="small", length=128, steps=6, **settings)).stdout)
    grown = told["memory_after_last_step_bytes"] - told["memory_after_first_step_bytes"]
    assert abs(grown) < 2**19, grown  # of 20 MiB and more
    assert told["memory_after_last_step_bytes"] <= told["memory_peak_bytes"] < told["memory_planned_bytes"] + 2**26


@pytest.mark.parametrize("settings", [dict(), dict(dtype="bfloat16")], ids=str)
def test_nothing_of_weight_is_beside_the_plan(settings):
    """A shape whose masters and moments are each far more than what libraries and threads may take."""
    large = dict(vocabulary=8192, hidden_size=512, intermediate_size=1408, layers=8, heads=8, kv_heads=4, length=64, batch=1, steps=2)
    told = json.loads(llm.run("bench", *llm.words(shape="small", **large, **settings)).stdout)
    room = 2**26
    assert 4 * told["parameters"] > 1.5 * room
    assert 0.95 * told["memory_planned_bytes"] < told["memory_peak_bytes"] < told["memory_planned_bytes"] + room


def test_frozen_weights_are_counted_without_their_gradient():
    whole, lora = (json.loads(bench(**settings).stdout) for settings in (dict(), dict(lora_rank=4)))
    layers, V, C, F = (int(SHAPE[name]) for name in ("layers", "vocabulary", "hidden_size", "intermediate_size"))
    of_layer = C * C * 2 + C * C * 2 * SHAPE["kv_heads"] // SHAPE["heads"] + 3 * C * F
    weights, attention = layers * of_layer + V * C, layers * 12 * SHAPE["length"] / 2 * C
    assert whole["flops_per_token"] == 6 * weights + attention
    # A and B of q, k, v, o, gate, up and down, of rank 4.
    adapters = layers * 4 * (2 * 2 * C + 2 * (C + C * SHAPE["kv_heads"] // SHAPE["heads"]) + 3 * (C + F))
    assert lora["flops_per_token"] == 4 * weights + 6 * adapters + attention


def test_options_of_adapters_need_adapters():
    assert "base_dtype is given, and lora_rank is 0" in bench(base_dtype="q4_0", code=2).stderr


ROOM_BYTES = 24e9


@pytest.mark.parametrize("shape", ["small", pytest.param("llama2-7b", marks=[pytest.mark.slow, pytest.mark.timeout(7200)])])
def test_a_qlora_step_fits_into_24_gb(shape):
    """Adapters on a base of 4 bits: at the shape of Llama-2-7B, with random weights."""
    settings = llm.words(shape=shape, lora_rank=16, base_dtype="q4_0", dtype="bfloat16", batch=1, micro_batch=1, length=512, steps=2)
    done = subprocess.run([llm.PROGRAM, "bench", *settings, "--json"], capture_output=True, text=True, env=llm.environment())
    refused = re.search(r"This needs ([\d.]+) ([KMG])iB of memory", done.stderr)
    if refused:  # it takes what is free, so that what it needs can be less than the room and still not be there
        needed = float(refused[1]) * 2 ** (10 * (1 + "KMG".index(refused[2])))
        assert needed < ROOM_BYTES, done.stderr
        pytest.skip(f"A QLoRA step at this shape needs {needed / 1e9:.1f} GB of free memory, and this machine has less: {refused.string.splitlines()[0]}")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert 0 < told["memory_peak_bytes"] < ROOM_BYTES
    assert len(told["losses"]) == 2 and all(math.isfinite(loss) for loss in told["losses"])
