"""`athanor-llm dpo` against PyTorch: every gradient, the curve of a whole run, and what it is for: preferring what it has not seen.
Any number of ranks, stopped and gone on with, as a job; and what is refused."""

import json
import re
import shutil
import signal

import numpy
import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer

import llama
import llm
from probe import probe, relative_error
from test_adapters import MODULES, SHAPE as WIDE, adapters_of, file_name, layers, with_adapters
from test_finetune import TEMPLATE, loaded, place  # noqa: F401
from test_model import random_tokens

torch.set_num_threads(1)  # these models are too small for more

RUN = dict(length=96, batch=6, micro_batch=2, epochs=0, steps=24, learning_rate=1e-3, warmup_steps=4, log_every=1, threads=1, held_out=0,
           sample_tokens=0, seed=5, beta=0.3)


def pairs(count, seed=1):
    """The chosen answer counts on, the rejected one says no."""
    rng = numpy.random.default_rng(seed)
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    made = []
    for _ in range(count):
        first, more = int(rng.integers(0, 7)), int(rng.integers(1, 4))
        other = names[int(rng.integers(0, 10))]
        made.append({"prompt": [{"role": "user", "content": f"After {names[first]} come? é"}],
                     "chosen": [{"role": "assistant", "content": " ".join(names[first + 1:first + 1 + more]) + "."}],
                     "rejected": [{"role": "assistant", "content": f"No, {other}!" if rng.random() < 0.5 else f"{other}? No!"}]})
    return made


def write(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    write(folder / "pairs.jsonl", pairs(60))
    write(folder / "others.jsonl", pairs(40, seed=2))
    return folder


def dpo(place, given, out, *flags, code=0, **settings):  # noqa: F811
    settings = dict(model=place / "model", data=given / "pairs.jsonl", out=out) | RUN | settings
    return llm.run("dpo", *llm.words(**settings), *flags, code=code)


# against PyTorch


def log_probabilities(model, tokens, targets):
    """Of each row, summed over its targets; -1 is none."""
    logits = model(torch.as_tensor(tokens).long()).logits
    return -functional.cross_entropy(logits.transpose(1, 2), torch.as_tensor(targets).long(), ignore_index=-1, reduction="none").sum(1)


def dpo_loss(policy, reference, beta, label_smoothing=0.0):
    """TRL's sigmoid loss: (mean loss, accuracy, chosen rewards, rejected rewards); rows are chosen and rejected in turn."""
    rewards = beta * (policy - reference)
    chosen, rejected = rewards[0::2], rewards[1::2]
    losses = -functional.logsigmoid(chosen - rejected) * (1 - label_smoothing) - functional.logsigmoid(rejected - chosen) * label_smoothing
    accuracy = ((chosen > rejected).double() + 0.5 * (chosen == rejected).double()).mean()
    return losses.mean(), accuracy, chosen, rejected


def check_gradients(tmp_path, model, given, names, beta, label_smoothing, vocabulary, **options):
    tokens, targets = random_tokens(1, vocabulary, 6, 40), random_tokens(2, vocabulary, 6, 40)
    for row in range(6):  # a prompt before each answer, and nothing behind it
        targets[row, :5 + row] = -1
        targets[row, 30 + row:] = -1
    with torch.no_grad():
        # A reference that the model has moved away from, the more the later a pair comes.
        policy = log_probabilities(model, tokens, targets)
        reference = policy + torch.from_numpy(numpy.random.default_rng(3).normal(0, 2, 6)) * torch.tensor([0.0, 1, 2, 3, 4, 5])
    reference = reference.float()
    ours, numbers = probe(tmp_path, "dpo", {"tokens": tokens, "targets": targets, "references": reference.numpy().reshape(3, 2), **given},
                          threads=2, beta=beta, label_smoothing=label_smoothing, **options)
    policy = log_probabilities(model, tokens, targets)
    loss, accuracy, chosen, rejected = dpo_loss(policy, reference.double(), beta, label_smoothing)
    loss.backward()
    numpy.testing.assert_allclose(numbers["log_probabilities"], policy.detach().numpy(), rtol=1e-6)
    assert numbers["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert numbers["accuracy"] == accuracy.item()
    assert numbers["chosen_reward"] == pytest.approx(chosen.mean().item(), rel=1e-4)
    assert numbers["rejected_reward"] == pytest.approx(rejected.mean().item(), rel=1e-4)
    compared = 0
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert relative_error(ours[names(name)], parameter.grad.numpy()) < 1e-4, name
            compared += 1
    assert compared > 10


@pytest.mark.parametrize("beta, label_smoothing", [(0.1, 0), (0.5, 0.1)])
@pytest.mark.parametrize("shape", llama.SHAPES.values(), ids=llama.SHAPES.keys())
def test_every_gradient(tmp_path, shape, beta, label_smoothing):
    model = llama.build(shape)
    check_gradients(tmp_path, model, llama.parameters(model), str, beta, label_smoothing, shape["vocab_size"], **shape)


@pytest.mark.parametrize("modules", [MODULES, ["q_proj", "v_proj"]], ids=lambda modules: "+".join(name[:-5] for name in modules))
def test_every_gradient_of_adapters(tmp_path, modules):
    plain = llama.build(WIDE)
    given = llama.parameters(plain)
    model = with_adapters(plain, modules).double()
    check_gradients(tmp_path, model, {**given, **adapters_of(model)}, file_name, 0.3, 0, WIDE["vocab_size"], lora_rank=8, lora_alpha=16,
                    lora_layers=layers(modules), **WIDE)


def encoded(tokenizer, lines):
    """(tokens, targets) of rows, chosen and rejected in turn, laid out by transformers."""
    rows = []
    for line in lines:
        for answer in ("chosen", "rejected"):
            found = tokenizer.apply_chat_template(line["prompt"] + line[answer], tokenize=True, return_dict=True,
                                                  return_assistant_tokens_mask=True, chat_template=TEMPLATE)
            rows.append((found["input_ids"], found["assistant_masks"]))
    width = max(len(ids) for ids, _ in rows)
    tokens = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in rows])
    learnt = torch.tensor([mask + [0] * (width - len(mask)) for _, mask in rows]).bool()
    return tokens[:, :-1], torch.where(learnt, tokens, -1)[:, 1:]


