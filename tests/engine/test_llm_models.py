"""`athanor-llm eval` and `generate` on the files that a model may come in: the same model gives the same numbers and text."""

import json
import struct

import gguf
import numpy
import pytest
from safetensors.numpy import load_file

import llm
from test_gguf import gguf_name, pairs_from_halves

PROMPT = "And God said"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    corpus = llm.bible(folder / "corpus", 100_000)
    llm.train(text=corpus / "train", validation=corpus / "validation", out=folder / "model",
              **llm.SMALL | dict(steps=60, learning_rate=1e-2, tied=False))
    return folder / "model", corpus / "validation/bible.txt"


def as_gguf(folder, path):
    config = json.loads((folder / "config.json").read_text())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = dict(tokenizer["model"]["vocab"]) | {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    special = {token["id"] for token in tokenizer["added_tokens"]}
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    for add in (writer.add_rope_dimension_count, writer.add_key_length, writer.add_value_length):
        add(config["head_dim"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(sorted(vocabulary, key=vocabulary.get))
    writer.add_token_types([3 if i in special else 1 for i in range(len(vocabulary))])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(config["eos_token_id"])
    for name, value in load_file(folder / "model.safetensors").items():
        heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}.get(name.split(".")[-2])
        writer.add_tensor(gguf_name(name), numpy.ascontiguousarray(pairs_from_halves(value, heads) if heads else value))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def evaluated(*where, text):
    return json.loads(llm.run("eval", "--model", *where, "--text", text, "--threads", 1, "--json").stdout)


def written(*where):
    return llm.run("generate", "--model", *where, "--prompt", PROMPT, "--temperature", 0, "--max-tokens", 12, "--threads", 1).stdout


def test_a_gguf_file_is_the_model_and_its_tokenizer(trained, tmp_path):
    folder, text = trained
    as_gguf(folder, tmp_path / "model.gguf")
    of_folder, of_file = evaluated(folder, text=text), evaluated(tmp_path / "model.gguf", text=text)
    assert of_file == pytest.approx(of_folder, rel=1e-6) and of_file["tokens"] > 1000
    assert written(tmp_path / "model.gguf") == written(folder)
    assert written(folder).startswith(PROMPT) and len(written(folder)) > len(PROMPT) + 12


def test_a_model_of_llama2c_needs_its_tokenizer(trained, tmp_path):
    """A llama2.c file of random weights; its tokenizer is another model's folder, which --tokenizer may name."""
    folder, text = trained
    config = json.loads((folder / "config.json").read_text())
    vocabulary, C, F, T = config["vocab_size"], 32, 48, 32
    rng = numpy.random.default_rng(3)
    shapes = [(vocabulary, C), (1, C), (1, C, C), (1, C, C), (1, C, C), (1, C, C), (1, C), (1, F, C), (1, C, F), (1, F, C), (C,), (T, 4), (T, 4)]
    with open(tmp_path / "model.bin", "wb") as file:
        file.write(struct.pack("<7i", C, F, 1, 4, 4, vocabulary, T))  # vocab_size above 0: the classifier is shared
        for shape in shapes:
            file.write(rng.normal(0, 0.2, shape).astype("<f4").tobytes())
    refused = llm.run("eval", "--model", tmp_path / "model.bin", "--text", text, code=2)
    assert "--tokenizer" in refused.stderr
    loss = evaluated(tmp_path / "model.bin", "--tokenizer", folder, text=text)["loss"]
    assert 0.7 * numpy.log(vocabulary) < loss < 3 * numpy.log(vocabulary)
    assert written(tmp_path / "model.bin", "--tokenizer", folder).startswith(PROMPT)


@pytest.mark.parametrize("content, code, reason", [
    (b"", 2, "is no model that can be read"),
    (b"GGUF\x03\x00\x00\x00" + b"\xff" * 16, 1, "is no whole GGUF file"),
    (b"not a model at all" * 10, 2, "what would do: a folder with config.json"),
])
def test_what_is_no_model_is_refused(tmp_path, content, code, reason):
    (tmp_path / "file").write_bytes(content)
    assert reason in llm.run("generate", "--model", tmp_path / "file", "--prompt", "x", code=code).stderr
