"""Runs bin/athanor-llm, by hand or as the ranks of a job, and reads what it prints."""

import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess

import numpy

from probe import BIN, ROOT

PROGRAM = BIN / "athanor-llm"
# Small enough for a second, with every part of a model in it: grouped queries, a head size of its own, accumulation.
SMALL = dict(
    vocabulary=400, layers=2, hidden_size=48, heads=6, kv_heads=2, head_dim=10, length=32, batch=6, micro_batch=2,
    learning_rate=4e-3, steps=40, log_every=1, threads=1, evaluate_sequences=8, sample_tokens=0,
)


def bible(folder, train_bytes):
    """Real text: FOLDER/train/bible.txt, the first `train_bytes` of the King James Bible, and FOLDER/validation/."""
    subprocess.run([ROOT / "tools/demo-corpus", folder], check=True)
    text = folder / "train/bible.txt"
    text.write_bytes(text.read_bytes()[:train_bytes])
    held_out = folder / "validation/bible.txt"
    held_out.write_bytes(held_out.read_bytes()[:train_bytes // 10])
    return folder


def words(**settings):
    """Settings as options: hidden_size=48 is --hidden-size 48; a list is several values."""
    line = []
    for name, value in settings.items():
        many = value if isinstance(value, (list, tuple)) else [value]
        line += ["--" + name.replace("_", "-"), *(str(one).lower() if isinstance(one, bool) else str(one) for one in many)]
    return line


def environment(**more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ATHANOR_")}
    return kept | {name: str(value) for name, value in more.items()}


def run(*arguments, code=0, **more):
    """Runs it to its end, which must be `code`; returns what it printed: .stdout, .stderr."""
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=120, env=environment(**more),
                          stdin=subprocess.DEVNULL, errors="replace")
    assert done.returncode == code, f"{done.returncode} instead of {code}: {done.stdout[-2000:]}\n{done.stderr}"
    return done


def train(*flags, code=0, **settings):
    """Trains on one rank; returns what it printed."""
    return run("train", *words(**settings), *flags, code=code).stdout


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Ranks:
    """The ranks of one run, started together; every rank is given the same command line, or its own of `commands`."""

    def __init__(self, count, *flags, commands=None, **settings):
        rendezvous = f"127.0.0.1:{free_port()}"
        commands = commands or [["train", *words(**settings), *flags]] * count
        self.processes = [
            # Pipes of one page, unbuffered here: what is not read holds up the writer, so that it cannot run far ahead.
            subprocess.Popen([PROGRAM, *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0,
                             pipesize=4096, stdin=subprocess.DEVNULL, env=environment(
                                 ATHANOR_WORLD_SIZE=count, ATHANOR_RANK=rank, ATHANOR_RENDEZVOUS=rendezvous))
            for rank, command in enumerate(commands)]
        self.printed = [b""] * count

    def read_until(self, wanted, rank=0):
        """Reads a rank's lines until one matches."""
        while not re.search(wanted, self.printed[rank].decode(errors="replace")):
            line = self.processes[rank].stdout.readline()
            assert line, f"it ended without {wanted}: {self.printed[rank].decode(errors='replace')}"
            self.printed[rank] += line

    def signal(self, number, *ranks):
        for rank in ranks or range(len(self.processes)):
            self.processes[rank].send_signal(number)

    def wait(self):
        """Returns the exit codes; the texts are in `output`."""
        for rank, process in enumerate(self.processes):
            self.printed[rank] += process.communicate(timeout=120)[0]
        self.output = [text.decode(errors="replace") for text in self.printed]
        return [process.returncode for process in self.processes]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()


def losses(printed):
    """{step: loss as it is printed} of everything that a run said of its steps, evaluations under "evaluation N"."""
    found = {int(step): loss for step, loss in re.findall(r"^step (\d+)/\d+  loss (\S+)", printed, re.M)}
    found |= {f"evaluation {step}": loss for loss, step in re.findall(r"^evaluation loss (\S+) at step (\d+)", printed, re.M)}
    return found


def before_and_after(printed):
    """The evaluation losses that the last lines of a run tell."""
    found = re.search(r"^evaluation loss before (\S+), after (\S+) ", printed, re.M)
    assert found, printed[-2000:]
    return float(found[1]), float(found[2])


def token_ids(path):
    """The ids of a token file, laid out as engine/data/token_file.h says."""
    content = pathlib.Path(path).read_bytes()
    magic, version, id_bytes, vocabulary, count = struct.unpack_from("<8sIIqq", content)
    assert (magic, version) == (b"ATHTOKEN", 1) and len(content) == 64 + count * id_bytes
    ids = numpy.frombuffer(content, dtype={2: "<u2", 4: "<u4"}[id_bytes], offset=64).astype(numpy.int64)
    assert ids.size == 0 or ids.max() < vocabulary
    return ids


def contract(folder, hyperparameters, channels=("train",), hosts=None, current=None):
    """Lays out what stands for /opt/ml; texts are the caller's to put below input/data/CHANNEL. Returns the folder."""
    config = folder / "input/config"
    config.mkdir(parents=True)
    (config / "hyperparameters.json").write_text(json.dumps({name: str(value) for name, value in hyperparameters.items()}))
    file_mode = {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated", "RecordWrapperType": "None"}
    (config / "inputdataconfig.json").write_text(json.dumps({name: file_mode for name in channels}))
    hosts = hosts or ["algo-1"]
    (config / "resourceconfig.json").write_text(json.dumps({"current_host": current or hosts[0], "hosts": hosts}))
    for name in channels:
        (folder / "input/data" / name).mkdir(parents=True)
    (folder / "model").mkdir()
    return folder
