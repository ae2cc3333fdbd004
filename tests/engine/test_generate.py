"""`athanor-llm generate` against transformers: the same greedy texts, the same distributions to draw from, and what a text is
cut to."""

import json
import os
import select
import shutil
import subprocess

import numpy
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.generation.logits_process import (
    LogitsProcessorList, MinPLogitsWarper, RepetitionPenaltyLogitsProcessor, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper,
)

import llm
import model_probe

CHAT = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model that has learned a little, so that its texts are no noise, with a chat template."""
    folder = tmp_path_factory.mktemp("generate")
    corpus = llm.bible(folder / "corpus", 100_000)
    llm.train(text=corpus / "train", validation=corpus / "validation", out=folder / "model",
              **llm.SMALL | dict(steps=80, learning_rate=1e-2, length=128, batch=4))
    config = folder / "model/tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"chat_template": CHAT}))
    return folder / "model"


PROMPTS = ["And God said", "In the beginning", "And the sons of", "the LORD", "And it came to pass, that when"]


def generated(model, *arguments, prompts=PROMPTS, temperature=0):
    words = [word for prompt in prompts for word in ("--prompt", prompt)]
    printed = llm.run("generate", "--model", model, *words, "--temperature", temperature, "--threads", 1, "--json", *arguments).stdout
    return [json.loads(line) for line in printed.splitlines()]


@pytest.mark.parametrize("penalty", [1.0, 1.3, 0.8])
@pytest.mark.parametrize("batch", [1, 2, 8])
def test_greedy_texts_are_those_of_transformers(model, penalty, batch):
    found = generated(model, "--tokens", 60, "--repetition-penalty", penalty, "--batch", batch)
    theirs, tokenizer = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float64), AutoTokenizer.from_pretrained(model)
    for prompt, one in zip(PROMPTS, found):
        ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=False).input_ids
        expected = theirs.generate(ids, max_new_tokens=60, do_sample=False, repetition_penalty=penalty)[0, ids.shape[1]:].tolist()
        ends = theirs.generation_config.eos_token_id
        if expected[-1] == ends:
            expected.pop()
        assert one["prompt"] == prompt and one["prompt_tokens"] == ids.shape[1]
        assert one["tokens"] == expected
        assert one["text"] == tokenizer.decode(expected)
        assert one["end"] == ("tokens" if len(expected) == 60 else "end_of_text")


@pytest.mark.parametrize("temperature, top_k, top_p, min_p, penalty", [
    (1.0, 0, 1.0, 0.0, 1.0), (0.7, 0, 1.0, 0.0, 1.0), (1.3, 40, 1.0, 0.0, 1.0), (1.0, 0, 0.9, 0.0, 1.0), (1.0, 0, 1.0, 0.05, 1.0),
    (0.8, 50, 0.95, 0.02, 1.2), (2.5, 5, 0.5, 0.3, 1.5), (1.0, 0, 0.001, 0.0, 1.0), (1.0, 1000, 1.0, 1.0, 1.0), (0.9, 0, 0.99, 0.0, 0.7),
])
def test_what_is_drawn_from_is_what_transformers_draws_from(tmp_path, temperature, top_k, top_p, min_p, penalty):
    for seed in range(4):
        rng = numpy.random.default_rng(seed)
        logits = (rng.normal(0, 3, 500)).astype(numpy.float32)
        seen = rng.integers(0, 500, 60).astype(numpy.int32)
        save_file({"logits": logits, "seen": seen}, tmp_path / "in.safetensors")
        model_probe.call("distribution", temperature, top_k, top_p, min_p, penalty, tmp_path / "in.safetensors", tmp_path / "out.safetensors")
        processors = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(penalty), TemperatureLogitsWarper(temperature)])
        processors += [TopKLogitsWarper(top_k)] if top_k else []
        processors += [TopPLogitsWarper(top_p)] if top_p < 1 else []
        processors += [MinPLogitsWarper(min_p)] if min_p else []
        scores = processors(torch.from_numpy(seen).long()[None], torch.from_numpy(logits).double()[None])[0]
        expected = torch.softmax(scores, -1).numpy()
        found = load_file(tmp_path / "out.safetensors")["probabilities"]
        assert ((found > 0) == (expected > 0)).all()
        assert numpy.abs(found - expected).max() < 1e-6


def test_sampled_texts_are_the_seeds_and_not_their_neighbours(model):
    together = generated(model, "--tokens", 20, "--seed", 5, temperature=1)
    assert [one["tokens"] for one in generated(model, "--tokens", 20, "--seed", 5, "--batch", 1, temperature=1)] == [one["tokens"] for one in together]
    assert generated(model, "--tokens", 20, "--seed", 7, prompts=PROMPTS[2:3], temperature=1)[0]["tokens"] == together[2]["tokens"]
    assert [one["tokens"] for one in generated(model, "--tokens", 20, "--seed", 6, temperature=1)] != [one["tokens"] for one in together]


def test_a_text_ends_before_a_stop_string_wherever_tokens_end(model):
    whole = generated(model, "--tokens", 60, prompts=PROMPTS[:1])[0]["text"]
    for begin in range(3, 30, 3):
        for size in (1, 2, 5, 9):
            stop = whole[begin:begin + size]
            one, = generated(model, "--tokens", 60, "--stop", stop, "--stop", "no such text", prompts=PROMPTS[:1])
            assert one["text"] == whole[:whole.index(stop)]
            assert one["end"] == "stop" and one["stop"] == stop
            shown = llm.run("generate", "--model", model, "--prompt", PROMPTS[0], "--temperature", 0, "--tokens", 60, "--stop", stop).stdout
            assert shown == PROMPTS[0] + one["text"] + "\n"
    assert generated(model, "--tokens", 20, "--stop", "no such text", prompts=PROMPTS[:1])[0]["end"] == "tokens"


def test_several_texts_are_printed_in_order(model):
    found = generated(model, "--tokens", 8)
    words = [word for prompt in PROMPTS for word in ("--prompt", prompt)]
    printed = llm.run("generate", "--model", model, *words, "--temperature", 0, "--tokens", 8, "--batch", 3).stdout
    assert printed == "".join(f"[{i + 1}/5] {one['prompt']}{one['text']}\n" for i, one in enumerate(found))
    assert [one["index"] for one in found] == [0, 1, 2, 3, 4]


def test_a_text_is_shown_while_it_is_written(model, tmp_path):
    """Of a text of half a million tokens, which takes hours, the first words are there at once."""
    shutil.copytree(model, tmp_path / "long")
    config = tmp_path / "long/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"max_position_embeddings": 2**19}))
    command = [llm.PROGRAM, "generate", "--model", tmp_path / "long", "--prompt", PROMPTS[0], "--tokens", 2**19 - 64, "--temperature", 0]
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env=llm.environment())
    try:
        shown = b""
        while len(shown) < len(PROMPTS[0]) + 20:
            assert select.select([process.stdout], [], [], 120)[0], f"nothing is shown after {shown}"
            part = os.read(process.stdout.fileno(), 4096)
            assert part, f"it ended after {shown}"
            shown += part
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    whole = llm.run("generate", "--model", model, "--prompt", PROMPTS[0], "--tokens", 40, "--temperature", 0).stdout.encode().rstrip(b"\n")
    assert len(whole) >= len(PROMPTS[0]) + 20 and (whole.startswith(shown) or shown.startswith(whole))


def test_prompts_from_files_and_standard_input(model, tmp_path):
    lines = ["And God said", json.dumps({"prompt": "In the\nbeginning"}), "", json.dumps({"messages": [{"role": "user", "content": "Who?"}]})]
    (tmp_path / "prompts.txt").write_text("\n".join(lines) + "\n")
    one, two, three = generated(model, "--prompts", tmp_path / "prompts.txt", "--tokens", 3, prompts=[])
    assert (one["prompt"], two["prompt"]) == ("And God said", "In the\nbeginning")
    assert three["messages"] == [{"role": "user", "content": "Who?"}] and "prompt" not in three
    for given in ("And God said", "And God said\n"):  # as printf and echo end it
        done = subprocess.run([llm.PROGRAM, "generate", "--model", model, "--prompt", "-", "--temperature", "0", "--tokens", "3"], input=given,
                              capture_output=True, text=True, timeout=120)
        assert done.stdout == "And God said" + one["text"] + "\n"


def test_a_chat_is_what_the_template_makes_of_it(model):
    tokenizer = AutoTokenizer.from_pretrained(model)
    for system in (None, "Be brief."):
        messages = [{"role": "system", "content": system}] if system else []
        messages.append({"role": "user", "content": "Who was Noah?"})
        one, = generated(model, *(["--system", system] if system else ["--chat"]), "--tokens", 5, prompts=["Who was Noah?"])
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        assert one["messages"] == messages
        plain, = generated(model, "--tokens", 5, prompts=[text])
        assert one["tokens"] == plain["tokens"] and one["prompt_tokens"] == plain["prompt_tokens"]
        printed = llm.run("generate", "--model", model, "--prompt", "Who was Noah?", "--temperature", 0, "--tokens", 5,
                          *(["--system", system] if system else ["--chat"])).stdout
        assert printed == one["text"] + "\n"


@pytest.mark.parametrize("content, tells", [
    ('{"prompt": 3}', "prompts.txt, line 1"), ('{"text": "a"}', 'neither "prompt" nor "messages"'), ("{", "prompts.txt, line 1"),
    ('{"messages": []}', '"messages" is empty'), ("", "every line is one"), ('{"messages": ["a"]}', "no object"),
])
def test_prompts_that_are_none_are_refused(model, tmp_path, content, tells):
    (tmp_path / "prompts.txt").write_text(content)
    assert tells in llm.run("generate", "--model", model, "--prompts", tmp_path / "prompts.txt", code=2).stderr


def test_a_chat_needs_a_template_and_something_said(model, tmp_path):
    assert "Say what the user says" in llm.run("generate", "--model", model, "--chat", code=2).stderr
    subprocess.run(["cp", "-r", model, tmp_path / "model"], check=True)
    config = json.loads((tmp_path / "model/tokenizer_config.json").read_text())
    del config["chat_template"]
    (tmp_path / "model/tokenizer_config.json").write_text(json.dumps(config))
    assert "no chat template" in llm.run("generate", "--model", tmp_path / "model", "--chat", "--prompt", "a", code=2).stderr
