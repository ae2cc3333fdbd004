"""bench/tokenizer: see there."""

import argparse
import os
import random
import statistics
import sys
import time

import sentencepiece
import tokenizers

import peers
import tokenizer_models
import tokenizer_texts

DOCUMENT = 4000  # characters


def documents(megabytes):
    """Parts of the real texts in turn, and one in ten of everything mixed; each ends as documents do in training."""
    rng, texts = random.Random(1), list(tokenizer_texts.real_texts().values())
    made, size = [], 0
    while size < megabytes * 1e6:
        text = texts[len(made) % len(texts)]
        start = rng.randrange(max(1, len(text) - DOCUMENT))
        made.append(text[start:start + DOCUMENT] if len(made) % 10 else "".join(tokenizer_texts.mixed(len(made), DOCUMENT)))
        made[-1] += "<|endoftext|>"
        size += len(made[-1].encode())
    return made


def timed(call):
    began = time.perf_counter()
    result = call()
    return result, time.perf_counter() - began


def rust(peer, texts, parallel):
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if parallel else "false"
    return timed(lambda: peer.tokenizer.encode_batch_fast(texts, add_special_tokens=False))


def measure(name, texts, rounds):
    """Median tokens a second: ours, theirs in one thread, theirs in all (None where there is no such form); and ours in MB/s."""
    peer = tokenizer_models.peer(name)
    on_text = isinstance(peer, tokenizer_models.HuggingFace)
    seconds = {"ours": [], "one": [], "all": []}
    for _ in range(rounds + 1):  # the first is to warm up
        ours, spent = peers.timed_encode(peer.path, texts, *peer.options)
        seconds["ours"].append(spent)
        if on_text:
            made, spent = rust(peer, texts, False)
            seconds["one"].append(spent)
            seconds["all"].append(rust(peer, texts, True)[1])
            theirs = [one.ids for one in made]
        else:
            theirs, spent = timed(lambda: peer.tokenizer.encode(texts, num_threads=1))
            seconds["one"].append(spent)
            seconds["all"].append(timed(lambda: peer.tokenizer.encode(texts, num_threads=len(os.sched_getaffinity(0))))[1])
        if ours != theirs:
            wrong = next(i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b)
            sys.exit(f"{name}: the ids of document {wrong} are not the same")
    tokens = sum(map(len, ours))
    median = {kind: statistics.median(spent[1:]) for kind, spent in seconds.items()}
    return tokens, median, sum(len(text.encode()) for text in texts) / 1e6 / median["ours"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=float, default=8)
    parser.add_argument("--names", default=",".join([*tokenizer_models.USUAL, "tekken", "mistral-v3.model"]))
    arguments = parser.parse_args()
    texts = documents(arguments.megabytes)
    threads = len(os.sched_getaffinity(0))
    print(f"tokenizers {tokenizers.__version__}, sentencepiece {sentencepiece.__version__} (*.model); {len(texts)} documents, "
          f"{sum(len(text.encode()) for text in texts) / 1e6:.1f} MB; all ids the same; thousand tokens a second\n"
          f"{'':>18} {'tokens':>9} {'ours, 1 thread':>15} {'theirs, 1 thread':>17} {f'theirs, {threads} threads':>18}")
    results = {}
    for name in arguments.names.split(","):
        tokens, median, megabytes_per_s = results[name] = measure(name, texts, arguments.rounds)
        print(f"{name:>18} {tokens:>9} {tokens / median['ours'] / 1e3:>15.0f} {tokens / median['one'] / 1e3:>17.0f} {tokens / median['all'] / 1e3:>18.0f}", flush=True)
    print()
    for name, (tokens, median, megabytes_per_s) in results.items():
        print(f"ratio tokenizer_{name} {median['one'] / median['ours']:.2f}")
        print(f"ratio tokenizer_{name}_vs_batch {median['all'] / median['ours']:.2f}")
        print(f"figure tokenizer_{name} {megabytes_per_s:.1f} MB/s")
    print(f"ratio tokenizer {min(median['one'] / median['ours'] for _, median, _ in results.values()):.2f}")


if __name__ == "__main__":
    main()
