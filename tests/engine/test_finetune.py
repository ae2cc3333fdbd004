"""`athanor-llm finetune` against PyTorch: the same masked loss on the same chats, laid out by transformers' own
apply_chat_template; the same curve; any number of ranks; stopped and gone on with; and what transformers loads."""

import json
import shutil
import signal

import numpy
import pytest
import tokenizers
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import llm
from probe import relative_error

torch.set_num_threads(1)  # these models are too small for more

TEMPLATE = ("{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['role'] == 'assistant' %}{% generation %}"
            "{{ m['content'] + '<|im_end|>' }}{% endgeneration %}{% else %}{{ m['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
# What models really ship does not mark the answers; ours finds them nevertheless.
UNMARKED = TEMPLATE.replace("{% generation %}", "").replace("{% endgeneration %}", "")
LENGTH = 96
RUN = dict(length=LENGTH, batch=4, micro_batch=2, steps=24, learning_rate=3e-3, warmup_steps=4, weight_decay=0.1, log_every=1, threads=1,
           held_out=0, sample_tokens=0, seed=5)


def chats(count, seed=1):
    """Chats with something to learn in them: answers that count on from the question."""
    rng = numpy.random.default_rng(seed)
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    made = []
    for _ in range(count):
        messages = [{"role": "system", "content": "Count on."}] if rng.random() < 0.3 else []
        for _ in range(rng.integers(1, 3)):
            first = int(rng.integers(0, 7))
            messages += [{"role": "user", "content": f"After {names[first]} come? é"},
                         {"role": "assistant", "content": " ".join(names[first + 1:first + 1 + rng.integers(1, 4)]) + "."}]
        made.append(messages)
    return made


def write_chats(path, conversations):
    path.write_text("".join(json.dumps({"messages": messages}) + "\n" for messages in conversations))
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """model/: a small random Llama as transformers saves it; chats.jsonl, other.jsonl."""
    folder = tmp_path_factory.mktemp("place")
    write_chats(folder / "chats.jsonl", chats(60))
    write_chats(folder / "other.jsonl", chats(12, seed=2))
    learner = tokenizers.Tokenizer(tokenizers.models.BPE())
    learner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    learner.decoder = tokenizers.decoders.ByteLevel()
    learner.train_from_iterator([(folder / "chats.jsonl").read_text()], tokenizers.trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"]))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=learner, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.chat_template = UNMARKED
    torch.manual_seed(3)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=len(tokenizer) + 5, hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2,
        max_position_embeddings=128, tie_word_embeddings=False, initializer_range=0.08, eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id))
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return folder


def finetune(place, out, *flags, code=0, **settings):
    settings = dict(model=place / "model", data=place / "chats.jsonl", out=out) | RUN | settings
    return llm.run("finetune", *llm.words(**settings), *flags, code=code).stdout


def encoded(tokenizer, conversations):
    """Of each chat (ids, what is learnt), by transformers."""
    documents = []
    for messages in conversations:
        found = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True, chat_template=TEMPLATE)
        documents.append((found["input_ids"], found["assistant_masks"]))
    return documents


def masked_loss(model, documents):
    """(sum of the losses of what is learnt, how many those are). Padding comes last, so nothing sees it."""
    width = max(len(ids) for ids, _ in documents)
    tokens = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in documents])
    learnt = torch.tensor([mask + [0] * (width - len(mask)) for _, mask in documents]).bool()
    targets = torch.where(learnt, tokens, -100)[:, 1:]
    loss = torch.nn.functional.cross_entropy(model(tokens[:, :-1]).logits.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="sum")
    return loss, int((targets != -100).sum())


