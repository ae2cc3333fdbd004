"""The tokenizers of real models, in `tokenizers` and `sentencepiece` and in ours: the same ids for any text."""

import filecmp
import functools
import json
import pathlib
import random
import unicodedata

import pytest
import sentencepiece
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

import peers
from probe import ROOT

SPECIALS = ["<s>", "</s>", "<unk>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|eot_id|>", "<think>", "</think>"]
WORDS = ["don't", "WE'LL", "I'm", "'S", "ſ's", "1234567", "3.14", "▁", "▁▁x", "<0x41>", "x=y+1;", "#include <a>", "\t\tif (a) {\n", "\r\n",
         "👨‍👩‍👧‍👦", "🇩🇪🇫🇷", "e\u0301\u0323", "각", "\u1100\u1161\u11a8", "ﬁ", "Å", "½²", "你好，世界。", "こんにちは", "สวัสดี", "नमस्ते", "\u200b", "\ufeff"]
RANGES = [(0x20, 0x7F), (0xA0, 0x250), (0x300, 0x370), (0x370, 0x590), (0x5D0, 0x6FF), (0x900, 0xE7F), (0x1100, 0x1200), (0x1E00, 0x2000),
          (0x2000, 0x2C00), (0x3000, 0x3100), (0x4E00, 0xA000), (0xAC00, 0xD7A4), (0xF900, 0xFB00), (0x1F300, 0x1FB00), (0x10000, 0x110000)]


@functools.cache
def marks_unknown_to_them():
    """Combining marks that came after the tables of `tokenizers`: it leaves them where they are, and Unicode does not."""
    nfc = tokenizers.normalizers.NFC()
    return {chr(c) for c in range(0x300, 0x1F000) if unicodedata.combining(chr(c)) and any(
        nfc.normalize_str(before + chr(c)) != unicodedata.normalize("NFC", before + chr(c)) or
        nfc.normalize_str(chr(c) + before) != unicodedata.normalize("NFC", chr(c) + before) for before in ("a\u0301", "\u0334", "\u0abc"))}


@functools.cache
def real_text():
    """English, code and Markdown: this project's own."""
    return "".join(path.read_text() for pattern in ("docs/*.md", "engine/model/*.cc", "engine/model/tokenizer/*.cc", "tests/engine/*.py")
                   for path in sorted(ROOT.glob(pattern)))


def mixed(seed, size):
    """Texts of `size` bytes in all: real text, code, every kind of character, special tokens."""
    rng, real, texts, total = random.Random(seed), real_text(), [], 0
    while total < size:
        parts = []
        for _ in range(rng.randrange(1, 30)):
            kind = rng.random()
            if kind < 0.4:
                start = rng.randrange(len(real) - 300)
                parts.append(real[start:start + rng.randrange(1, 300)])
            elif kind < 0.55:
                parts.append(rng.choice(WORDS) + rng.choice(["", " ", "  "]))
            elif kind < 0.6:
                parts.append(rng.choice(SPECIALS))
            elif kind < 0.7:
                parts.append("".join(rng.choice(" \n\t\r\u00a0\u2003\u3000") for _ in range(rng.randrange(1, 20))))
            else:
                low, high = rng.choice(RANGES)
                letters = (chr(rng.randrange(low, high)) for _ in range(rng.randrange(1, 30)))
                parts.append("".join(c for c in letters if unicodedata.category(c) not in ("Cn", "Cs") and c not in marks_unknown_to_them()))
        texts.append("".join(parts))
        total += len(texts[-1].encode())
    return texts


