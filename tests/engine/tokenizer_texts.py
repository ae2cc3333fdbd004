"""Texts to compare tokenizers on: real ones in many languages and scripts, code, every kind of character, special tokens, broken
UTF-8. All from this project and from packages of the distribution; the same seed gives the same texts on the same machine."""

import functools
import gettext
import gzip
import pathlib
import random
import sys
import unicodedata

from probe import ROOT

SPECIALS = ["<s>", "</s>", "<unk>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|eot_id|>", "<think>", "</think>",
            "<|start_header_id|>", "<|end_header_id|>", "<|python_tag|>", "<tool_call>", "</tool_call>", "[INST]", "[/INST]", "[TOOL_CALLS]",
            "<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜fim▁hole｜>", "<|endofprompt|>"]
WORDS = ["don't", "WE'LL", "I'm", "'S", "ſ's", "1234567", "3.14", "▁", "▁▁x", "<0x41>", "x=y+1;", "#include <a>", "\t\tif (a) {\n", "\r\n",
         "👨‍👩‍👧‍👦", "🇩🇪🇫🇷", "🫨", "e\u0301\u0323", "각", "\u1100\u1161\u11a8", "ﬁ", "Å", "½²", "你好，世界。", "こんにちは", "สวัสดี", "नमस्ते", "\u200b", "\ufeff",
         "\u0898\u0323", "McDonald'S", "http://a.b/c//d\n/", "\x00", "\x85", "\u180e", "ǅungla", "ⅣⅫ", "١٢٣٤"]
RANGES = [(0x20, 0x7F), (0xA0, 0x250), (0x300, 0x370), (0x370, 0x590), (0x5D0, 0x6FF), (0x900, 0xE7F), (0x1100, 0x1200), (0x1E00, 0x2000),
          (0x2000, 0x2C00), (0x3000, 0x3100), (0x4E00, 0xA000), (0xAC00, 0xD7A4), (0xF900, 0xFB00), (0x1F300, 0x1FB00), (0x10000, 0x110000)]
SPACES = " \n\t\r\u00a0\u2003\u3000\u2028\x0b\x85"
BROKEN = [b"\xff", b"\xc0", b"\xfe", b"\x80", b"\xe4\xbd", b"\xf0\x9f", b"\xf0\x9f\x99", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf5\x80", b"\xe0\x80", b"\xf4\x90\x80\x80"]


@functools.cache
def own_text():
    """English, code and Markdown: this project's own."""
    return "".join(path.read_text() for pattern in ("docs/*.md", "engine/model/*.cc", "engine/model/tokenizer/*.cc", "tests/engine/*.py")
                   for path in sorted(ROOT.glob(pattern)))


def _manual_pages(language):
    pages = []
    for path in sorted(pathlib.Path("/usr/share/man", language).glob("man*/*.gz")):
        try:
            pages.append(gzip.open(path).read().decode())
        except (OSError, UnicodeDecodeError):
            continue
    return "\n".join(pages)


def _names():
    """Countries, languages and scripts of the world, in all languages that somebody has translated them into."""
    names = []
    for path in sorted(pathlib.Path("/usr/share/locale").glob("*/LC_MESSAGES/iso_*.mo")):
        try:
            with open(path, "rb") as file:
                names.extend(text for text in gettext.GNUTranslations(file)._catalog.values() if isinstance(text, str))
        except (OSError, UnicodeDecodeError):
            continue
    random.Random(0).shuffle(names)
    return "\n".join(names)


def _code():
    folder = pathlib.Path(sys.modules["gettext"].__file__).parent
    return "".join(path.read_text(errors="ignore") for path in sorted(folder.glob("*.py")))


@functools.cache
def real_texts():
    """{what: text}, each of up to some MB; what the machine does not have is not there."""
    found = {"own": own_text(), "code": _code(), "names": _names()}
    found |= {language: _manual_pages(language) for language in ("ja", "zh_CN", "ru")}
    return {name: text[:3_000_000] for name, text in found.items() if len(text) > 10_000}


def letters(rng, low, high, count):
    """Characters that somebody has assigned, by the newest tables: see unassigned()."""
    return "".join(c for c in (chr(rng.randrange(low, high)) for _ in range(count)) if not unassigned(c))


@functools.cache
def unassigned(c):
    """By Unicode 16. Python's tables are older, those of `tokenizers` are its regular expressions'."""
    import tokenizers

    split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(r"\p{Cn}|\p{Cs}"), "isolated")
    return unicodedata.category(c) in ("Cn", "Cs") and (unicodedata.category(c) == "Cs" or split.pre_tokenize_str(c + "a")[0][0] == c)


def _part(rng):
    kind = rng.random()
    if kind < 0.45:
        text = rng.choice(list(real_texts().values()))
        start = rng.randrange(len(text) - 300)
        return text[start:start + rng.randrange(1, 300)]
    if kind < 0.6:
        return rng.choice(WORDS) + rng.choice(["", " ", "  "])
    if kind < 0.67:
        return rng.choice(SPECIALS)
    if kind < 0.75:
        return "".join(rng.choice(SPACES) for _ in range(rng.randrange(1, 20)))
    return letters(rng, *rng.choice(RANGES), rng.randrange(1, 30))


def mixed(seed, size):
    """Texts of `size` bytes in all: real text, code, every kind of character, special tokens."""
    rng, texts, total = random.Random(seed), [], 0
    while total < size:
        texts.append("".join(_part(rng) for _ in range(rng.randrange(1, 30))))
        total += len(texts[-1].encode())
    return texts


def broken(seed, size):
    """The same as bytes that are no UTF-8 here and there: characters cut through, bytes changed, lost and put in."""
    rng = random.Random(seed)
    return [break_bytes(rng, text.encode(), rng.randrange(1, 8)) for text in mixed(seed, size)]


def break_bytes(rng, data, times):
    for _ in range(times):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(3)
        if kind == 0:
            data = data[:at] + rng.choice(BROKEN) * rng.randrange(1, 3) + data[at:]
        elif kind == 1:
            data = data[:at] + data[at + 1:]
        else:
            data = data[:at] + bytes([rng.randrange(0x80, 0x100)]) + data[at + 1:]
    return data