NUMBERS = r"loss (\S+)  accuracy (\S+)  margin (\S+)  chosen (\S+)  rejected (\S+)"


def told(printed):
    """{step: (loss, accuracy, margin, chosen, rejected)}, evaluations under "evaluation N"."""
    found = {int(step): tuple(map(float, numbers)) for step, *numbers in re.findall(rf"^step (\d+)/\d+  {NUMBERS}", printed, re.M)}
    for loss, step, *rest in re.findall(r"^evaluation loss (\S+) at step (\d+)  accuracy (\S+)  margin (\S+)  chosen (\S+)  rejected (\S+)", printed, re.M):
        found[f"evaluation {step}"] = tuple(map(float, [loss, *rest]))
    return found


def test_the_run_is_pytorchs_from_the_first_step_to_the_last(place, given, tmp_path):  # noqa: F811
    """Every pair is in every step: what is compared is the loss, its gradient and the update, not the order."""
    lines, held_out = pairs(7), pairs(40, seed=2)
    few = write(tmp_path / "few.jsonl", lines)
    ours = told(dpo(place, given, tmp_path / "out", data=few, batch=7, steps=100, validation=given / "others.jsonl", label_smoothing=0.05, weight_decay=0.1,
                    evaluate_sequences=40).stdout)
    model, tokenizer = loaded(place / "model")
    tokens, targets = encoded(tokenizer, lines)
    others = encoded(tokenizer, held_out)
    with torch.no_grad():
        reference, other_reference = log_probabilities(model, tokens, targets), log_probabilities(model, *others)
    decayed = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0}], lr=1, betas=(0.9, 0.95), eps=1e-8)
    peak, warm, steps = RUN["learning_rate"], RUN["warmup_steps"], 100
    for step in range(1, steps + 1):
        loss, accuracy, chosen, rejected = dpo_loss(log_probabilities(model, tokens, targets), reference, RUN["beta"], 0.05)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        done = (step - warm) / (steps - warm)
        for group in optimizer.param_groups:
            group["lr"] = peak * step / warm if step <= warm else 0.1 * peak + 0.9 * peak * 0.5 * (1 + numpy.cos(numpy.pi * done))
        optimizer.step()
        expected = [loss.item(), (chosen - rejected).mean().item(), chosen.mean().item(), rejected.mean().item()]
        found = [ours[step][0], *ours[step][2:]]
        numpy.testing.assert_allclose(found[0], expected[0], atol=1e-5 if step == 1 else 1e-3, err_msg=str(step))
        numpy.testing.assert_allclose(found[1:], expected[1:], atol=5e-3, err_msg=str(step))
        if step > 5:
            assert ours[step][1] == pytest.approx(accuracy.item(), abs=1 / 7 + 1e-4)  # a margin near 0 may be on either side
    assert ours[steps][0] < ours[1][0] - 0.2
    with torch.no_grad():
        loss, _, chosen, rejected = dpo_loss(log_probabilities(model, *others), other_reference, RUN["beta"], 0.05)
    assert ours[f"evaluation {steps}"][0] == pytest.approx(loss.item(), abs=1e-3)
    assert ours[f"evaluation {steps}"][2] == pytest.approx((chosen - rejected).mean().item(), abs=1e-2)
    trained = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    for name, value in dict(trained.named_parameters()).items():
        assert relative_error(value.detach().numpy(), dict(model.named_parameters())[name].detach().numpy()) < 5e-3, name


