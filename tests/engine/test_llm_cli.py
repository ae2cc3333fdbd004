"""athanor-llm's command line: help that names everything, and bad input told in one line that says what to do."""

import contextlib
import json
import math
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import pytest
import safetensors.torch

import llm

SHAPE = "vocabulary layers hidden_size intermediate_size heads kv_heads head_dim rope_theta tied".split()
SETTINGS = """steps epochs batch micro_batch length dtype recompute recompute_layers memory lora_rank lora_alpha lora_dropout lora_layers base_dtype
    optimizer learning_rate schedule learning_rate_min warmup_steps decay_steps weight_decay beta1 beta2 adam_eps muon_momentum
    gradient_clip z_loss held_out evaluate_every evaluate_sequences checkpoint_every checkpoints_kept checkpoint_room
    non_finite_steps_max spike_factor spike_rollbacks_max seed threads log log_every prompt sample_tokens temperature""".split()
PREFERENCES = ["beta", "label_smoothing"]


OF_A_RUN = "epochs held_out evaluate_every evaluate_sequences log log_every prompt sample_tokens temperature".split()


def with_more(*more):
    """The settings that a command has beside those of all."""
    settings = [*SHAPE, *SETTINGS] if "task" in more else [name for name in SETTINGS if name != "z_loss"]
    for name in more:
        settings.insert(settings.index("checkpoint_every" if name == "task" else "held_out"), name)
    return settings


