"""A fuzzer that compares our tokenizers with their makers' (`tokenizers`, `sentencepiece`): texts made at random, ids that must be
the same. A difference is shrunk to the smallest text that still shows it, and printed with what makes it again.

    build/venv/torch/bin/python tests/engine/tokenizer_fuzz.py [NAME ...] [--seconds N | --cases N] [--seed N]

NAME: of tokenizer_models.py (default: all). The number of a case says what text it is, for every tokenizer alike: `--seed N
--cases 1` makes case N alone. Exits with 1 when it has found something."""

import argparse
import random
import sys
import time
import unicodedata

import tokenizer_models
import tokenizer_texts

CASES_PER_ROUND = 2000
# At its borders things go wrong: what is a letter, a digit, a space, a line; what joins; what stands before and after tokens.
BORDERS = ["", " ", "  ", "\n", "\r\n", "\t", "a", "A", "'", "'s", "'S", "’", "1", "12345", "٣", "²", ".", "...", "/", "_", "-", "▁", "é", "e\u0301", "\u0301", "\u0338",
           "\u200d", "\ufe0f", "\ufeff", "\u00a0", "\u3000", "\u2028", "\u0085", "世", "界。", "ひ", "カ", "각", "🙂", "👩‍👩", "ǅ", "ß", "ſ", "İ", "K", "\x00", "\x7f", "<", ">", "|", "<|", "|>", "<0x0A>"]


def _classes(rng):
    """Characters of one kind or two, from anywhere in Unicode."""
    pools = [tokenizer_texts.letters(rng, *rng.choice(tokenizer_texts.RANGES), 3) or "a" for _ in range(rng.randrange(1, 3))]
    pools.append(rng.choice(BORDERS) or " ")
    return "".join(rng.choice(rng.choice(pools)) for _ in range(rng.randrange(1, 12)))


def _edited(rng, text):
    for _ in range(rng.randrange(4)):
        begin = rng.randrange(len(text) + 1)
        end = min(len(text), begin + rng.randrange(1, 8))
        part = text[begin:end]
        part = rng.choice([lambda: "", lambda: part * 2, lambda: part.upper(), lambda: part.swapcase(), lambda: part[::-1], lambda: rng.choice(BORDERS) + part,
                           lambda: unicodedata.normalize("NFD", part), lambda: part.replace(" ", "\u00a0"), lambda: rng.choice(BORDERS) * rng.randrange(1, 40)])()
        text = text[:begin] + part + text[end:]
    return text


def case(number):
    """The text of a case, as bytes."""
    rng = random.Random(number)
    parts = []
    for _ in range(rng.randrange(1, 8)):
        kind = rng.random()
        if kind < 0.25:
            text = rng.choice(list(tokenizer_texts.real_texts().values()))
            start = rng.randrange(len(text) - 60)
            parts.append(_edited(rng, text[start:start + rng.randrange(1, 60)]))
        elif kind < 0.5:
            parts.append("".join(rng.choice(BORDERS) for _ in range(rng.randrange(1, 6))))
        elif kind < 0.7:
            special = rng.choice(tokenizer_texts.SPECIALS)
            parts.append(rng.choice(BORDERS) + (special if rng.random() < 0.8 else _edited(rng, special)) + rng.choice(BORDERS))
        elif kind < 0.85:
            parts.append(_classes(rng))
        else:
            parts.append(rng.choice(tokenizer_texts.WORDS))
    data = "".join(parts).encode()
    return tokenizer_texts.break_bytes(rng, data, rng.randrange(1, 5)) if data and rng.random() < 0.3 else data


def differing(peer, texts):
    """Numbers of the texts whose ids differ."""
    return [i for i, (theirs, ours) in enumerate(zip(peer.encode(texts), peer.ours(texts), strict=True)) if theirs != ours]


def shrunk(peer, text):
    """The smallest text that still differs: parts go, then characters become simple ones."""
    size = max(1, len(text) // 2)
    while size > 0:
        candidates = [text[:at] + text[at + size:] for at in range(0, len(text), max(1, size // 2))]
        found = differing(peer, candidates)
        if found:
            text = min((candidates[i] for i in found), key=len)
            size = min(size, max(1, len(text) // 2))
        else:
            size //= 2
    for simple in (b"a", b" ", b"1", b"."):
        for at in range(len(text) - 1, -1, -1):
            candidates = [text[:at] + simple + text[at + taken:] for taken in (1, 2, 3, 4) if text[at:at + 1] != simple]
            found = differing(peer, candidates) if candidates else []
            if found:
                text = candidates[found[-1]]
    return text


def report(name, peer, number, text):
    small = shrunk(peer, text)
    (theirs,), (ours,) = peer.encode([small]), peer.ours([small])
    return f"{name}: case {number} differs; the smallest such text is\n  {small!r}\n  theirs {theirs}\n  ours   {ours}"


def compare(name, numbers):
    """What differs in the cases of these numbers: a report of each of the first three, and a count of them all."""
    peer, texts = tokenizer_models.peer(name), [case(number) for number in numbers]
    found = differing(peer, texts)
    return [report(name, peer, numbers[i], texts[i]) for i in found[:3]], len(found)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--cases", type=int)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    names = arguments.names or list(tokenizer_models.SOURCES)
    if unknown := set(names) - set(tokenizer_models.SOURCES):
        parser.error(f"there is no tokenizer {', '.join(sorted(unknown))}; there are {', '.join(tokenizer_models.SOURCES)}")
    began, first, different = time.monotonic(), arguments.seed, 0
    while first - arguments.seed < (arguments.cases or sys.maxsize) and (arguments.cases or time.monotonic() - began < arguments.seconds):
        count = min(CASES_PER_ROUND, (arguments.cases or sys.maxsize) - (first - arguments.seed))
        for name in names:
            reports, found = compare(name, range(first, first + count))
            different += found
            print(*reports, sep="\n", end="\n" if reports else "", flush=True)
        first += count
        print(f"{first - arguments.seed} cases, {len(names)} tokenizers, {different} differences, {time.monotonic() - began:.0f} s", flush=True)
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
