"""bench/engine_vs_torch: see there. Every measurement is a process of its own; ours and theirs take turns."""

import argparse
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("ATHANOR_BIN", ROOT / "build/bin"))
DTYPES = {"f32": "float32", "bf16": "bfloat16", "lora": "bfloat16"}


def run(*words):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))} ended with {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile")
    parser.add_argument("--shape", default="smollm2-135m")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--only", choices=[*DTYPES, "generate"], nargs="+", default=[*DTYPES, "generate"], help="what is measured")
    parser.add_argument("--lora-rank", type=int, default=16)
    parser.add_argument("--memory-part", type=float, default=0.58, help="of what the leaner PyTorch takes: ours is given no more")
    parser.add_argument("--optimizer", default="adamw", help="ours; PyTorch's is AdamW")
    given = parser.parse_args()
    names = [name for name in given.only if name in DTYPES]
    if names:
        measure_training(given, names)
    if "generate" in given.only:
        print(flush=True)
        sys.exit(subprocess.run([ROOT / "bench/generation"]).returncode)


def measure_training(given, names):
    print(f"Python {platform.python_version()}, PyTorch {importlib.metadata.version('torch')}, transformers "
          f"{importlib.metadata.version('transformers')}, {len(os.sched_getaffinity(0))} processors")
    print(f"{given.shape}, {given.batch} x {given.length} tokens a step, {given.steps} steps a run; the first is not counted\n")

    scratch = tempfile.TemporaryDirectory()
    sizes = ["--shape", given.shape, "--batch", given.batch, "--length", given.length]
    run(BIN / "athanor-llm", "bench", *sizes, "--steps", 1, "--save", scratch.name)

    def ours(name):
        lora = ["--lora-rank", given.lora_rank, "--lora-alpha", 32] if name == "lora" else []
        theirs = min(statistics.median(memory[peer, name]) for peer in peers if peer != "ours")
        return run(BIN / "athanor-llm", "bench", *sizes, "--steps", given.steps, "--dtype", DTYPES[name], "--optimizer", given.optimizer,
                   "--memory", given.memory_part * theirs / 2**30, *lora)

    def theirs(name, *flags):
        flags += ("--lora", given.lora_rank) if name == "lora" else ()
        return run(sys.executable, ROOT / "bench/lib/torch_train.py", "--model", scratch.name, "--batch", given.batch, "--length",
                   given.length, "--steps", given.steps, "--dtype", DTYPES[name], *flags)

    peers = {"eager": theirs}
    if not given.no_compile:
        peers["compile"] = lambda name: theirs(name, "--compile")
    peers["ours"] = ours  # the last: its memory is measured by theirs
    speed = {(peer, name): [] for peer in peers for name in DTYPES}
    memory = {(peer, name): [] for peer in peers for name in DTYPES}
    peaks, fractions, made_again = [], [], {}
    print(f"{'round':>5} {'type':>5} " + " ".join(f"{peer + ' tok/s':>14} {'MiB':>7} {'first loss':>10}" for peer in peers), flush=True)
    for number in range(1, given.rounds + 1):
        products = [run(BIN / "athanor-llm", "bench", "--products"), run(sys.executable, ROOT / "bench/lib/torch_train.py", "--products")]
        peaks.append(max(product["product_flops_bfloat16"] for product in products))
        for name in names:
            line, first = f"{number:>5} {name:>5} ", {}
            for peer, measure in peers.items():
                result = measure(name)
                speed[peer, name].append(result["tokens_per_s"])
                memory[peer, name].append(result["memory_peak_bytes"])
                first[peer] = result["losses"][0]
                line += f" {result['tokens_per_s']:>13.1f} {result['memory_peak_bytes'] / 2**20:>7.0f} {result['losses'][0]:>10.5f}"
                if peer == "ours":
                    made_again[name] = f"{result['recompute_layers']} x {result['recompute']}"
                if peer == "ours" and name == "bf16":
                    fractions.append(result["tokens_per_s"] * result["flops_per_token"] / peaks[-1])
            print(line, flush=True)
            allowed = 1e-4 if name == "f32" else 5e-3
            if any(abs(loss - first["eager"]) > allowed for loss in first.values()):
                sys.exit(f"They do not compute the same: first losses {first}")
    print(f"\na bfloat16 product of 1536 x 1536 x 1536: {statistics.median(peaks) * 1e-9:.0f} GFLOP/s\n")
    print("computed again in our backward pass:", ", ".join(f"{name} {what}" for name, what in made_again.items()), "\n")
    others = [peer for peer in peers if peer != "ours"]
    measured = [name for name in ("bf16", "f32", "lora") if name in names]
    for name in measured:
        best = max(others, key=lambda peer: statistics.median(speed[peer, name]))
        ratios = [mine / peer for mine, peer in zip(speed["ours", name], speed[best, name])]
        print(f"ratio {'lora_bf16_vs_peft' if name == 'lora' else 'train_' + name} {statistics.median(ratios):.2f}")
    for name in measured:
        best = max(others, key=lambda peer: statistics.median(speed[peer, name]))
        print(f"ratio memory_{name} {statistics.median(memory[best, name]) / statistics.median(memory['ours', name]):.2f}")
    if fractions:
        print(f"figure bf16_peak_fraction {statistics.median(fractions):.2f} fraction")


if __name__ == "__main__":
    main()