def loaded(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager"), AutoTokenizer.from_pretrained(folder)


def test_the_losses_are_pytorchs_from_the_first_step_to_the_last(place, tmp_path):
    """Every chat is in every step: what is compared is the loss, its gradient and the update, not the order."""
    conversations = chats(60)[:7]
    data = write_chats(tmp_path / "few.jsonl", conversations)
    model, tokenizer = loaded(place / "model")
    documents = encoded(tokenizer, conversations)
    held_out = encoded(tokenizer, chats(12, seed=2))
    longest = max(len(ids) for ids, _ in documents + held_out) - 1
    # Rows as long as the longest chat; as many as an epoch has make a step.
    dry = finetune(place, tmp_path / "dry", data=data, length=longest, steps=1)
    rows = int(dry.split("packed      ")[1].split()[0])
    printed = finetune(place, tmp_path / "out", data=data, length=longest, batch=rows, validation=place / "other.jsonl")
    ours = llm.losses(printed)

    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": RUN["weight_decay"]}, {"params": others, "weight_decay": 0}],
                                  lr=1, betas=(0.9, 0.95), eps=1e-8)
    for step in range(1, RUN["steps"] + 1):
        total, count = masked_loss(model, documents)
        loss = total / count
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        peak, warm, steps = RUN["learning_rate"], RUN["warmup_steps"], RUN["steps"]
        done = (step - warm) / (steps - warm)
        rate = peak * step / warm if step <= warm else 0.1 * peak + 0.9 * peak * 0.5 * (1 + numpy.cos(numpy.pi * done))
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        assert float(ours[step]) == pytest.approx(loss.item(), abs=1e-5 if step == 1 else 1e-3), step
    assert float(ours[RUN["steps"]]) < float(ours[1]) - 1
    with torch.no_grad():
        total, count = masked_loss(model, held_out)
    assert float(ours[f"evaluation {RUN['steps']}"]) == pytest.approx((total / count).item(), abs=1e-3)
    for name, value in load_file(tmp_path / "out/model.safetensors").items():
        assert relative_error(value.numpy(), dict(model.named_parameters())[name].detach().numpy()) < 5e-3, name


@pytest.fixture(scope="module")
def trained(place, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "model"
    return out, finetune(place, out, validation=place / "other.jsonl")


def test_what_it_makes_is_the_models_own_checkpoint(place, trained):
    out, printed = trained
    before, after = llm.before_and_after(printed)
    assert after < before - 1
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (out / file).read_bytes() == (place / "model" / file).read_bytes()
    assert {path.name for path in out.iterdir()} == {path.name for path in (place / "model").iterdir()} | {"checkpoints"}
    model, tokenizer = loaded(out)
    documents = encoded(tokenizer, chats(12, seed=2))
    with torch.no_grad():
        total, count = masked_loss(model, documents)
    assert after == pytest.approx((total / count).item(), abs=1e-4)
    theirs = json.loads((place / "model/config.json").read_text())
    ours = json.loads((out / "config.json").read_text())
    same = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "max_position_embeddings", "eos_token_id", "bos_token_id")
    assert {name: ours[name] for name in same} == {name: theirs[name] for name in same}


