"""bench/checkpoints: see there. Every measurement is a process of its own."""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("ATHANOR_BIN", ROOT / "build/bin"))


def run(*words):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))} ended with {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def check_whole(folder, step, parameters):
    """The checkpoint of the last step, with at least the parameters and two moments of each."""
    checkpoint = folder / f"step-{step:08}"
    index = json.loads((checkpoint / "checkpoint.json").read_text())
    size = sum(path.stat().st_size for path in checkpoint.iterdir())
    if index["step"] != step or size < 3 * 4 * parameters:
        sys.exit(f"{checkpoint} is not whole: step {index['step']}, {size} bytes")
    return size


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=13)
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--shape", default="smollm2-135m")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--dtype", default="float32")
    given = parser.parse_args()
    # What the last step begins to write is waited for by the end of the run and not by a step.
    count = (given.steps - 1) // given.every
    if count < 1:
        sys.exit(f"{given.steps} steps have no checkpoint after every {given.every}: give more --steps")
    command = [BIN / "athanor-llm", "bench", "--shape", given.shape, "--batch", given.batch, "--length", given.length, "--steps", given.steps,
               "--dtype", given.dtype]
    print(f"{given.shape}, {given.dtype}, {given.batch} x {given.length} tokens a step, {given.steps} steps, a checkpoint after every "
          f"{given.every}; {len(os.sched_getaffinity(0))} processors, load {os.getloadavg()[0]:.1f}\n")
    print(f"{'round':>5} {'step without':>13} {'step with':>10} {'waited':>8} {'for':>4} {'a checkpoint':>13}", flush=True)
    stalls, slowdowns = [], []
    for number in range(1, given.rounds + 1):
        without = run(*command)
        with tempfile.TemporaryDirectory() as folder:
            with_them = run(*command, "--checkpoints", folder, "--checkpoint-every", given.every)
            size = check_whole(pathlib.Path(folder), given.steps, with_them["parameters"])
        if with_them["losses"] != without["losses"]:
            sys.exit(f"Checkpoints change what is computed: {with_them['losses']} and {without['losses']}")
        # Whole periods of steps after a checkpoint, so that each kind of step counts as often as it occurs.
        last = given.every * (1 + max(1, (given.steps - given.every) // given.every))
        step_s = statistics.mean(without["step_s"][given.every:last])
        stalls.append(with_them["checkpoint_wait_s"] / count / step_s)
        slowdowns.append(statistics.mean(with_them["step_s"][given.every:last]) / step_s - 1)
        print(f"{number:>5} {step_s:>11.3f} s {step_s * (1 + slowdowns[-1]):>8.3f} s {with_them['checkpoint_wait_s']:>6.3f} s {count:>4} "
              f"{size / 2**20:>9.0f} MiB", flush=True)
    print()
    print(f"figure checkpoint_stall {statistics.median(stalls):.4f} of a step")
    print(f"figure checkpoint_slowdown {statistics.median(slowdowns):.2f} of a step")


if __name__ == "__main__":
    main()
