"""Trains a checkpoint in PyTorch, and prints JSON like `athanor-llm bench`'s: as bench/engine_vs_torch says, on the tokens that it
makes, at one rate; as bench/pretrain_vs_torch says, on a token file in the order of `athanor-llm pretrain`, at its rates."""

import argparse
import json
import math
import os
import pathlib
import statistics
import time

import numpy
import torch
from safetensors.torch import load_file
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM


def status_bytes(field):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))


def batch_of(step, batch, length, vocabulary):
    """The tokens that engine/cli/bench.cc makes."""
    first = (step - 1) * batch * (length + 1)
    number = torch.arange(first, first + batch * (length + 1), dtype=torch.int64) + 1
    return ((number * 2654435761 & 0xFFFFFFFF) >> 8).remainder(vocabulary).view(batch, length + 1)


class TokenFile:
    """A token file as engine/data/token_file.h lays it out, and its sequences in the order of engine/data/token_sequences.h."""

    MASK = (1 << 64) - 1

    def __init__(self, path, length, seed=1):
        content = pathlib.Path(path).read_bytes()
        assert content[:8] == b"ATHTOKEN"
        ids = numpy.frombuffer(content, dtype={2: "<u2", 4: "<u4"}[int.from_bytes(content[12:16], "little")], offset=64)
        self.ids, self.length, self.seed = torch.from_numpy(ids.astype(numpy.int64)), length, seed
        self.windows = (len(ids) - 1) // length

    def _mixed(self, a, b):
        """SplitMix64: the first number of a state that is the first number of state a, mixed with b."""
        def next_of(state):
            state = (state + 0x9E3779B97F4A7C15) & self.MASK
            z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & self.MASK
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & self.MASK
            return z ^ (z >> 31)

        return next_of(next_of(a) ^ b)

    def _permuted(self, index, count, key):
        half = max(1, ((count - 1).bit_length() + 1) // 2)
        mask = (1 << half) - 1
        while True:
            left, right = index >> half, index & mask
            for turn in range(4):
                left, right = right, left ^ (self._mixed((key + turn) & self.MASK, right) & mask)
            index = left << half | right
            if index < count:
                return index

    def batch(self, step, batch):
        rows = []
        for number in range((step - 1) * batch, step * batch):
            key = self._mixed(self.seed, number // self.windows)
            offset = self._mixed(key, 0) % ((len(self.ids) - 1) % self.length + 1)
            first = offset + self._permuted(number % self.windows, self.windows, key) * self.length
            rows.append(self.ids[first:first + self.length + 1])
        return torch.stack(rows)

    def in_order(self, count):
        """The first windows one after the other: what is held out is evaluated so."""
        count = min(count, self.windows)
        return torch.stack([self.ids[i * self.length:(i + 1) * self.length + 1] for i in range(count)])


def cosine_rate(step, steps, peak, warmup):
    """To a tenth of the peak, as engine/train/schedule.h."""
    if step <= warmup:
        return peak * step / warmup
    part = (step - warmup) / max(1, steps - warmup)
    return peak * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * part)))


def loss_of(model, tokens):
    return model(input_ids=tokens[:, :-1], labels=tokens[:, :-1], shift_labels=tokens[:, 1:].contiguous()).loss


def evaluate(model, held_out, sequences, batch):
    windows = held_out.in_order(sequences)
    with torch.no_grad():
        return sum(loss_of(model, part).item() * len(part) for part in windows.split(batch)) / len(windows)


def product_rate(dtype, size=1536, long_s=1.5):
    a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    best_s, start = float("inf"), time.perf_counter()
    while time.perf_counter() - start < long_s:
        begin = time.perf_counter()
        torch.matmul(a, b.T)
        best_s = min(best_s, time.perf_counter() - begin)
    return 2 * size**3 / best_s


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", help="folder with config.json and model.safetensors")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--lora", type=int, default=0, help="rank of PEFT's adapters on all linear layers; 0: all is trained")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--products", action="store_true")
    parser.add_argument("--tokens", help="token file to train on, in place of tokens that are made")
    parser.add_argument("--held-out", help="token file to evaluate on, before and after")
    parser.add_argument("--evaluate-sequences", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--warmup-steps", type=int, help="of a cosine to a tenth of the rate; left out: the rate is constant")
    parser.add_argument("--save", help="folder for the trained model")
    given = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    if given.products:
        print(json.dumps({f"product_flops_{name}": product_rate(getattr(torch, name)) for name in ("float32", "bfloat16")}))
        return
    if given.lora:
        import peft  # noqa: F401  its imports are not the model's memory
    # What the first call of anything brings along is not the model's.
    functional.scaled_dot_product_attention(*torch.randn(3, 1, 1, 8, 8))
    before = status_bytes("VmRSS")
    config = LlamaConfig.from_pretrained(given.model, attn_implementation="sdpa")
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    model = model.to_empty(device="cpu")
    found = load_file(given.model + "/model.safetensors")
    model.load_state_dict(found, strict=False)
    del found
    rotary = model.model.rotary_emb
    fresh = type(rotary)(config)  # its frequencies are computed, not loaded
    model.model.rotary_emb = fresh
    model.tie_weights()
    if given.lora:
        from peft import LoraConfig, get_peft_model

        modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        model = get_peft_model(model, LoraConfig(r=given.lora, lora_alpha=32, lora_dropout=0.0, target_modules=modules, task_type="CAUSAL_LM"))
    model.train()
    model.config.use_cache = False
    forward = torch.compile(model) if given.compile else model
    groups = [{"params": [p for p in model.parameters() if p.requires_grad and p.dim() > 1], "weight_decay": 0.1},
              {"params": [p for p in model.parameters() if p.requires_grad and p.dim() == 1], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]], lr=given.learning_rate, betas=(0.9, 0.95), eps=1e-8, fused=True)
    text = TokenFile(given.tokens, given.length) if given.tokens else None
    held_out = TokenFile(given.held_out, given.length) if given.held_out else None
    evaluations = [evaluate(model, held_out, given.evaluate_sequences, given.batch)] if held_out else []
    losses, seconds = [], []
    for step in range(1, given.steps + 1):
        tokens = text.batch(step, given.batch) if text else batch_of(step, given.batch, given.length, config.vocab_size)
        begin = time.perf_counter()
        if given.warmup_steps is not None:
            for group in optimizer.param_groups:
                group["lr"] = cosine_rate(step, given.steps, given.learning_rate, given.warmup_steps)
        with torch.autocast("cpu", torch.bfloat16, enabled=given.dtype == "bfloat16"):
            loss = loss_of(forward, tokens)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        seconds.append(time.perf_counter() - begin)
    if held_out:
        evaluations.append(evaluate(model, held_out, given.evaluate_sequences, given.batch))
    if given.save:
        model.save_pretrained(given.save)
    kept = seconds[1:] or seconds
    print(json.dumps({"torch": torch.__version__, "losses": losses, "evaluations": evaluations, "step_s": seconds, "memory_peak_bytes": status_bytes("VmHWM") - before,
                      "tokens_per_s": given.batch * given.length / statistics.median(kept)}))


if __name__ == "__main__":
    main()
