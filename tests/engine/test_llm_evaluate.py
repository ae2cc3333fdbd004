"""`athanor-llm eval` against transformers: losses in windows, and answers by likelihood as lm-evaluation-harness scores them."""

import json

import numpy
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import llm


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    corpus = llm.bible(folder / "corpus", 100_000)
    llm.train(text=corpus / "train", validation=corpus / "validation", out=folder / "model", **llm.SMALL | dict(steps=60, learning_rate=1e-2))
    return folder / "model", corpus / "validation/bible.txt"


def evaluated(model, *arguments):
    return json.loads(llm.run("eval", "--model", model, *arguments, "--threads", 1, "--json").stdout)


@pytest.mark.parametrize("length, stride", [(32, 32), (32, 8), (16, 5), (31, 30), (7, 1)])
def test_the_loss_is_that_of_transformers_in_the_same_windows(trained, tmp_path, length, stride):
    model, text = trained
    (tmp_path / "text.txt").write_bytes(text.read_bytes()[:1500])
    found = evaluated(model, "--text", tmp_path / "text.txt", "--length", length, "--stride", stride)
    theirs, tokenizer = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float64), AutoTokenizer.from_pretrained(model)
    ids = tokenizer((tmp_path / "text.txt").read_text(), add_special_tokens=False).input_ids + [theirs.config.eos_token_id]
    loss, predicted = 0.0, 1  # tokens before this were predicted
    for begin in range(0, len(ids), stride):
        window = ids[begin:begin + length + 1]
        if begin + len(window) <= predicted:
            break
        with torch.no_grad():
            logits = theirs(torch.tensor([window[:-1]])).logits[0]
        losses = torch.nn.functional.cross_entropy(logits, torch.tensor(window[1:]), reduction="none")
        loss += losses[predicted - begin - 1:].sum().item()
        predicted = begin + len(window)
    assert predicted == len(ids)
    assert found["tokens"] == len(ids) - 1
    assert found["loss"] == pytest.approx(loss / (len(ids) - 1), rel=1e-6)
    assert found["perplexity"] == pytest.approx(numpy.exp(found["loss"]))
    assert found["bits_per_byte"] == pytest.approx(loss / numpy.log(2) / (tmp_path / "text.txt").stat().st_size, rel=1e-6)


def questions(text, count=40):
    rng = numpy.random.default_rng(0)
    words = text.read_text().split()
    made = []
    for i in range(count):
        at = 20 * i
        choices = [" ".join(words[begin:begin + int(rng.integers(1, 5))]) for begin in [at + 8, *rng.integers(0, len(words) - 10, 3)]]
        answer = int(rng.integers(0, 4))
        choices[0], choices[answer] = choices[answer], choices[0]
        name = "question" if i % 2 else "context"
        made.append({name: " ".join(words[at:at + 8]), "choices": choices, "answer": answer if i % 3 else choices[answer]})
    return made


def test_answers_by_likelihood_are_those_of_transformers(trained, tmp_path):
    model, text = trained
    asked = questions(text)
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(one) + "\n" for one in asked))
    theirs, tokenizer = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float64), AutoTokenizer.from_pretrained(model)
    encode = lambda text: tokenizer(text, add_special_tokens=False).input_ids
    right = right_normalized = 0
    for one in asked:
        context = one.get("question", one.get("context"))
        sums = []
        for choice in one["choices"]:
            ids, first = encode(context + " " + choice), len(encode(context))
            assert ids[:first] == encode(context)
            ids, first = ids[-33:], first - max(0, len(ids) - 33)
            with torch.no_grad():
                scores = torch.log_softmax(theirs(torch.tensor([ids[:-1]])).logits[0], -1)
            sums.append(sum(scores[i - 1, ids[i]].item() for i in range(first, len(ids))))
        answer = one["answer"] if isinstance(one["answer"], int) else one["choices"].index(one["answer"])
        right += int(numpy.argmax(sums)) == answer
        right_normalized += int(numpy.argmax([value / len(choice) for value, choice in zip(sums, one["choices"])])) == answer
    for batch in (1, 3, 64):
        found = evaluated(model, "--choices", tmp_path / "questions.jsonl", "--batch", batch)
        assert found == {"acc": pytest.approx(right / len(asked)), "acc_norm": pytest.approx(right_normalized / len(asked)), "questions": len(asked)}
    printed = llm.run("eval", "--model", model, "--choices", tmp_path / "questions.jsonl").stdout
    assert printed == f"accuracy {right / len(asked):.4f}  by length {right_normalized / len(asked):.4f}  ({len(asked)} questions)\n"


@pytest.mark.parametrize("line, tells", [
    ('{"question": "a", "choices": ["b"], "answer": 0}', "line 1: it has not two choices"),
    ('{"question": "a", "choices": ["b", "c"], "answer": 5}', "the place of no choice"),
    ("nonsense", "line 1"), ("", "every line is one"),
    (json.dumps({"question": "a", "choices": ["b", "word " * 100], "answer": 0}), "give a larger --length"),
])
def test_questions_that_are_none_are_refused(trained, tmp_path, line, tells):
    (tmp_path / "questions.jsonl").write_text(line)
    assert tells in llm.run("eval", "--model", trained[0], "--choices", tmp_path / "questions.jsonl", code=2).stderr