ALL_SETTINGS = with_more(*PREFERENCES, "task")
PLACES = ["out", "checkpoints", "resume", "dry_run"]
OPTIONS = {
    ("pretrain",): ["model", "text", "validation", "tokenizer", *PLACES, *SHAPE, *SETTINGS],
    ("finetune",): ["model", "data", "validation", "tokenizer", "chat_template", *PLACES, *SETTINGS],
    ("dpo",): ["model", "data", "validation", "tokenizer", "chat_template", *PLACES, *with_more(*PREFERENCES)],
    ("train",): ["model", "text", "validation", "tokenizer", "chat_template", *PLACES, "contract", *ALL_SETTINGS],
    ("eval",): ["model", "tokenizer", "adapter", "text", "choices", "length", "stride", "batch", "threads", "json"],
    ("generate",): ["model", "tokenizer", "adapter", "prompt", "prompts", "chat", "system", "tokens", "temperature", "top_k", "top_p", "min_p",
                    "repetition_penalty", "stop", "batch", "seed", "threads", "json"],
    ("convert",): ["model", "tokenizer", "out", "dtype"],
    ("merge",): ["model", "adapter", "out", "dtype"],
    ("bench",): ["shape", "products", "table", "operators", "json", "save", "checkpoints", *SHAPE,
                 *(name for name in SETTINGS if name not in OF_A_RUN)],
    ("tokenize", "train"): ["text", "vocabulary", "out"],
    ("tokenize", "encode"): ["text", "tokenizer", "out"],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with text.txt, texts that are none, and model/, trained on text.txt."""
    folder = tmp_path_factory.mktemp("place")
    text = llm.bible(folder / "corpus", 40_000) / "train/bible.txt"
    (folder / "text.txt").write_bytes(text.read_bytes())
    (folder / "empty.txt").write_bytes(b"")
    (folder / "short.txt").write_text("hello")
    (folder / "latin.txt").write_bytes("café au lait".encode("latin-1"))
    (folder / "binary.txt").write_bytes(b"a\0b")
    (folder / "nothing").mkdir()
    llm.train(text=folder / "text.txt", out=folder / "model", **llm.SMALL | dict(steps=3, checkpoint_every=1))
    llm.run("tokenize", "encode", "--tokenizer", folder / "model", "--text", folder / "text.txt", "--out", folder / "text.tokens")
    shutil.copytree(folder / "model", folder / "bare", ignore=shutil.ignore_patterns("checkpoints"))
    (folder / "chats.txt").write_text('{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]}\n')
    llm.run("tokenize", "train", "--text", folder / "text.txt", "--vocabulary", 300, "--out", folder / "other-tokenizer")
    return folder


def refused(*arguments, code=2):
    """The one line that it says."""
    done = llm.run(*arguments, code=code)
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("athanor-llm: "), done.stderr
    assert "step 1/" not in done.stdout
    return lines[0].removeprefix("athanor-llm: ")


# help


@pytest.mark.parametrize("command", OPTIONS, ids=" ".join)
def test_help_names_every_option_and_explains_it(command):
    text = llm.run(*command, "--help").stdout
    # An option that is too long for its column is explained in the next line.
    named = {}
    for line, following in zip(text.splitlines(), [*text.splitlines()[1:], ""]):
        if option := re.match(r"  (?:-\w,)?--([\w-]+)", line):
            named[option[1]] = line[34:] if line[33:34] == " " else following[34:]
    assert list(named) == ["help", *(option.replace("_", "-") for option in OPTIONS[command])]
    for name, explanation in named.items():
        assert re.match(r"\S+ \w+", explanation), f"--{name}: {explanation}"
    assert f"athanor-llm {' '.join(command)} " in text  # an example to begin with


def test_help_of_the_whole():
    text = llm.run("--help").stdout
    for command in ("pretrain", "finetune", "dpo", "train", "eval", "generate", "convert", "merge", "bench", "tokenize"):
        assert re.search(rf"^  {command}  +\w", text, re.M), command
    assert "Exit codes" in text
    assert re.search(r"^  train  +\w.*\n  encode  +\w", llm.run("tokenize", "--help").stdout, re.M)
    assert re.fullmatch(r"athanor-llm \d+\.\d+\.\d+\n", llm.run("--version").stdout)


# the command line

WRONG_LINES = [
    ("", "pretrain, finetune, dpo, train, eval, generate, convert, merge, bench, tokenize"),
    ("tran", "There is no command tran. Did you mean train?"),
    ("conjure", "There is no command conjure. There are: pretrain, finetune, dpo, train, eval, generate, convert, merge, bench, tokenize"),
    ("tokenize", "train, encode"),
    ("train --stpes 3", "There is no option --stpes. Did you mean --steps?"),
    ("train --conjured-rabbits", "There is no option --conjured-rabbits. `athanor-llm train --help` lists all"),
    ("train --text {place}/text.txt --out {new} stray", "stray"),
    ("train --out {new}", "give --text FILE"),
    ("train --text {place}/text.txt", "give --out DIR"),
    ("train --text {place}/text.txt --out {new} --steps", "--steps"),
    ("train --text {place}/text.txt --out {new} --steps many", 'steps is "many"; it must be a whole number'),
    ("train --text {place}/text.txt --out {new} --steps 0", "steps is 0; it must be a positive number"),
    ("train --text {place}/text.txt --out {new} --steps 99999999999999999999", "it must be a whole number"),
    ("train --text {place}/text.txt --out {new} --learning-rate nan", "it must be a number"),
    ("train --text {place}/text.txt --out {new} --learning-rate=-1", "learning_rate is -1; it must be positive"),
    ("train --text {place}/text.txt --out {new} --beta2 1", "beta2 is 1; it must be at least 0 and less than 1"),
    ("train --text {place}/text.txt --out {new} --held-out 0.9", "held_out is 0.9; it must be between 0 and 0.5"),
    ("train --text {place}/text.txt --out {new} --tied maybe", "it must be true or false"),
    ("train --text {place}/text.txt --out {new} --vocabulary 100", "between 257"),
    ("train --text {place}/text.txt --out {new} --seed=-1", "0 or more"),
    ("train --text {place}/text.txt --out {new} --hidden-size 50 --heads 7", "change one, or give head_dim"),
    ("train --text {place}/text.txt --out {new} --heads 4 --kv-heads 3", "multiple of num_key_value_heads (3)"),
    ("train --text {place}/text.txt --out {new} --hidden-size 36 --heads 4", "head_dim is 9; it must be even"),
    ("train --text {place}/text.txt --out {new} --log xml", 'log is "xml"; it must be text or json'),
    ("train --text {place}/text.txt --out {new} --schedule step", "it must be cosine, linear, wsd or constant"),
    ("train --text {place}/text.txt --out {new} --spike-factor 2", "checkpoint_every is 0; it must be positive for spike_factor"),
    ("finetune --model {place}/model --data {place}/text.txt --out {new} --lora-rank 4 --optimizer muon", "optimizer is muon"),
    ("train --text {place}/text.txt --out {new} --threads 1025", "threads is 1025; it must be between 0 and 1024"),
    ("train --text {place}/text.txt --out {new} --log-every 0", "log_every is 0; it must be 1 or more"),
    ("train --text {place}/text.txt --out {new} --layers 100000", "num_hidden_layers is 100000; it must lie between 1 and 4096"),
    ("train --text {place}/text.txt --out {new} --hidden-size 16777216 --intermediate-size 16777216 --layers 4096 --heads 1 --head-dim 2",
     "would have 3.5e+18 parameters"),
    ("train --text {place}/text.txt --out {new} --hidden-size 16777216 --intermediate-size 64 --heads 16777216 --head-dim 16777216", "parameters"),
    ("train --text {place}/text.txt --out {new} --batch 1099511627776", "it must be at most 4294967296"),
    ("eval --model {place}/model", "--text PATH is required for perplexity, or --choices FILE"),
    ("eval --model {place}/model --text {place}/text.txt --choices {place}/text.txt", "not both at once"),
    ("eval --model {place}/model --text {place}/text.txt --stride 33", "--stride is 33; it must be 1 to 32"),
    ("eval --model {place}/model --text {place}/text.txt --batch 0", "not in range 1"),
    ("eval --model {place}/model --text {place}/text.txt --length 33", "--length is 33; the model's context is 32"),
    ("eval --model {place}/model --text {place}/text.txt --length=-1", "--length is -1"),
    ("generate --model {place}/model --top-p 2", "top-p must be above 0 and at most 1, not 2"),
    ("generate --model {place}/model --temperature=-1", "temperature"),
    ("generate --model {place}/model --min-p 2", "min-p must be 0 to 1, not 2"),
    ("generate --model {place}/model --repetition-penalty 0", "repetition-penalty must be above 0"),
    ("generate --model {place}/model --prompt a stray", "stray"),
    ("generate --model {place}/model --batch 0", "not in range 1"),
    ("convert --model {place}/model", "--out is required"),
    ("convert --model {place}/model --out {new} --dtype int8", "it must be float32, bfloat16 or float16"),
    ("merge --model {place}/model --adapter {place}/nothing --out {new} --dtype int8", "--dtype is int8; it must be float32, bfloat16 or float16"),
    ("merge --model {place}/model --adapter {place}/nothing --output {new} --dtpye float16", "There is no option --dtpye. Did you mean --dtype?"),
    ("generate --model {place}/model --tokens=-1", "tokens must be 0 or more"),
    ("generate --model {place}/model --seed x", "--seed = x"),
    ("tokenize train --text {place}/text.txt --out {new} --vocabulary 3", "257"),
]


@pytest.mark.parametrize("line, tells", WRONG_LINES, ids=[line for line, _ in WRONG_LINES])
def test_a_wrong_command_line(place, tmp_path, line, tells):
    told = refused(*line.format(place=place, new=tmp_path / "new").split())
    assert tells in told
    assert not (tmp_path / "new").exists() or not list((tmp_path / "new").rglob("*.safetensors"))


# what it is given

WRONG_INPUTS = [
    ("train --text {place}/gone.txt --out {new}", "There is no file or folder {place}/gone.txt"),
    ("train --text {place}/nothing --out {new}", "{place}/nothing has no files"),
    ("train --text {place}/empty.txt --out {new}", "give more text or a smaller length"),
    ("train --text {place}/short.txt --out {new}", "give more text or a smaller length"),
    ("train --text {place}/latin.txt --out {new}", "{place}/latin.txt is not UTF-8 text: byte 3 is 0xe9. Convert it"),
    ("train --text {place}/binary.txt --out {new}", "{place}/binary.txt is not UTF-8 text: byte 1 is 0x00"),
    ("train --text {place}/text.txt --validation {place}/gone.txt --out {new}", "There is no file or folder {place}/gone.txt"),
    ("train --text {place}/text.txt --tokenizer {place}/gone --out {new}", "{place}/gone does not exist, so it holds no tokenizer"),
    ("train --text {place}/text.tokens --out {new}", "the tokenizer that made it is needed: --tokenizer DIR"),
    ("train --text {place}/text.tokens --tokenizer {place}/other-tokenizer --out {new}", "made with another tokenizer"),
    ("train --text {place}/text.txt --out {place}/model", "give --resume to go on with it, or another --out"),
    ("train --text {place}/text.txt --out {place}/bare", "{place}/bare has a model already, config.json: give another folder"),
    ("finetune --model {place}/model --data {place}/text.txt --out {place}/bare", "{place}/bare has a model already"),
    ("merge --model {place}/model --adapter {place}/nothing --out {place}/bare", "{place}/bare has a model already"),
    ("train --text {place}/text.txt --out /proc/gone", "/proc/gone"),
    ("finetune --model {place}/model --data {place}/text.tokens --out {new}", "{place}/text.tokens is a token file, which only `pretrain` reads"),
    ("finetune --model {place}/model --data {place}/chats.txt --out {new}", "{place}/chats.txt begins with an example as a line of JSON"),
    ("train --contract {place}/nothing", "There is no training job in {place}/nothing (it has no input/config). Outside of one, give --text and --out"),
    ("convert --model {place}/model --out {new}.gguf", "is named like a file; what is made is a folder"),
    ("eval --model {place}/gone --text {place}/text.txt", "{place}/gone does not exist; a model is a folder with config.json and safetensors, a .gguf file"),
    ("eval --model {place}/model --text {place}/empty.txt", "{place}/empty.txt is empty"),
    ("eval --model {place}/model --text {place}/latin.txt", "not UTF-8"),
    ("eval --model {place}/model --choices {place}/gone.jsonl", "{place}/gone.jsonl"),
    ("eval --model {place}/model --choices {place}/text.txt", "text.txt, line 1"),
    ("generate --model {place}/model --prompts {place}/gone.txt", "{place}/gone.txt"),
    ("generate --model {place}/model --prompts {place}/empty.txt", "every line is one"),
    ("generate --model {place}/model --prompt a --chat", "no chat template"),
    ("convert --model {place}/gone --out {new}", "{place}/gone does not exist"),
    ("generate --model {place}/nothing", "{place}/nothing has no config.json and is no model that can be read"),
    ("tokenize train --text {place}/empty.txt --out {new}", "nothing to learn from: {place}/empty.txt has empty files only"),
    ("tokenize train --text {place}/gone.txt --out {new}", "There is no file or folder"),
    ("tokenize encode --tokenizer {place}/nothing --text {place}/text.txt --out {new}", "holds no tokenizer"),
    ("tokenize encode --tokenizer {place}/model --text {place}/latin.txt --out {new}", "not UTF-8"),
]


@pytest.mark.parametrize("line", [
    "finetune --model {model} --data {place}/text.txt --out {out}",
    "finetune --model {model} --data {place}/text.txt --out {out} --lora-rank 4",
    "finetune --model {model} --data {place}/text.txt --out {out} --checkpoints {new}",
    "finetune --model {model} --data {place}/text.txt --out {out} --checkpoints {new} --resume",
    "finetune --model {model} --data {place}/text.txt --out {out} --dry-run",
    "dpo --model {model} --data {place}/text.txt --out {out}",
    "pretrain --model {model} --text {place}/text.txt --out {out}",
    "train --model {model} --text {place}/text.txt --out {out}",
    "convert --model {model} --out {out}",
    "merge --model {model} --adapter {place}/nothing --out {out}",
])
@pytest.mark.parametrize("path", ["model", "model/", "nothing/../model", "link"])
def test_no_model_is_overwritten_by_what_is_made_of_it(place, tmp_path, line, path):
    shutil.copytree(place / "model", tmp_path / "model", ignore=shutil.ignore_patterns("checkpoints"))
    (tmp_path / "nothing").mkdir()
    (tmp_path / "link").symlink_to("model")
    before = {file.name: file.read_bytes() for file in (tmp_path / "model").iterdir()}
    told = refused(*line.format(place=place, model=tmp_path / "model", out=f"{tmp_path}/{path}", new=tmp_path / "new").split())
    assert told == f"--out {tmp_path}/{path} is the model's own place, which is still needed: give another folder"
    assert {file.name: file.read_bytes() for file in (tmp_path / "model").iterdir()} == before


@pytest.mark.parametrize("line, tells", WRONG_INPUTS, ids=[line for line, _ in WRONG_INPUTS])
def test_a_wrong_input(place, tmp_path, line, tells):
    told = refused(*line.format(place=place, new=tmp_path / "new").split())
    assert tells.format(place=place) in told
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]  # nothing half made is left


def open_files(pid):
    found = []
    for descriptor in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(os.readlink(descriptor))
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("command", ["train", "encode"])
def test_nothing_is_left_of_a_run_that_a_signal_ends_while_it_reads(place, tmp_path, command, number):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    text = tmp_path / "long.txt"
    text.write_bytes((place / "text.txt").read_bytes() * 2000)  # seconds of encoding
    out = tmp_path / "out"
    line = {"train": ["train", "--text", text, "--tokenizer", place / "model", "--out", out],
            "encode": ["tokenize", "encode", "--text", text, "--tokenizer", place / "model", "--out", out]}[command]
    process = subprocess.Popen([llm.PROGRAM, *map(str, line)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                               env=llm.environment(TMPDIR=scratch))
    begun = tmp_path / "out.tmp" if command == "encode" else None
    while process.poll() is None and not (begun.exists() if begun else any("athanor-llm" in one for one in open_files(process.pid))):
        time.sleep(0.01)
    process.send_signal(number)
    printed = process.communicate(timeout=120)[0].decode()
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number), printed
    assert list(scratch.iterdir()) == []
    if number != signal.SIGKILL:
        assert [path for path in [out, *out.parent.glob("out.*"), *out.rglob("*")] if path.is_file()] == []


DAMAGES = {"empty": lambda content: b"", "cut": lambda content: content[:len(content) // 2], "other JSON": lambda content: b'{"a": 1}',
           "zeros": lambda content: bytes(len(content)), "longer": lambda content: content + b"more"}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_damaged_model(place, tmp_path, name, damage):
    shutil.copytree(place / "model", tmp_path / "model", ignore=shutil.ignore_patterns("checkpoints"))
    damaged = tmp_path / "model" / name
    damaged.write_bytes(DAMAGES[damage](damaged.read_bytes()))
    told = refused("generate", "--model", tmp_path / "model", code=1 if name == "model.safetensors" else 2)
    assert str(damaged) in told


@pytest.mark.parametrize("line", ["eval --model {place}/model --text {place}/text.txt --json", "eval --model {place}/model --text {place}/text.txt",
                                  "generate --model {place}/model --prompt And --tokens 2"])
def test_a_result_that_cannot_be_written_is_a_failure(place, line):
    with open("/dev/full", "w") as full:
        done = subprocess.run([llm.PROGRAM, *line.format(place=place).split()], stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode == 1, done
    assert re.fullmatch(r"athanor-llm: .*writing the result to standard output.*No space left on device\n", done.stderr, re.I), done.stderr


def test_a_text_is_as_long_as_is_asked_or_as_the_context(place):
    """The model's context is 32 tokens."""
    generate = ["generate", "--model", place / "model", "--temperature", 0, "--prompt", "And God said"]
    nothing, whole = llm.run(*generate, "--tokens", 0), llm.run(*generate, "--tokens", 2**63 - 1)
    assert nothing.stdout == "And God said\n" and nothing.stderr == ""
    assert len(whole.stdout) > len(nothing.stdout) and whole.stderr == "athanor-llm: the model's context of 32 tokens is full\n"
    few = llm.run(*generate, "--tokens", 3)
    assert whole.stdout.startswith(few.stdout.rstrip("\n")) and few.stderr == ""
    done = llm.run("generate", "--model", place / "model", "--prompt", "And God said, " * 20, code=2)
    assert done.stdout == "" and re.search(r"The prompt has \d+ tokens, and the model's context of 32 leaves none to write", done.stderr)


def test_parts_of_a_model_that_do_not_belong_together(place, tmp_path):
    shutil.copytree(place / "model", tmp_path / "model", ignore=shutil.ignore_patterns("checkpoints"))
    config = json.loads((tmp_path / "model/config.json").read_text())
    told = {}
    for name, value in [("vocab_size", 300), ("num_hidden_layers", 3), ("num_hidden_layers", 1), ("hidden_act", "gelu"), ("model_type", "bert"),
                        ("rope_scaling", {"rope_type": "dynamic", "factor": 8}), ("head_dim", 7), ("hidden_size", -1), ("hidden_size", "wide")]:
        (tmp_path / "model/config.json").write_text(json.dumps(config | {name: value}))
        damaged = (name, value) in [("num_hidden_layers", 3), ("vocab_size", 300)]  # other tensors than config.json says
        done = llm.run("generate", "--model", tmp_path / "model", code=1 if damaged else 2)
        assert len(done.stderr.splitlines()) == 1, done.stderr
        told[name, str(value)] = done.stderr
    for (name, _), text in told.items():
        word = {"vocab_size": "model.embed_tokens.weight", "num_hidden_layers": "model.layers.", "rope_scaling": "dynamic"}.get(name, name)
        assert word in text, text


@pytest.mark.parametrize("name", ["checkpoint.json", "shard-00000.safetensors"])
@pytest.mark.parametrize("damage", [*DAMAGES, "gone"])
def test_damaged_checkpoints_are_told_and_never_used(place, tmp_path, name, damage):
    """Each in turn is named as damaged; with none left the run ends, and leaves all as it is."""
    shutil.copytree(place / "model/checkpoints", tmp_path / "checkpoints")
    kept = sorted(folder.name for folder in (tmp_path / "checkpoints").iterdir())
    assert kept == ["step-00000002", "step-00000003"]
    for folder in kept:
        damaged = tmp_path / "checkpoints" / folder / name
        damaged.unlink() if damage == "gone" else damaged.write_bytes(DAMAGES[damage](damaged.read_bytes()))
    before = {path: path.read_bytes() for path in (tmp_path / "checkpoints").rglob("*") if path.is_file()}
    done = llm.run("train", "--resume", *llm.words(text=place / "text.txt", out=tmp_path / "model", checkpoints=tmp_path / "checkpoints",
                                                   **llm.SMALL | dict(steps=3)), code=1)
    for folder in kept:
        assert re.search(f"Skipping a damaged checkpoint.*{folder}", done.stderr), done.stderr
    assert f"Of the checkpoints in {tmp_path}/checkpoints none is whole. Bring one back; or move them away" in done.stderr
    assert {path: path.read_bytes() for path in (tmp_path / "checkpoints").rglob("*") if path.is_file()} == before
    assert not (tmp_path / "model/model.safetensors").exists()


def test_adapters_are_not_begun_from_damaged_checkpoints(place, tmp_path):
    run = llm.words(model=place / "model", data=place / "text.txt", out=tmp_path / "adapters", lora_rank=2, steps=4, batch=2, length=16, threads=1,
                    sample_tokens=0)
    llm.run("finetune", *run)
    shard, = (tmp_path / "adapters/checkpoints").rglob("shard-*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x7f")
    adapters = (tmp_path / "adapters/adapter_model.safetensors").read_bytes()
    done = llm.run("finetune", *run, "--resume", code=1)
    assert "none is whole" in done.stderr
    assert (tmp_path / "adapters/adapter_model.safetensors").read_bytes() == adapters


def test_a_checkpoint_of_another_model(place, tmp_path):
    shutil.copytree(place / "model/checkpoints", tmp_path / "checkpoints")
    told = refused("train", "--resume", *llm.words(text=place / "text.txt", out=tmp_path / "model", checkpoints=tmp_path / "checkpoints",
                                                   **llm.SMALL | dict(layers=1)))
    assert "of another model than this run's (num_hidden_layers 2, here 1)" in told and "give the run an empty checkpoint folder, or the model's own options" in told


def test_a_step_that_no_machine_has_memory_for(place, tmp_path):
    told = refused("train", *llm.words(text=place / "text.txt", out=tmp_path / "model", **llm.SMALL | dict(
        batch=2**32, micro_batch=2**32)), code=1)
    assert "Planning the memory for" in told and "no machine has that much" in told


def test_a_diverging_run_says_what_to_change(place, tmp_path):
    done = llm.run("train", *llm.words(text=place / "text.txt", out=tmp_path / "model", **llm.SMALL | dict(
        learning_rate=1e30, warmup_steps=0, weight_decay=0)), code=2)
    assert re.fullmatch(r"athanor-llm: Step \d+: the loss is .* Lower learning_rate .*\n", done.stderr), done.stderr
    assert not (tmp_path / "model/model.safetensors").exists()


def test_a_run_that_ends_diverged_fails_and_keeps_what_was_good(place, tmp_path):
    """Its first step ruins the parameters; the others, fewer than would end it, change nothing."""
    run = llm.words(text=place / "text.txt", out=tmp_path / "model", **llm.SMALL | dict(
        learning_rate=1e30, warmup_steps=0, weight_decay=0, steps=8, checkpoint_every=1, evaluate_sequences=0))
    done = llm.run("train", *run, code=2)
    assert re.search(r"Training has diverged: the last 7 of 8 steps were not finite. The model in .* is of little use. Lower learning_rate", done.stderr)
    assert sorted(path.name for path in (tmp_path / "model/checkpoints").iterdir()) == ["step-00000001", "step-00000008"]


@pytest.mark.parametrize("on", ["--text", "--choices"])
def test_a_model_that_is_no_numbers_is_not_evaluated(place, tmp_path, on):
    shutil.copytree(place / "bare", tmp_path / "model")
    weights = safetensors.torch.load_file(tmp_path / "model/model.safetensors")
    weights["model.norm.weight"][:] = math.nan
    safetensors.torch.save_file(weights, tmp_path / "model/model.safetensors")
    (tmp_path / "questions.jsonl").write_text('{"question": "a", "choices": [" b", " c"], "answer": 0}\n')
    told = refused("eval", "--model", tmp_path / "model", on, place / "text.txt" if on == "--text" else tmp_path / "questions.jsonl", "--json", code=1)
    assert told.startswith(f"The model {tmp_path}/model gives probabilities that are no numbers")


def test_a_reader_that_has_gone_is_no_failure(place):
    process = subprocess.Popen([llm.PROGRAM, "generate", "--model", place / "model", "--prompt", "a", "--tokens", "20"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    process.stdout.close()
    assert (process.wait(), process.stderr.read()) == (0, b"")


def test_two_runs_do_not_share_a_folder(place, tmp_path):
    run = llm.words(text=place / "text.txt", out=tmp_path / "model", **llm.SMALL | dict(steps=100000))
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may run under nohup, and a run would inherit that
    with llm.Ranks(1, commands=[["train", *run]]) as first:
        first.read_until("step 1/")
        assert f"Another run is writing to {tmp_path}/model" in refused("train", *run, "--checkpoints", str(tmp_path / "others"))
        first.signal(signal.SIGHUP)  # as when a terminal is closed
        assert first.wait() == [128 + signal.SIGHUP]
    assert re.search(r"stopped after step \d+ of 100000", first.output[0])
    assert list((tmp_path / "model/checkpoints").iterdir())
