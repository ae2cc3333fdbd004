"""bench/generation: see there."""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import gguf
import numpy
import torch
import transformers
from safetensors.torch import load_file

import peers
from test_gguf import gguf_name, pairs_from_halves

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get("ATHANOR_BIN", ROOT / "build/bin")) / "athanor-llm"
PROMPT = "Tell me a long story about a lighthouse keeper who finds a message in a bottle."


def ours(model, arguments):
    done = subprocess.run([PROGRAM, "generate", "--model", model, "--chat", "--prompt", PROMPT, "--temperature", "0", "--tokens",
                           str(arguments.tokens), "--threads", str(arguments.threads), "--json"], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


class Transformers:
    def __init__(self, folder, dtype):
        self.model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
        self.model.generation_config.eos_token_id = None  # it shall not stop either

    def __call__(self, prompt, count):
        ids = torch.tensor([prompt])
        began = time.perf_counter()
        with torch.inference_mode():
            made = self.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False, pad_token_id=0)
        return made[0, len(prompt):].tolist(), time.perf_counter() - began


class LlamaCpp:
    def __init__(self, path, threads):
        worker = pathlib.Path(__file__).with_name("llamacpp_worker.py")
        self.process = subprocess.Popen([os.environ["LLAMA_PYTHON"], worker, path, str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.version = json.loads(self.process.stdout.readline())["ready"]

    def __call__(self, prompt, count):
        self.process.stdin.write(json.dumps({"prompt": prompt, "tokens": count}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return answer["tokens"], answer["seconds"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def write_bfloat16_gguf(source, checkpoint, path):
    """The GGUF file `source` with the checkpoint's numbers, its matrices in bfloat16."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(path, "llama")
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name not in ("general.architecture", "general.file_type"):
            kind = field.types[0]
            writer.add_key_value(field.name, field.contents(), kind, field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    config = json.loads((checkpoint / "config.json").read_text())
    for name, value in load_file(checkpoint / "model.safetensors").items():
        heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}.get(name.split(".")[-2])
        numbers = value.float().numpy()
        numbers = numpy.ascontiguousarray(pairs_from_halves(numbers, heads) if heads else numbers)
        kind = gguf.GGMLQuantizationType.BF16 if numbers.ndim == 2 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(gguf_name(name), gguf.quantize(numbers, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    scratch = pathlib.Path(tempfile.mkdtemp(prefix="athanor-bench-"))
    try:
        run(arguments, scratch)
    finally:
        shutil.rmtree(scratch)


def run(arguments, scratch):
    q4, checkpoint, bf16 = peers.smollm2(), scratch / "bfloat16", scratch / "bfloat16.gguf"
    subprocess.run([PROGRAM, "convert", "--model", q4, "--out", checkpoint, "--dtype", "bfloat16"], check=True, stdout=subprocess.DEVNULL)
    write_bfloat16_gguf(q4, checkpoint, bf16)
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": PROMPT}], add_generation_prompt=True, return_dict=True).input_ids

    llama_q4, llama_bf16 = LlamaCpp(q4, arguments.threads), LlamaCpp(bf16, arguments.threads)
    programs = {
        "athanor bf16": lambda: (lambda made: (made["tokens"], made["seconds"]))(ours(checkpoint, arguments)),
        "transformers f32": lambda model=Transformers(checkpoint, torch.float32): model(prompt, arguments.tokens),
        "transformers bf16": lambda model=Transformers(checkpoint, torch.bfloat16): model(prompt, arguments.tokens),
        "llama.cpp bf16": lambda: llama_bf16(prompt, arguments.tokens),
        "athanor q4": lambda: (lambda made: (made["tokens"], made["seconds"]))(ours(q4, arguments)),
        "llama.cpp q4": lambda: llama_q4(prompt, arguments.tokens),
    }
    version = subprocess.run([PROGRAM, "--version"], check=True, capture_output=True, text=True).stdout.strip()
    print(f"{version}; transformers {transformers.__version__}, torch {torch.__version__}; llama.cpp of llama-cpp-python {llama_q4.version}; "
          f"{arguments.threads} threads\n{arguments.tokens} tokens after a prompt of {len(prompt)}, tokens/s")
    print(f"{'round':>5} " + " ".join(f"{name:>17}" for name in programs))
    tokens, rates = {}, {name: [] for name in programs}
    for number in range(arguments.rounds + 1):  # the first is to warm up
        for name, program in programs.items():
            tokens[name], seconds = program()
            if len(tokens[name]) != arguments.tokens:
                sys.exit(f"{name} made {len(tokens[name])} tokens instead of {arguments.tokens}: give fewer --tokens")
            rates[name].append(len(tokens[name]) / seconds)
        if number > 0:
            print(f"{number:>5} " + " ".join(f"{rate[-1]:>17.1f}" for rate in rates.values()), flush=True)
    llama_q4.close(), llama_bf16.close()
    median = {name: statistics.median(rate[1:]) for name, rate in rates.items()}
    print(f"{'':>5} " + " ".join(f"{rate:>17.1f}" for rate in median.values()))

    same = lambda a, b: next((i for i, (x, y) in enumerate(zip(tokens[a], tokens[b])) if x != y), arguments.tokens)
    if same("athanor bf16", "transformers f32") < arguments.tokens:
        sys.exit(f"transformers (float32) writes other tokens from the {same('athanor bf16', 'transformers f32') + 1}th on")
    print(f"\nour tokens are those of transformers in float32; llama.cpp, which rounds activations, has the same "
          f"{same('athanor bf16', 'llama.cpp bf16')} (bf16) and {same('athanor q4', 'llama.cpp q4')} (q4) first ones\n")
    theirs = max(median["transformers f32"], median["transformers bf16"])
    against = {kind: median[f"athanor {kind}"] / median[f"llama.cpp {kind}"] for kind in ("bf16", "q4")}
    print(f"ratio generate_vs_transformers {median['athanor bf16'] / theirs:.2f}")
    print(f"ratio generate_vs_llamacpp {min(against.values()):.2f}")
    for kind, ratio in against.items():
        print(f"ratio generate_vs_llamacpp_{kind} {ratio:.2f}")


if __name__ == "__main__":
    main()