@functools.cache
def smollm2_json():
    """SmolLM2's tokenizer as Hugging Face's, from the vocabulary of its GGUF file and the cuts that its model card states."""
    kept = peers.gguf_metadata(peers.smollm2())
    tokens, types = kept["tokenizer.ggml.tokens"], kept["tokenizer.ggml.token_type"]
    made = tokenizers.Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)},
                                           [tuple(merge.split(" ")) for merge in kept["tokenizer.ggml.merges"]]))
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([token for token, kind in zip(tokens, types) if kind == 3])
    folder = peers.FOLDER / "smollm2"
    folder.mkdir(exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    described = {name: kept.get("tokenizer.ggml." + name) for name in ("model", "pre", "tokens", "merges", "scores", "bos_token_id", "eos_token_id",
                                                                      "add_bos_token", "add_space_prefix")}
    described |= {"types": types, "chat_template": kept["tokenizer.chat_template"]}
    (folder / "smollm2.gguf.json").write_text(json.dumps({name: value for name, value in described.items() if value is not None}))
    return folder / "tokenizer.json"


def path_of(name):
    return smollm2_json() if name == "smollm2" else peers.from_npm(name) / "tokenizer.json"


def same(name, texts):
    theirs = tokenizers.Tokenizer.from_file(str(path_of(name)))
    expected = [one.ids for one in theirs.encode_batch(texts, add_special_tokens=False)]
    for text, ids, found in zip(texts, expected, peers.encode(path_of(name), texts)):
        assert found == ids, text
    return theirs, expected


NAMES = ["gpt2", "llama2", "llama3", "qwen3", "smollm2"]


@pytest.mark.parametrize("name", NAMES)
def test_mixed_text_has_the_same_ids(name):
    texts = mixed(1, 600_000)
    theirs, expected = same(name, texts)
    # What they decode, we decode; where a model's normal form or missing bytes change the text, both do it alike.
    ours = peers.decode(path_of(name), expected[:100], "with-specials")
    for ids, text in zip(expected, ours):
        assert text.decode(errors="replace") == theirs.decode(ids, skip_special_tokens=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_five_megabytes_have_the_same_ids(name):
    texts = mixed(2, 5_000_000)
    same(name, texts + ["".join(texts[:len(texts) // 5])])


@pytest.mark.parametrize("name", NAMES)
def test_random_short_texts_have_the_same_ids(name):
    rng = random.Random(3)
    alphabet = list("aAbB '’\n\t .,1٣é\u0301🙂世▁<s>/|") + SPECIALS + ["\u0338", "ß", "\u00a0"]
    same(name, ["".join(rng.choice(alphabet) for _ in range(rng.randrange(0, 12))) for _ in range(4000)])


@pytest.mark.parametrize("name", ["gpt2", "llama3"])
def test_broken_utf8_comes_back_and_leaves_the_rest_alone(name):
    rng = random.Random(4)
    theirs = tokenizers.Tokenizer.from_file(str(path_of(name)))
    for _ in range(40):
        valid = [text[:200] for text in mixed(rng.random(), 2000)][:2]
        broken = bytes(rng.choice([0xFF, 0xC0, 0xFE]) for _ in range(rng.randrange(1, 4)))
        text = valid[0].encode() + broken + valid[-1].encode()
        found, = peers.encode(path_of(name), [text])
        assert peers.decode(path_of(name), [found], "with-specials")[0] == text
        left, right = (one.ids for one in theirs.encode_batch([valid[0], valid[-1]]))
        assert found[:len(left)] == left and found[len(found) - len(right):] == right


def test_ggufs_vectors_give_the_same_tokenizer():
    texts = mixed(5, 300_000)
    path = smollm2_json()
    assert peers.encode(path.parent / "smollm2.gguf.json", texts) == peers.encode(path, texts)


@pytest.mark.parametrize("flags", ["lstrip", "rstrip", "single_word", "normalized", "lstrip rstrip", "special single_word rstrip"])
def test_added_tokens_with_flags(flags, tmp_path):
    for name in ("gpt2", "qwen3", "llama2"):
        theirs = tokenizers.Tokenizer.from_file(str(path_of(name)))
        options = {flag: True for flag in flags.split()}
        special = options.pop("special", False)
        options.setdefault("normalized", False)
        add = theirs.add_special_tokens if special else theirs.add_tokens
        add([tokenizers.AddedToken(content, **options) for content in ("<mask>", "cat", "é", "[T] ")])
        theirs.save(str(tmp_path / "tokenizer.json"))
        rng = random.Random(6)
        pieces = ["<mask>", "cat", "cats", "é", "e\u0301", "[T]", "[T] ", " ", "  ", "\n", "a", "_", "٣", "<s>", "<|im_end|>", ".", "日"]
        texts = ["".join(rng.choice(pieces) for _ in range(rng.randrange(1, 10))) for _ in range(1500)]
        for text, found in zip(texts, peers.encode(tmp_path / "tokenizer.json", texts)):
            assert found == theirs.encode(text, add_special_tokens=False).ids, (name, text)


def test_templates_put_specials_around_a_text(tmp_path):
    from tokenizers.processors import ByteLevel, Sequence, TemplateProcessing

    path = path_of("llama2")
    theirs = tokenizers.Tokenizer.from_file(str(path))
    assert peers.encode(path, ["so", ""], "with-specials") == [theirs.encode("so").ids, theirs.encode("").ids]
    theirs = tokenizers.Tokenizer.from_file(str(path_of("llama3")))
    theirs.post_processor = Sequence([ByteLevel(), TemplateProcessing(
        single="<|begin_of_text|> $A <|eot_id|>", special_tokens=[("<|begin_of_text|>", 128000), ("<|eot_id|>", 128009)])])
    theirs.save(str(tmp_path / "tokenizer.json"))
    assert peers.encode(tmp_path / "tokenizer.json", ["so be it"], "with-specials") == [theirs.encode("so be it").ids]
    assert peers.encode(tmp_path / "tokenizer.json", ["so be it"]) == [theirs.encode("so be it").ids[1:-1]]


@pytest.mark.parametrize("scheme", ["first", "always", "never"])
@pytest.mark.parametrize("split", [True, False])
def test_metaspace_as_newer_checkpoints_have_it(scheme, split, tmp_path):
    theirs = tokenizers.Tokenizer.from_file(str(path_of("llama2")))
    theirs.normalizer = None
    theirs.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme, split=split)
    theirs.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    # Written without a normalizer, which cannot be unset.
    described = json.loads(theirs.to_str()) | {"normalizer": None}
    (tmp_path / "tokenizer.json").write_text(json.dumps(described))
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    texts = mixed(7, 100_000) + ["", " ", "a", " a", "</s> a", "</s>a", "a  b"]
    for text, found in zip(texts, peers.encode(tmp_path / "tokenizer.json", texts)):
        assert found == theirs.encode(text, add_special_tokens=False).ids, text


def test_saving_gives_the_files_back(tmp_path):
    for name in ("llama3", "qwen3"):
        folder = peers.from_npm(name)
        peers.save(folder, tmp_path / name)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            assert filecmp.cmp(folder / file, tmp_path / name / file, shallow=False)


@pytest.fixture(scope="module", params=["bpe", "unigram", "bpe without a prefix"])
def sentencepiece_model(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sentencepiece")
    (folder / "text.txt").write_text("\n".join(line for line in real_text().splitlines() if line.strip())[:400_000])
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text.txt"), model_prefix=str(folder / "tokenizer"), vocab_size=1200, model_type=request.param.split()[0],
        byte_fallback=True, character_coverage=0.999, normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True,
        add_dummy_prefix=request.param != "bpe without a prefix", user_defined_symbols=["<tool>"], max_sentence_length=20000,
        minloglevel=2, num_threads=1)
    return folder / "tokenizer.model"


def test_sentencepiece_models_give_the_same_ids(sentencepiece_model, tmp_path):
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(sentencepiece_model))
    texts = [text.encode() for text in mixed(8, 300_000)] + [b"", b" ", b"<tool> x<tool>", b"bro\xffken \xc3", b"\x00a"]
    expected = [theirs.encode(text) for text in texts]
    for text, ids, found in zip(texts, expected, peers.encode(sentencepiece_model, texts, "plain")):
        assert found == ids, text
    for ids, text in zip(expected, peers.decode(sentencepiece_model, expected)):
        if theirs.unk_id() not in ids:
            assert text.decode(errors="replace") == theirs.decode(ids)
    assert peers.encode(sentencepiece_model, ["so"], "with-specials") == [[theirs.bos_id(), *theirs.encode("so")]]
    found, = peers.encode(sentencepiece_model, ["so</s>"])
    assert found == [*theirs.encode("so"), theirs.eos_id()]
    peers.save(sentencepiece_model, tmp_path / "saved")
    assert filecmp.cmp(sentencepiece_model, tmp_path / "saved/tokenizer.model", shallow=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_encoding_is_at_least_as_fast(name):
    import statistics
    import time

    text = "".join(mixed(9, 2_000_000))
    theirs = tokenizers.Tokenizer.from_file(str(path_of(name)))
    ratios = []
    for _ in range(3):
        start = time.perf_counter()
        theirs.encode(text, add_special_tokens=False)
        ratios.append((time.perf_counter() - start) / peers.encode_seconds(path_of(name), text))
    assert statistics.median(ratios) >= 1, ratios