# what it is for

KINDS = [dict(), dict(dtype="bfloat16"), dict(lora_rank=8, learning_rate=1e-2), dict(lora_rank=8, learning_rate=1e-2, base_dtype="q4_0", wide=True)]


@pytest.fixture(scope="module")
def wide(place, tmp_path_factory):  # noqa: F811
    """A model whose rows are multiples of a block's 32 numbers."""
    folder = tmp_path_factory.mktemp("wide") / "model"
    shutil.copytree(place / "model", folder)
    config = json.loads((folder / "config.json").read_text()) | dict(hidden_size=64, num_attention_heads=4, head_dim=16, intermediate_size=96)
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(type(AutoModelForCausalLM.from_pretrained(place / "model").config)(**config))
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_it_learns_to_prefer_what_it_has_not_seen(place, given, wide, tmp_path, kind):  # noqa: F811
    kind = dict(kind)
    model = wide if kind.pop("wide", False) else place / "model"
    printed = dpo(place, given, tmp_path / "out", model=model, validation=given / "others.jsonl", steps=40, evaluate_sequences=40, **kind).stdout
    found = told(printed)
    before, after = found["evaluation 0"], found["evaluation 40"]
    assert before[:2] == pytest.approx([numpy.log(2), 0.5], abs=1e-4)  # equal to the reference, to the last bit
    assert after[0] < 0.55 and after[1] > 0.9 and after[2] > 0.3
    assert after[2] == pytest.approx(after[3] - after[4], abs=1e-5)
    assert "of the pairs the chosen answer is preferred" in printed and llm.before_and_after(printed)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert ("adapter_model.safetensors" if "lora_rank" in kind else "model.safetensors") in names


def test_lines_for_machines(place, given, tmp_path):  # noqa: F811
    printed = dpo(place, given, tmp_path / "out", "--log", "json", steps=3, validation=given / "others.jsonl").stdout
    events = [json.loads(line) for line in printed.splitlines()]
    steps = [event for event in events if event["event"] == "step"]
    assert [step["step"] for step in steps] == [1, 2, 3] and all(step["targets"] == RUN["batch"] for step in steps)
    evaluations = [event for event in events if event["event"] == "evaluation"]
    assert [evaluation["step"] for evaluation in evaluations] == [0, 3]
    for event in steps + evaluations:
        assert event["margin"] == pytest.approx(event["chosen_reward"] - event["rejected_reward"], abs=1e-8)
        assert 0 <= event["accuracy"] <= 1 and "perplexity" not in event
    # As a job's MetricDefinitions find them.
    assert [float(found) for found in re.findall(r'"step".*"accuracy": ([0-9.e+-]+)', printed)][1] == steps[0]["accuracy"]


def test_a_dry_run_says_what_it_would_take(place, given, tmp_path):  # noqa: F811
    printed = dpo(place, given, tmp_path / "out", "--dry-run", held_out=0.1).stdout
    assert "54 pairs to train on" in printed and "6 pairs held out" in printed
    assert "24 steps of 6 pairs of answers of at most 96 tokens" in printed
    assert re.search(r"references +\S+", printed) and "a step      of the longest answers: " in printed
    assert not (tmp_path / "out").exists()


# forms of data


