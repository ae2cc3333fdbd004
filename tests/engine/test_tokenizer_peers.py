"""The tokenizers of real models, in `tokenizers` and `sentencepiece` and in ours: the same ids for any text."""

import filecmp
import json
import random
import subprocess

import pytest
import sentencepiece
import tokenizers
from tokenizers import decoders, pre_tokenizers

import peers
import tokenizer_fuzz
import tokenizer_models
import tokenizer_texts
from tokenizer_models import smollm2_json
from tokenizer_texts import SPECIALS, mixed

NAMES = ["gpt2", "llama2", "llama3", "qwen3", "smollm2"]  # tokenizer.json files that the fast tests have


def path_of(name):
    return tokenizer_models.peer(name).path


def same(name, texts):
    """The ids that both give, of texts as bytes."""
    peer = tokenizer_models.peer(name)
    expected = peer.encode(texts)
    for text, ids, found in zip(texts, expected, peer.ours(texts), strict=True):
        assert found == ids, text
    return expected


def encoded(texts):
    return [text.encode() for text in texts]


@pytest.mark.parametrize("name", tokenizer_models.USUAL)
def test_mixed_text_has_the_same_ids(name):
    expected = same(name, encoded(mixed(1, 600_000)) + tokenizer_texts.broken(4, 200_000))
    if name == "llama2.model":
        return
    # What they decode, we decode; where a model's normal form or missing bytes change the text, both do it alike.
    theirs, ours = tokenizer_models.peer(name).tokenizer, peers.decode(path_of(name), expected[:100], "with-specials")
    for ids, text in zip(expected[:100], ours, strict=True):
        assert text.decode(errors="replace") == theirs.decode(ids, skip_special_tokens=False)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", tokenizer_models.SOURCES)
