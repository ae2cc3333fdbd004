"""SmolLM2-135M-Instruct as it comes in a GGUF file (Q4_1 and Q8_0): `athanor-llm generate`, which computes with the quantized
weights, writes what transformers writes with the numbers that they stand for."""

import json

import gguf
import numpy
import pytest
import torch
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import llm
import peers
from test_gguf import gguf_name, pairs_from_halves

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

PROMPTS = [
    "What is the capital of France?", "Write a short story about a lighthouse keeper.", "Explain photosynthesis to a child.",
    "List five uses of a paper clip.", "Translate 'good morning' to Spanish, French and German.", "def fibonacci(n):",
    "What is 12 times 13? Explain each step.", "Give me a recipe for pancakes.", "Why is the sky blue?", "Who wrote Hamlet, and when? 🙂",
]
TOKENS = 100


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("smollm2") / "model"
    llm.run("convert", "--model", peers.smollm2(), "--out", folder)
    return folder


def test_the_checkpoint_has_the_numbers_of_the_gguf_package(checkpoint):
    written = load_file(checkpoint / "model.safetensors")
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(peers.smollm2()).tensors}
    config = json.loads((checkpoint / "config.json").read_text())
    for name, value in written.items():
        tensor = tensors.pop(gguf_name(name))
        expected = gguf.dequantize(tensor.data, tensor.tensor_type).reshape(value.shape)
        heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}.get(name.split(".")[-2])
        assert numpy.array_equal(pairs_from_halves(value, heads) if heads else value, expected), name
    assert not tensors


def test_greedy_answers_are_those_of_transformers(checkpoint):
    """Where a token differs, what float64 says of it is told."""
    words = [word for prompt in PROMPTS for word in ("--prompt", prompt)]
    printed = llm.run("generate", "--model", peers.smollm2(), "--chat", *words, "--temperature", 0, "--tokens", TOKENS, "--batch", 5, "--json").stdout
    found = [json.loads(line) for line in printed.splitlines()]
    theirs, tokenizer = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32), AutoTokenizer.from_pretrained(checkpoint)
    ends = theirs.generation_config.eos_token_id
    ends = set(ends if isinstance(ends, list) else [ends])
    compared = 0
    for prompt, one in zip(PROMPTS, found):
        ids = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True, return_tensors="pt", return_dict=True).input_ids
        assert one["prompt_tokens"] == ids.shape[1]
        with torch.no_grad():
            expected = theirs.generate(ids, max_new_tokens=TOKENS, do_sample=False)[0, ids.shape[1]:].tolist()
        if expected[-1] in ends:
            expected.pop()
        if one["tokens"] != expected:
            at = next(i for i, (a, b) in enumerate(zip([*one["tokens"], None], [*expected, None])) if a != b)
            with torch.no_grad():
                logits = theirs.double()(torch.cat([ids, torch.tensor([expected[:at]], dtype=torch.long)], 1)).logits[0, -1]
            theirs.float()
            likeliest = logits.topk(2)
            pytest.fail(f"{prompt!r}: token {at} is {one['tokens'][at:at + 1]}, not {expected[at:at + 1]}; in float64 the likeliest are "
                        f"{likeliest.indices.tolist()} with {likeliest.values.tolist()}")
        compared += len(expected)
    assert compared > 5 * TOKENS
