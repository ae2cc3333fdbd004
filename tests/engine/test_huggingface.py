"""What `athanor-llm train` leaves, in transformers: the same logits, the same evaluation loss, the same text."""

import json

import numpy
import pytest
import torch
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import llm
from probe import probe, relative_error

STEPS = 200
PROMPTS = ["And God said", "In the beginning", "", "the", "  13:4 Ünïcödé"]


@pytest.fixture(scope="module", params=[
    dict(tied=True), dict(tied=False), dict(tied=False, heads=3, kv_heads=3, head_dim=0, rope_theta=500000),
], ids=["tied", "untied", "one key per query, long theta"])
def trained(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    corpus = llm.bible(folder / "corpus", 150_000)
    held_out = corpus / "validation/bible.txt"
    printed = llm.train(text=corpus / "train", validation=held_out, out=folder / "model",
                        **llm.SMALL | dict(steps=STEPS, learning_rate=1e-2) | request.param)
    return folder / "model", held_out, printed, request.param


def in_transformers(folder, dtype=torch.float64):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()
    return model, AutoTokenizer.from_pretrained(folder)


def our_logits(tmp_path, folder, tokens):
    """By engine-probe, from the same files."""
    config = json.loads((folder / "config.json").read_text())
    tokens = numpy.asarray(tokens, dtype=numpy.int32)
    shape = {name: config[name] for name in (
        "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
        "head_dim", "tie_word_embeddings", "rms_norm_eps", "rope_theta")}
    given = {"tokens": tokens, "targets": tokens, **load_file(folder / "model.safetensors")}
    results, _ = probe(tmp_path, "model", given, **shape)
    return results["logits"].reshape(*tokens.shape, -1)


def test_the_logits_are_the_same(trained, tmp_path):
    folder, held_out, _, settings = trained
    model, tokenizer = in_transformers(folder)
    assert model.config.tie_word_embeddings == settings["tied"]
    assert sorted(load_file(folder / "model.safetensors")) == sorted(name for name, _ in model.named_parameters())
    ids = tokenizer(held_out.read_text())["input_ids"]
    tokens = numpy.array(ids[:5 * llm.SMALL["length"]]).reshape(5, -1)
    ours = our_logits(tmp_path, folder, tokens)
    with torch.no_grad():
        theirs = model(torch.from_numpy(tokens)).logits.numpy()
    assert relative_error(ours, theirs) < 1e-5
    # They say something: far from uniform, other at each place, and other when a token before them is.
    assert theirs.std() > 0.5 and theirs.std(axis=(0, 1)).mean() > 0.3
    other = tokens.copy()
    other[:, 0] = (other[:, 0] + 1) % model.config.vocab_size
    assert relative_error(our_logits(tmp_path, folder, other)[:, 1:], theirs[:, 1:]) > 1e-3


def mean_loss(model, ids, length):
    """Windows of `length` from the beginning of the text, each token but the first predicted once."""
    total = count = 0
    with torch.no_grad():
        for first in range(0, len(ids) - 1, length):
            window = torch.tensor([ids[first:first + length + 1]])
            logits = model(window[:, :-1]).logits
            total += torch.nn.functional.cross_entropy(logits[0], window[0, 1:], reduction="sum").item()
            count += window.shape[1] - 1
    return total / count, count


@pytest.mark.parametrize("length", [None, 11])
def test_the_evaluation_loss_is_the_same(trained, length):
    folder, held_out, printed, _ = trained
    model, tokenizer = in_transformers(folder)
    ids = [*tokenizer(held_out.read_text())["input_ids"], tokenizer.eos_token_id]
    theirs, count = mean_loss(model, ids, length or llm.SMALL["length"])
    told = json.loads(llm.run("eval", "--model", folder, "--text", held_out, "--json", "--batch", 3,
                              *llm.words(**{"length": length} if length else {})).stdout)
    assert told["tokens"] == count == len(ids) - 1
    assert told["loss"] == pytest.approx(theirs, rel=1e-6)
    assert told["perplexity"] == pytest.approx(numpy.exp(theirs), rel=1e-5)
    assert told["bits_per_byte"] == pytest.approx(theirs * count / numpy.log(2) / held_out.stat().st_size, rel=1e-6)
    before, after = llm.before_and_after(printed)
    assert before == pytest.approx(numpy.log(model.config.vocab_size), abs=0.2) and after < before - 0.3


def test_training_told_the_evaluation_loss_of_the_model_that_it_left(trained):
    """The last line of training is of the first sequences held out, so many as were asked for."""
    folder, held_out, printed, _ = trained
    model, tokenizer = in_transformers(folder)
    length = llm.SMALL["length"]
    ids = [*tokenizer(held_out.read_text())["input_ids"], tokenizer.eos_token_id]
    told = float(llm.losses(printed)[f"evaluation {STEPS}"])
    count = llm.SMALL["evaluate_sequences"]
    assert (len(ids) - 1) // length > count
    assert told == pytest.approx(mean_loss(model, ids[:count * length + 1], length)[0], rel=1e-6)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_greedy_text_is_the_same(trained, prompt):
    folder, _, _, _ = trained
    tokens = 24
    ours = llm.run("generate", "--model", folder, "--prompt", prompt, "--temperature", 0, "--tokens", tokens).stdout
    model, tokenizer = in_transformers(folder)
    given = tokenizer(prompt)["input_ids"] or [tokenizer.eos_token_id]
    room = model.config.max_position_embeddings - len(given) + 1  # the last token is written from a full context
    written = model.generate(torch.tensor([given]), do_sample=False, max_new_tokens=min(tokens, room), temperature=None, top_k=None,
                             pad_token_id=tokenizer.eos_token_id)[0, len(given):]
    assert len(written) > 3 and len(set(written.tolist())) > 2
    assert ours == prompt + tokenizer.decode(written, skip_special_tokens=True) + "\n"


def test_a_checkpoint_that_transformers_wrote(trained, tmp_path):
    """The other way: saved by transformers, in shards, and used by us."""
    folder, held_out, _, _ = trained
    model, tokenizer = in_transformers(folder, torch.float32)
    model.save_pretrained(tmp_path / "theirs", max_shard_size="60KB")
    tokenizer.save_pretrained(tmp_path / "theirs")
    assert len(list((tmp_path / "theirs").glob("model-*.safetensors"))) > 1
    told = [llm.run("eval", "--model", which, "--text", held_out, "--json").stdout for which in (folder, tmp_path / "theirs")]
    assert told[0] == told[1] and json.loads(told[0])["loss"] > 1
