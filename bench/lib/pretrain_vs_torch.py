"""bench/pretrain_vs_torch: see there. Every measurement is a process of its own."""

import argparse
import importlib.metadata
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("ATHANOR_BIN", ROOT / "build/bin"))
COMPARED = 20  # steps at the start; later, rounding has grown
ALLOWED = 1e-3
EVALUATED = 32  # sequences


def run(*words):
    """What it prints."""
    done = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))} ended with {done.returncode}")
    return done.stdout


def llm(*words):
    return run(BIN / "athanor-llm", *words)


def pretrain(*words):
    """Like what torch_train.py prints, from the lines of a run."""
    found, before = {"losses": [], "evaluations": [], "step_s": []}, None
    with subprocess.Popen([str(word) for word in (BIN / "athanor-llm", "pretrain", *words)], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            event, now = json.loads(line), time.monotonic()
            if event["event"] == "step":
                found["losses"].append(event["loss"])
                found["step_s"] += [] if before is None else [now - before]
                before = now
            elif event["event"] == "evaluation":
                found["evaluations"].append(event["loss"])
    if process.returncode != 0:
        sys.exit(f"athanor-llm pretrain ended with {process.returncode}")
    return found


def difference(ours, theirs, what):
    """The largest; ends where they are not the same."""
    most = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
    if not most < ALLOWED:
        sys.exit(f"They do not compute the same: {what} differ by up to {most}: {ours} and {theirs}")
    return most


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--hidden-size", type=int, default=256)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--text-bytes", type=int, default=12_000_000)
    parser.add_argument("--held-out-bytes", type=int, default=250_000)
    given = parser.parse_args()
    warmup = max(1, given.steps // 10)
    scratch = tempfile.TemporaryDirectory()
    folder = pathlib.Path(scratch.name)

    run(ROOT / "tools/dictionary-corpus", folder / "corpus", "--text-bytes", given.text_bytes)
    text, held_out = (folder / "corpus/text" / name / "dictionary.txt" for name in ("train", "validation"))
    held_out.write_text(held_out.read_bytes()[:given.held_out_bytes].decode(errors="ignore"))
    llm("tokenize", "train", "--text", text, "--vocabulary", given.vocabulary, "--out", folder / "tokenizer")
    for path in (text, held_out):
        llm("tokenize", "encode", "--tokenizer", folder / "tokenizer", "--text", path, "--out", path.with_suffix(".tokens"))
    sizes = ["--batch", given.batch, "--length", given.length]
    shape = ["--layers", given.layers, "--hidden-size", given.hidden_size, "--intermediate-size", 0, "--heads", 0, "--kv-heads", 0]
    begun = json.loads(llm("bench", "--shape", "small", *shape, "--vocabulary", given.vocabulary, *sizes, "--steps", 1, "--save", folder / "initial"))
    tokens = given.steps * given.batch * given.length
    print(f"{begun['parameters']:,} parameters, {text.stat().st_size:,} bytes of text, {given.steps} steps of {given.batch} x {given.length} tokens: "
          f"{tokens:,} tokens; PyTorch {importlib.metadata.version('torch')}, transformers {importlib.metadata.version('transformers')}, "
          f"{len(os.sched_getaffinity(0))} processors, load {os.getloadavg()[0]:.1f}\n", flush=True)

    rates = ["--learning-rate", given.learning_rate, "--warmup-steps", warmup, "--evaluate-sequences", EVALUATED]
    ours = pretrain("--text", text.with_suffix(".tokens"), "--validation", held_out.with_suffix(".tokens"), "--tokenizer", folder / "tokenizer",
                    "--out", folder / "ours", *shape, *sizes, "--micro-batch", given.batch, "--steps", given.steps, *rates, "--weight-decay", 0.1,
                    "--sample-tokens", 0, "--log", "json", "--log-every", 1)
    theirs = json.loads(run(sys.executable, ROOT / "bench/lib/torch_train.py", "--model", folder / "initial", "--tokens", text.with_suffix(".tokens"),
                            "--held-out", held_out.with_suffix(".tokens"), *sizes, "--steps", given.steps, *rates, "--save",
                            folder / "theirs").splitlines()[-1])
    first = min(COMPARED, given.steps)
    apart = difference(ours["losses"][:first], theirs["losses"][:first], f"the losses of the first {first} steps")
    difference(ours["evaluations"][:1], theirs["evaluations"][:1], "the held-out losses before")
    for file in (folder / "tokenizer").iterdir():
        if not (folder / "theirs" / file.name).exists():
            shutil.copy(file, folder / "theirs")
    bits, speed = {}, {}
    for name, found in {"ours": ours, "theirs": theirs}.items():
        bits[name] = json.loads(llm("eval", "--model", folder / name, "--text", held_out, "--length", given.length, "--json"))["bits_per_byte"]
        # The first step that was timed meets cold memory and unprepared products.
        steps_s = found["step_s"] if name == "ours" or len(found["step_s"]) == 1 else found["step_s"][1:]
        speed[name] = given.batch * given.length / statistics.median(steps_s)

    print(f"{'':22} {'ours':>9} {'PyTorch':>9}")
    for step in sorted({1, first, *range(100, given.steps, 100), given.steps}):
        print(f"{'loss of step ' + str(step):22} {ours['losses'][step - 1]:9.4f} {theirs['losses'][step - 1]:9.4f}")
    print(f"{'held-out loss before':22} {ours['evaluations'][0]:9.4f} {theirs['evaluations'][0]:9.4f}")
    print(f"{'held-out loss after':22} {ours['evaluations'][-1]:9.4f} {theirs['evaluations'][-1]:9.4f}")
    print(f"{'held-out bits a byte':22} {bits['ours']:9.4f} {bits['theirs']:9.4f}")
    print(f"{'tokens a second':22} {speed['ours']:9.0f} {speed['theirs']:9.0f}")
    print(f"\nthe losses of the first {first} steps differ by {apart:.1e} at most; load {os.getloadavg()[0]:.1f} in the end\n")
    print(f"ratio bits_per_byte {bits['theirs'] / bits['ours']:.4f}")
    print(f"ratio pretrain_tokens_per_s {speed['ours'] / speed['theirs']:.2f}")


if __name__ == "__main__":
    main()