def test_five_megabytes_have_the_same_ids(name):
    missing = {"names", "ja", "zh_CN", "ru"} - set(tokenizer_texts.real_texts())
    assert not missing, f"real text is missing ({missing}): tools/install-packages texts"
    texts = mixed(2, 5_000_000)
    same(name, encoded([*texts, "".join(texts[:len(texts) // 5]), *(text[:500_000] for text in tokenizer_texts.real_texts().values())]))
    same(name, tokenizer_texts.broken(5, 1_000_000))


@pytest.mark.parametrize("name", tokenizer_models.USUAL)
def test_what_a_fuzzer_makes_has_the_same_ids(name):
    reports, _ = tokenizer_fuzz.compare(name, range(1, 3001))
    assert not reports, "\n".join(reports)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", tokenizer_models.SOURCES)
def test_what_a_fuzzer_makes_in_fifty_thousand_cases_has_the_same_ids(name):
    for first in range(1_000_001, 1_050_001, 5000):
        reports, _ = tokenizer_fuzz.compare(name, range(first, first + 5000))
        assert not reports, "\n".join(reports)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", tokenizer_models.SOURCES)
def test_every_character_has_the_same_ids(name):
    """Next to letters, digits, signs, spaces, marks and itself: what class it is of decides about the ids around it."""
    for first in range(0, 0x110000, 0x8000):
        texts = [f"a{c}b {c} 1{c}2(({c}{c}{c}((  {c}A{c}\n {c}\u0301\n\n\u0334\u0323{c}\u0301".encode()
                 for c in map(chr, range(first, first + 0x8000)) if not "\ud800" <= c <= "\udfff"]
        same(name, texts)


def test_the_fuzzer_finds_a_difference_and_shrinks_it():
    theirs = tokenizer_models.peer("gpt2")

    class Wrong(tokenizer_models.Peer):
        encode = staticmethod(theirs.encode)

        def ours(self, texts):  # takes a digit after a space for none
            return theirs.encode([text.replace(b" 7", b" ") for text in texts])

    text = "some words, 世界 and then \xff 17 or 5 7 times".encode()
    assert tokenizer_fuzz.differing(Wrong(theirs.path), [text, b"7"]) == [0]
    assert tokenizer_fuzz.shrunk(Wrong(theirs.path), text) == b" 7"
    assert "gpt2: case 12" in tokenizer_fuzz.report("gpt2", Wrong(theirs.path), 12, text)


@pytest.mark.parametrize("name", NAMES)
def test_random_short_texts_have_the_same_ids(name):
    rng = random.Random(3)
    alphabet = list("aAbB '’\n\t .,1٣é\u0301🙂世▁<s>/|") + SPECIALS + ["\u0338", "ß", "\u00a0"]
    same(name, encoded("".join(rng.choice(alphabet) for _ in range(rng.randrange(0, 12))) for _ in range(4000)))


@pytest.mark.parametrize("name", ["gpt2", "llama3"])
def test_broken_utf8_comes_back(name):
    texts = tokenizer_texts.broken(4, 100_000)
    assert peers.decode(path_of(name), peers.encode(path_of(name), texts), "with-specials") == texts


def test_ggufs_vectors_give_the_same_tokenizer():
    texts = mixed(5, 300_000)
    path = smollm2_json()
    assert peers.encode(path.parent / "smollm2.gguf.json", texts) == peers.encode(path, texts)


@pytest.mark.parametrize("behavior", ["isolated", "removed", "merged_with_previous", "merged_with_next", "contiguous"])
@pytest.mark.parametrize("invert", [False, True])
def test_splits_of_every_behavior(behavior, invert, tmp_path):
    theirs = tokenizers.Tokenizer.from_file(str(path_of("gpt2")))
    theirs.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(tokenizers.Regex(r" ?\p{L}+|\s"), behavior, invert), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    theirs.save(str(tmp_path / "tokenizer.json"))
    texts = mixed(9, 100_000)
    for text, found in zip(texts, peers.encode(tmp_path / "tokenizer.json", texts), strict=True):
        assert found == theirs.encode(text, add_special_tokens=False).ids, text


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
        for text, found in zip(texts, peers.encode(tmp_path / "tokenizer.json", texts), strict=True):
            assert found == theirs.encode(text, add_special_tokens=False).ids, (name, text)


@pytest.mark.parametrize("name", ["gpt2", "qwen3", "llama2"])
@pytest.mark.parametrize("normalized", [True, False])
def test_special_tokens_in_plain_text_are_text(name, normalized, tmp_path):
    """Llama-2's older files look for <s> in normalized text: "normalized": true."""
    described = json.loads(path_of(name).read_text())
    for token in described["added_tokens"]:
        token["normalized"] = normalized
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(described))
    theirs = tokenizers.Tokenizer.from_file(str(path))
    theirs.add_tokens([tokenizers.AddedToken("[T]", normalized=normalized)])
    theirs.save(str(path))
    theirs.encode_special_tokens = True
    rng = random.Random(7)
    pieces = [*(token["content"] for token in described["added_tokens"][:6]), "[T]", "a", " ", "b c", "\n", "é"]
    texts = ["".join(rng.choice(pieces) for _ in range(rng.randrange(1, 10))) for _ in range(500)]
    for text, found in zip(texts, peers.encode(path, texts, "plain"), strict=True):
        assert found == theirs.encode(text, add_special_tokens=False).ids, text


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
    for text, found in zip(texts, peers.encode(tmp_path / "tokenizer.json", texts), strict=True):
        assert found == theirs.encode(text, add_special_tokens=False).ids, text


@pytest.mark.parametrize("fuse", [True, False])
def test_characters_without_tokens_in_vocabularies_at_random(fuse, tmp_path):
    """A space, letters and bytes may be missing: what is unknown then, and what of it is one token."""
    rng = random.Random(11)
    for number in range(150):
        left_out = rng.choice([0, 0.02, 0.3, 1])
        singles = [c for c in "▁abé日" if rng.random() < 0.75]
        names = ["<unk>", *singles, *(f"<0x{byte:02X}>" for byte in range(256) if rng.random() >= left_out)]
        merges = list({(left, right): None for left, right in ((rng.choice(singles or "?"), rng.choice(singles or "?")) for _ in range(5)) if left != "?"})
        names += dict.fromkeys(left + right for left, right in merges)
        theirs = tokenizers.Tokenizer(tokenizers.models.BPE({name: i for i, name in enumerate(names)}, merges, unk_token="<unk>", fuse_unk=fuse, byte_fallback=True))
        theirs.normalizer = tokenizers.normalizers.Sequence([tokenizers.normalizers.Prepend("▁"), tokenizers.normalizers.Replace(" ", "▁")])
        path = tmp_path / "tokenizer.json"
        theirs.save(str(path))
        texts = ["".join(rng.choice(" aabéx日🙂") for _ in range(rng.randrange(30))) for _ in range(60)]
        for text, found in zip(texts, peers.encode(path, texts), strict=True):
            assert found == theirs.encode(text).ids, (number, names[:8], text)


@pytest.mark.parametrize("data", [b"\x01\0\0", b"\x05\0\0\0four"])
def test_the_probe_fails_when_its_input_ends_inside_an_item(data):
    done = subprocess.run([peers.BIN / "tokenizer-probe", "encode", path_of("gpt2")], input=b"\x01\0\0\0a" + data, capture_output=True, timeout=300)
    assert done.returncode == 1 and b"ends inside" in done.stderr


def test_saving_gives_the_files_back(tmp_path):
    for name in ("llama3", "qwen3"):
        folder = peers.from_npm(name)
        peers.save(folder, tmp_path / name)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            assert filecmp.cmp(folder / file, tmp_path / name / file, shallow=False)


@pytest.fixture(scope="module", params=["bpe", "unigram", "bpe without a prefix", "bpe of nmt_nfkc"])
def sentencepiece_model(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sentencepiece")
    (folder / "text.txt").write_text("\n".join(line for line in tokenizer_texts.own_text().splitlines() if line.strip())[:400_000])
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text.txt"), model_prefix=str(folder / "tokenizer"), vocab_size=1200, model_type=request.param.split()[0],
        byte_fallback=True, character_coverage=0.999, remove_extra_whitespaces=False, split_digits=True,
        normalization_rule_name="nmt_nfkc" if "nmt_nfkc" in request.param else "identity",
        add_dummy_prefix=request.param != "bpe without a prefix", user_defined_symbols=["<tool>"], max_sentence_length=20000,
        minloglevel=2, num_threads=1)
    return folder / "tokenizer.model"


def test_sentencepiece_models_give_the_same_ids(sentencepiece_model, tmp_path):
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(sentencepiece_model))
    texts = [text.encode() for text in mixed(8, 300_000)] + [b"", b" ", b"<tool> x<tool>", b"bro\xffken \xc3", b"\x00a"]
    expected = [theirs.encode(text) for text in texts]
    for text, ids, found in zip(texts, expected, peers.encode(sentencepiece_model, texts, "plain"), strict=True):
        assert found == ids, text
    for ids, text in zip(expected, peers.decode(sentencepiece_model, expected), strict=True):
        if theirs.unk_id() not in ids:
            assert text.decode(errors="replace") == theirs.decode(ids)
    assert peers.encode(sentencepiece_model, ["so"], "with-specials") == [[theirs.bos_id(), *theirs.encode("so")]]
    found, = peers.encode(sentencepiece_model, ["so</s>"])
    assert found == [*theirs.encode("so"), theirs.eos_id()]
    peers.save(sentencepiece_model, tmp_path / "saved")
    assert filecmp.cmp(sentencepiece_model, tmp_path / "saved/tokenizer.model", shallow=False)