@pytest.mark.parametrize("ranks", [2, 3])
def test_any_number_of_ranks_gives_the_same(place, trained, tmp_path, ranks):
    """Only rank 0 is given the model and the data."""
    expected = llm.losses(trained[1])
    first = ["finetune", *llm.words(model=place / "model", data=place / "chats.jsonl", validation=place / "other.jsonl", out=tmp_path / "model", **RUN)]
    others = [["finetune", *llm.words(out=tmp_path / f"rank-{rank}", **RUN)] for rank in range(1, ranks)]
    with llm.Ranks(ranks, commands=[first, *others]) as job:
        assert job.wait() == [0] * ranks, job.output
    found = llm.losses(job.output[0])
    assert found.keys() == expected.keys()
    assert max(abs(float(found[step]) - float(expected[step])) for step in expected) < 2e-5
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("ranks", [1, 2])
def test_stopped_and_gone_on_with_is_never_stopped(place, tmp_path, ranks):
    # By epochs: how many steps they are is found out anew.
    run = dict(model=place / "model", data=place / "chats.jsonl", **{k: v for k, v in RUN.items() if k != "steps"}) | dict(epochs=30, batch=2, held_out=0.1)
    command = ["finetune", *llm.words(**run)]
    with llm.Ranks(ranks, commands=[[*command, "--out", tmp_path / "whole"]] * ranks) as job:
        assert job.wait() == [0] * ranks, job.output
    expected = llm.losses(job.output[0])
    parts = []
    with llm.Ranks(ranks, commands=[[*command, "--out", tmp_path / "parts"]] * ranks) as job:
        job.read_until(r"step 9/")
        job.signal(signal.SIGTERM)
        assert job.wait() == [143] * ranks, job.output
    parts.append(job.output[0])
    with llm.Ranks(ranks, commands=[[*command, "--out", tmp_path / "parts", "--resume"]] * ranks) as job:
        assert job.wait() == [0] * ranks, job.output
    parts.append(job.output[0])
    assert "going on after step" in parts[1]
    assert llm.losses(parts[0]) | llm.losses(parts[1]) == expected
    for name in ("model.safetensors", "config.json", "tokenizer_config.json"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_gone_on_with_on_another_day_the_chats_are_the_same(place, tmp_path):
    """Llama-3's template writes the day into every chat: a run keeps the one that it began on."""
    (tmp_path / "dated.jinja").write_text("{{ strftime_now('%d %b %Y') }}\n" + UNMARKED)
    east, west = "EEE-14", "WWW+12"  # 26 hours apart: never the same day

    def run(out, where, *flags, **settings):
        settings = dict(model=place / "model", data=place / "chats.jsonl", out=tmp_path / out, chat_template=tmp_path / "dated.jinja") | RUN | settings
        done = llm.run("finetune", *llm.words(**settings), *flags, TZ=where)
        return llm.losses(done.stdout), done.stdout + done.stderr

    first, _ = run("parts", east, steps=3)
    later, printed = run("parts", west, "--resume", steps=6)
    assert set(first) == {1, 2, 3} and set(later) == {4, 5, 6}
    assert "going on after step" in printed and "The text has changed" not in printed
    assert run("west", west, steps=3)[0] != first, "the day must be one that changes the chats"
    again, printed = run("parts", west, "--resume", steps=8)  # and what a run that went on keeps is the same
    assert set(again) == {7, 8} and "The text has changed" not in printed


def test_texts_completions_and_a_prompt_for_the_sample(place, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/notes.txt").write_text("One, two, three, four. " * 60)
    (tmp_path / "data/more.jsonl").write_text(json.dumps({"prompt": "one ", "completion": "two"}) + "\n" + json.dumps({"text": "three four"}) + "\n")
    printed = finetune(place, tmp_path / "out", data=tmp_path / "data", steps=3, prompt="After one come?", sample_tokens=8, temperature=0, held_out=0.3)
    assert "examples to train on" in printed and "held out" in printed
    assert "sample:\nAfter one come?\n" in printed
    assert llm.before_and_after(printed)


def test_a_sharded_bfloat16_model_is_read(place, tmp_path):
    model, tokenizer = loaded(place / "model")
    model.to(torch.bfloat16).save_pretrained(tmp_path / "model", max_shard_size="40KB")
    tokenizer.save_pretrained(tmp_path / "model")
    assert len(list((tmp_path / "model").glob("*.safetensors"))) > 1
    printed = finetune(place, tmp_path / "out", model=tmp_path / "model", steps=1)
    documents = encoded(tokenizer, chats(60))
    assert llm.losses(printed)[1] and len(documents) == 60
    assert (tmp_path / "out/model.safetensors").exists()


def test_pretraining_takes_a_models_shape_and_tokenizer(place, tmp_path):
    shutil.copytree(place / "model", tmp_path / "shape")
    (tmp_path / "shape/model.safetensors").unlink()
    (tmp_path / "text.txt").write_text("One, two, three, four. " * 200)
    printed = llm.run("pretrain", *llm.words(model=tmp_path / "shape", text=tmp_path / "text.txt", out=tmp_path / "out", steps=2, length=32, threads=1, log_every=1)).stdout
    assert float(llm.losses(printed)[1]) == pytest.approx(numpy.log(405), abs=0.5)
    config, theirs = (json.loads((folder / "config.json").read_text()) for folder in (tmp_path / "out", place / "model"))
    for name in ("vocab_size", "hidden_size", "num_hidden_layers", "max_position_embeddings", "tie_word_embeddings"):
        assert config[name] == theirs[name]
    assert (tmp_path / "out/tokenizer.json").read_bytes() == (place / "model/tokenizer.json").read_bytes()


# refusals

LINES = {
    "broken": ('{"messages": [}\n', "data.jsonl, line 2: not JSON"),
    "no answer": (json.dumps({"messages": [{"role": "user", "content": "x"}]}) + "\n", 'data.jsonl, line 2: none of its messages has the role "assistant"'),
    "no fields": ("{}\n", 'data.jsonl, line 2: it has neither "messages", nor "prompt" and "completion", nor "text"'),
}


@pytest.mark.parametrize("name", LINES)
def test_a_wrong_line_is_named(place, tmp_path, name):
    line, tells = LINES[name]
    (tmp_path / "data.jsonl").write_text(json.dumps({"text": "good"}) + "\n" + line)
    settings = dict(model=place / "model", data=tmp_path / "data.jsonl", out=tmp_path / "out")
    done = llm.run("finetune", *llm.words(**settings), code=2)
    assert tells in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("change, tells", [
    (dict(model=None), "There is no model to fine-tune: give --model PATH"),
    (dict(data=None), "There is nothing to learn from: give --data FILE"),
    (dict(out=None), "give --out DIR"),
    (dict(length=129), "length is 129, and the model's context is 128"),
    (dict(length=4), "none has anything to learn in its first 5 tokens"),
    (dict(steps=3, epochs=2), "steps is 3 and epochs is 2: give one of them"),
    (dict(epochs=0), "steps is 0; it must be a positive number"),
    (dict(layers=3), "There is no option --layers"),
    (dict(model="gone"), "gone does not exist"),
    (dict(chat_template="gone"), "gone"),
])
def test_a_wrong_command(place, tmp_path, change, tells):
    settings = dict(model=place / "model", data=place / "chats.jsonl", out=tmp_path / "out") | change
    done = llm.run("finetune", *llm.words(**{name: value for name, value in settings.items() if value is not None}), code=2)
    assert tells in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_model_without_a_chat_template_can_be_given_one(place, tmp_path):
    shutil.copytree(place / "model", tmp_path / "model")
    (tmp_path / "model/chat_template.jinja").unlink()
    done = llm.run("finetune", *llm.words(model=tmp_path / "model", data=place / "chats.jsonl", out=tmp_path / "out"), code=2)
    assert "chats.jsonl, line 1: the model has no chat template" in done.stderr and "--chat-template FILE" in done.stderr
    (tmp_path / "chatml.jinja").write_text(UNMARKED)
    expected = llm.losses(finetune(place, tmp_path / "expected", steps=2))
    assert llm.losses(finetune(place, tmp_path / "out", steps=2, model=tmp_path / "model", chat_template=tmp_path / "chatml.jinja")) == expected
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template == UNMARKED


# as the program of a job


def test_a_job_with_the_channels_model_and_train(place, tmp_path):
    folder = llm.contract(tmp_path / "ml", dict(task="finetune") | RUN, ("model", "train", "validation"))
    shutil.copytree(place / "model", folder / "input/data/model", dirs_exist_ok=True)
    shutil.copy(place / "chats.jsonl", folder / "input/data/train")
    shutil.copy(place / "other.jsonl", folder / "input/data/validation")
    by_hand = finetune(place, tmp_path / "out", validation=place / "other.jsonl")
    assert llm.losses(llm.run("train", "--contract", folder).stdout) == llm.losses(by_hand)
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (folder / "model" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


@pytest.mark.parametrize("hyperparameters, channels, tells", [
    (dict(task="finetune"), ("train",), 'no channel "model": give one with the model to fine-tune'),
    (dict(task="finetune"), ("model",), 'no channel "train"'),
    (dict(task="tune"), ("train",), 'task is "tune"; it must be pretrain'),
    (dict(task="finetune", layers=3), ("train", "model"), "layers is given, and so is a model"),
])
def test_a_wrong_job_leaves_the_reason(tmp_path, hyperparameters, channels, tells):
    folder = llm.contract(tmp_path / "ml", hyperparameters, channels)
    done = llm.run("train", "--contract", folder, code=2)
    assert tells in done.stderr and tells in (folder / "output/failure").read_text()