def test_every_form_of_the_same_pairs_is_the_same_run(place, given, tmp_path):  # noqa: F811
    lines = pairs(12)
    forms = {
        "prompt": lines,
        "implicit": [{"chosen": line["prompt"] + line["chosen"], "rejected": line["prompt"] + line["rejected"]} for line in lines],
        "said twice": [{"prompt": line["prompt"][0]["content"], "chosen": line["prompt"] + line["chosen"], "rejected": line["prompt"] + line["rejected"],
                        "score_chosen": 8.0} for line in lines],
        "a text": [{**line, "prompt": line["prompt"][0]["content"]} for line in lines],
    }
    found = [told(dpo(place, given, tmp_path / name, data=write(tmp_path / f"{name}.jsonl", form), steps=2).stdout) for name, form in forms.items()]
    assert len(found[0]) == 2 and all(one == found[0] for one in found)


def test_texts_are_taken_as_they_are(place, given, tmp_path):  # noqa: F811
    lines = [{"prompt": f"After {a} come", "chosen": " two.", "rejected": " nothing at all!"} for a in ("one", "zero", "three")]
    texts = write(tmp_path / "texts.jsonl", lines)
    ours = told(dpo(place, given, tmp_path / "out", data=texts, batch=3, micro_batch=3, steps=2, learning_rate=1e-2, warmup_steps=0).stdout)
    _, tokenizer = loaded(place / "model")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    assert ours[1][0] == pytest.approx(numpy.log(2), abs=1e-5) and ours[2][0] < ours[1][0] - 0.05
    encode = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("After one come", " two.")]
    with torch.no_grad():
        policies = [functional.log_softmax(each(torch.tensor([encode[0] + encode[1] + [tokenizer.eos_token_id]])).logits[0], -1)
                    for each in (model, AutoModelForCausalLM.from_pretrained(place / "model", dtype=torch.float32))]
    # The chosen answer has become likelier, its end included.
    at = len(encode[0]) - 1
    after, before = (sum(policy[at + i, token].item() for i, token in enumerate([*encode[1], tokenizer.eos_token_id])) for policy in policies)
    assert after > before + 0.1


# ranks, and going on


@pytest.fixture(scope="module")
def alone(place, given, tmp_path_factory):  # noqa: F811
    out = tmp_path_factory.mktemp("alone") / "model"
    return out, told(dpo(place, given, out, validation=given / "others.jsonl").stdout)


@pytest.mark.parametrize("ranks, change", [(1, dict(micro_batch=6)), (2, dict()), (3, dict(micro_batch=1))])
def test_any_number_of_ranks_gives_the_same(place, given, alone, tmp_path, ranks, change):  # noqa: F811
    """Only rank 0 is given the model and the data."""
    run = RUN | change
    first = ["dpo", *llm.words(model=place / "model", data=given / "pairs.jsonl", validation=given / "others.jsonl", out=tmp_path / "model", **run)]
    others = [["dpo", *llm.words(out=tmp_path / f"rank-{rank}", **run)] for rank in range(1, ranks)]
    with llm.Ranks(ranks, commands=[first, *others]) as job:
        assert job.wait() == [0] * ranks, job.output
    found = told(job.output[0])
    assert found.keys() == alone[1].keys()
    for step, (loss, _, *rewards) in alone[1].items():
        assert found[step][0] == pytest.approx(loss, abs=2e-4), step
        numpy.testing.assert_allclose(found[step][2:], rewards, atol=2e-3, err_msg=str(step))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("kind", [dict(), dict(lora_rank=4, lora_dropout=0.1)], ids=str)
@pytest.mark.parametrize("ranks", [1, 2])
def test_stopped_and_gone_on_with_is_never_stopped(place, given, tmp_path, ranks, kind):  # noqa: F811
    run = dict(model=place / "model", data=given / "pairs.jsonl", **{name: value for name, value in RUN.items() if name not in ("steps", "epochs")})
    command = ["dpo", *llm.words(**run | dict(epochs=5, batch=4, held_out=0.1) | kind)]

    def job(out, *flags):
        return llm.Ranks(ranks, commands=[[*command, "--out", tmp_path / out, *flags]] * ranks)

    with job("whole") as whole:
        assert whole.wait() == [0] * ranks, whole.output
    with job("parts") as first:
        first.read_until(r"step 9/")
        first.signal(signal.SIGTERM)
        assert first.wait() == [143] * ranks, first.output
    with job("parts", "--resume") as second:
        assert second.wait() == [0] * ranks, second.output
    assert "going on after step" in second.output[0]
    assert told(first.output[0]) | told(second.output[0]) == told(whole.output[0])
    for path in (tmp_path / "whole").iterdir():
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "parts" / path.name).read_bytes(), path.name


