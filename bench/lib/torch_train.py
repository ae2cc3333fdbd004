"""Trains a checkpoint in PyTorch as bench/engine_vs_torch says, and prints JSON like `athanor-llm bench`'s."""

import argparse
import json
import os
import statistics
import time

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
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]], lr=1e-3, betas=(0.9, 0.95), eps=1e-8, fused=True)
    losses, seconds = [], []
    for step in range(1, given.steps + 1):
        tokens = batch_of(step, given.batch, given.length, config.vocab_size)
        begin = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=given.dtype == "bfloat16"):
            loss = forward(input_ids=tokens[:, :-1], labels=tokens[:, :-1], shift_labels=tokens[:, 1:]).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        seconds.append(time.perf_counter() - begin)
    kept = seconds[1:] or seconds
    print(json.dumps({"torch": torch.__version__, "losses": losses, "step_s": seconds, "memory_peak_bytes": status_bytes("VmHWM") - before,
                      "tokens_per_s": given.batch * given.length / statistics.median(kept)}))


if __name__ == "__main__":
    main()
