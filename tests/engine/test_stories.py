"""The tiny real model of stories260K/ writes its published greedy text, from its own files and as a Hugging Face checkpoint."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import llm
from probe import ROOT

FOLDER = ROOT / "tests/engine/stories260K"
FILES = ["--model", FOLDER / "stories260K.bin", "--tokenizer", FOLDER / "tok512.bin"]
TOKENS = 60
GREEDY = ["--prompt", "Once upon a time", "--temperature", 0, "--max-tokens", TOKENS]

PUBLISHED = ("Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, "
             "red ball.")
TEXT = PUBLISHED + " She wanted to play with it, but it was too high.\nLily"


def test_the_published_text():
    assert llm.run("generate", *FILES, *GREEDY).stdout == TEXT + "\n"


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stories") / "model"
    llm.run("convert", *FILES, "--out", folder)
    return folder


def test_the_same_text_from_a_hugging_face_checkpoint(converted):
    assert llm.run("generate", "--model", converted, *GREEDY).stdout == TEXT + "\n"


def test_the_tokens_are_those_of_transformers(converted):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(converted, dtype=torch.float32), AutoTokenizer.from_pretrained(converted)
    ids = tokenizer("Once upon a time", return_tensors="pt").input_ids
    whole = model.generate(ids, max_new_tokens=TOKENS, do_sample=False)[0]
    expected = whole[ids.shape[1]:].tolist()
    assert len(expected) == TOKENS and tokenizer.decode(whole, skip_special_tokens=True) == TEXT
    for source in (FILES, ["--model", converted]):
        found = json.loads(llm.run("generate", *source, *GREEDY, "--json").stdout)
        assert found["prompt_tokens"] == ids.shape[1] and found["tokens"] == expected