# as the program of a job


def test_a_job_with_task_dpo(place, given, alone, tmp_path):  # noqa: F811
    folder = llm.contract(tmp_path / "ml", dict(task="dpo") | RUN, ("model", "train", "validation"))
    shutil.copytree(place / "model", folder / "input/data/model", dirs_exist_ok=True)
    shutil.copy(given / "pairs.jsonl", folder / "input/data/train")
    shutil.copy(given / "others.jsonl", folder / "input/data/validation")
    assert told(llm.run("train", "--contract", folder).stdout) == alone[1]
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (folder / "model" / name).read_bytes() == (alone[0] / name).read_bytes()


@pytest.mark.parametrize("hyperparameters, channels, tells", [
    (dict(task="dpo"), ("train",), 'no channel "model"'),
    (dict(task="dpo"), ("model",), 'no channel "train": give one with the pairs of answers to learn from'),
    (dict(task="dpo", betta=1), ("train", "model"), 'There is no hyperparameter "betta". Did you mean "beta"?'),
    (dict(task="finetune", beta=1), ("train", "model"), "beta is given, and the task is finetune, which learns no preferences"),
    (dict(task="dpo", z_loss=1e-4), ("train", "model"), "dpo learns preferences without it: leave z_loss out"),
])
def test_a_job_that_is_told_nonsense(tmp_path, hyperparameters, channels, tells):
    folder = llm.contract(tmp_path / "ml", hyperparameters, channels)
    done = llm.run("train", "--contract", folder, code=2)
    assert tells in done.stderr and tells in (folder / "output/failure").read_text()


# refusals

LINES = {
    "broken": ('{"prompt": }\n', "data.jsonl, line 2: not JSON"),
    "no rejected": ('{"prompt": "a", "chosen": "b"}\n', 'data.jsonl, line 2: "rejected" is missing: a line of preferences has "prompt", "chosen" and "rejected"'),
    "the same": ('{"prompt": "a", "chosen": "b", "rejected": "b"}\n', 'data.jsonl, line 2: "chosen" and "rejected" are the same, so none is preferred: leave'),
    "no answer": (json.dumps({"prompt": [{"role": "user", "content": "x"}], "chosen": [{"role": "user", "content": "y"}],
                              "rejected": [{"role": "assistant", "content": "z"}]}) + "\n", "data.jsonl, line 2: \"chosen\" goes on after the prompt with the role"),
}


@pytest.mark.parametrize("name", LINES)
def test_a_wrong_line_is_named(place, given, tmp_path, name):  # noqa: F811
    line, tells = LINES[name]
    (tmp_path / "data.jsonl").write_text(json.dumps({"prompt": "a", "chosen": "b", "rejected": "c"}) + "\n" + line)
    done = dpo(place, given, tmp_path / "out", data=tmp_path / "data.jsonl", code=2)
    assert tells in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize("change, tells", [
    (dict(beta=0), "beta is 0; it must be positive"),
    (dict(label_smoothing=0.5), "label_smoothing is 0.5; it must be at least 0 and less than 0.5"),
    (dict(length=4), "none has both answers begin within 5 tokens: give a larger length"),
    (dict(layers=3), "There is no option --layers"),
    (dict(z_loss=1e-4), "There is no option --z-loss"),
])
def test_a_wrong_command(place, given, tmp_path, change, tells):  # noqa: F811
    done = dpo(place, given, tmp_path / "out", code=2, **change)
    assert tells in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def test_what_is_no_file_of_pairs(place, given, tmp_path):  # noqa: F811
    (tmp_path / "notes.txt").write_text("One, two, three.")
    done = dpo(place, given, tmp_path / "out", data=tmp_path / "notes.txt", code=2)
    assert "notes.txt is no file of preferences" in done.stderr
    done = llm.run("finetune", *llm.words(model=place / "model", data=given / "pairs.jsonl", out=tmp_path / "out", beta=1), code=2)
    assert "There is no option --beta" in done.stderr


def test_going_on_with_other_pairs_is_refused(place, given, tmp_path):  # noqa: F811
    dpo(place, given, tmp_path / "out", steps=2)
    write(tmp_path / "other.jsonl", pairs(61, seed=3))
    done = dpo(place, given, tmp_path / "out", "--resume", data=tmp_path / "other.jsonl", steps=4, code=2)
    assert "it was made with objective dpo on 60 pairs (" in done.stderr and "give the same" in done.stderr
