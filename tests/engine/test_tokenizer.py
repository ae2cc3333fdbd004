"""The tokenizer that athanor-llm learns from real text, in Hugging Face's `tokenizers`: the same ids for any text."""

import pathlib
import random

import numpy
import pytest
import tokenizers

import llm

VOCABULARY = 1500
END_OF_TEXT = "<|endoftext|>"

AWKWARD = [
    "", " ", "\n", "\t\t \n", "   leading and trailing   ", "a  b   c    d", "\r\n\r\n", "\u00a0no-break\u2003em space\u3000wide",
    "can't won't I'll they've she'd we're it's I'm 'tis 'S 'LL", "1 12 123 1234567890 3.14159 1e-9 ½ ² Ⅻ ٣٤٥ १२३ 一二三",
    "Ünïcödé naïve façade e\u0301 (combining) ﬁ ligature ẞ İstanbul", "Привет, мир! Γειά σου κόσμε שלום עולם مرحبا بالعالم",
    "你好，世界。こんにちは世界 안녕하세요 สวัสดีชาวโลก नमस्ते", "👋🏽 👨‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 1️⃣ ☃️ 😀😃😄", "zero\u200bwidth\u200djoiner\ufeffmark soft\u00adhyphen",
    "\u202eright to left\u202c", "\x01\x02\x1b[31mcontrol\x7f\x85\u2028line\u2029paragraph\x0b\x0c", "\U0010ffff\ufffd\ue000 private",
    "def f(x: int) -> str:\n    return f\"{x!r:>10}\"  # done\n", "for(;;){a[i]+=b->c<<2;}//\t\\n\\\\", "<html>&amp;</html> https://a.b/c?d=e&f=%20#g",
    "$1,000.00 50% #tag @user _under_score_ **bold** `code` ~~~ ---- ....... !!!???", "A" * 500, "ab" * 400, " " * 300, "\n" * 300,
    "mixed \n \n\n  \t\n end", "İ ı ß ſ K Å", "x\u0301\u0302\u0303\u0304\u0305", "tab\tseparated\tvalues\n1\t2\t3\n",
]


def a_megabyte(real):
    """Real text, code, and every kind of character in random order, in a file's worth of pieces."""
    rng = random.Random(7)
    pieces = [real[:400_000], pathlib.Path(__file__).read_text()]
    ranges = [(0x20, 0x7F), (0xA0, 0x250), (0x370, 0x590), (0x5D0, 0x6FF), (0x900, 0xE7F), (0x2000, 0x2BFF), (0x3000, 0x30FF),
              (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xE000, 0xFFFD), (0x1F300, 0x1FAFF), (0x10000, 0x10FFFF)]
    size = sum(len(piece.encode()) for piece in pieces)
    while size < 1_000_000:
        kind = rng.random()
        if kind < 0.3:
            piece = rng.choice(AWKWARD)
        elif kind < 0.5:
            start = rng.randrange(len(real) - 200)
            piece = real[start:start + rng.randrange(1, 200)]
        elif kind < 0.6:
            piece = "".join(rng.choice(" \n\t\r\u00a0\u2003") for _ in range(rng.randrange(1, 30)))
        elif kind < 0.7:
            piece = str(rng.randrange(10 ** rng.randrange(1, 30)))
        else:
            low, high = rng.choice(ranges)
            piece = "".join(chr(rng.randrange(low, high)) for _ in range(rng.randrange(1, 40)))
        piece = piece.replace(END_OF_TEXT, "")
        pieces.append(piece)
        size += len(piece.encode())
    return "".join(pieces)


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    text = llm.bible(folder / "corpus", 1_000_000) / "train/bible.txt"
    llm.run("tokenize", "train", "--text", text, "--vocabulary", VOCABULARY, "--out", folder / "tokenizer")
    return folder / "tokenizer", text.read_text()


def ours(tokenizer, folder, text):
    (folder / "text.txt").write_bytes(text.encode())
    llm.run("tokenize", "encode", "--tokenizer", tokenizer, "--text", folder / "text.txt", "--out", folder / "text.tokens")
    return llm.token_ids(folder / "text.tokens")


def test_a_megabyte_of_text_has_the_same_ids(learned, tmp_path):
    folder, real = learned
    theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert theirs.get_vocab_size() == VOCABULARY
    text = a_megabyte(real)
    assert len(text.encode()) >= 1_000_000
    expected = theirs.encode(text).ids
    found = ours(folder, tmp_path, text)
    # A file is a text, and ends as one; all else is the text's.
    assert found[-1] == theirs.token_to_id(END_OF_TEXT)
    numpy.testing.assert_array_equal(found[:-1], expected)
    assert len(set(expected)) > VOCABULARY * 0.9  # most of what was learned was at work
    assert theirs.decode(found[:-1], skip_special_tokens=False) == text
    # It was learned from real text: a token is worth several letters of it.
    assert len(real[:400_000]) / len(theirs.encode(real[:400_000]).ids) > 3


@pytest.mark.parametrize("text", AWKWARD, ids=range(len(AWKWARD)))
def test_an_awkward_text_has_the_same_ids(learned, tmp_path, text):
    folder, _ = learned
    theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    found = ours(folder, tmp_path, text)
    assert found[:-1].tolist() == theirs.encode(text).ids
    assert theirs.decode(found[:-1], skip_special_tokens=False) == text


def test_the_end_of_a_text_is_one_token_wherever_it_stands(learned, tmp_path):
    folder, _ = learned
    theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    text = f"one{END_OF_TEXT}two {END_OF_TEXT}\n{END_OF_TEXT}"
    found = ours(folder, tmp_path, text)
    assert found[:-1].tolist() == theirs.encode(text).ids
    assert found.tolist().count(theirs.token_to_id(END_OF_TEXT)) == 4


def test_the_same_text_gives_the_same_tokenizer(learned, tmp_path):
    folder, real = learned
    (tmp_path / "text.txt").write_text(real)
    llm.run("tokenize", "train", "--text", tmp_path / "text.txt", "--vocabulary", VOCABULARY, "--out", tmp_path)
    assert (tmp_path / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()


@pytest.mark.parametrize("pre_tokenizer", ["llama 3", "digits"])
def test_a_tokenizer_that_others_made(learned, tmp_path, pre_tokenizer):
    """Hugging Face's trainer and the cuts of other models, read by us."""
    from tokenizers import decoders, models, pre_tokenizers, trainers

    _, real = learned
    made = tokenizers.Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pre_tokenizer == "digits")
    llama3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
              r"|\s*[\r\n]+|\s+(?!\S)|\s+")
    first = {"llama 3": lambda: pre_tokenizers.Split(tokenizers.Regex(llama3), "isolated"),
             "digits": lambda: pre_tokenizers.Digits(individual_digits=True)}[pre_tokenizer]()
    made.pre_tokenizer = pre_tokenizers.Sequence([first, byte_level])
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator([real[:300_000]], trainers.BpeTrainer(
        vocab_size=900, special_tokens=[END_OF_TEXT], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    made.save(str(tmp_path / "tokenizer.json"))
    text = a_megabyte(real)[380_000:700_000]
    found = ours(tmp_path, tmp_path, text)
    assert found[:-1].tolist() == made.encode(text).ids
