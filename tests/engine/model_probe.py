"""Calls bin/model-probe, which opens models from their files."""

import json
import subprocess

import numpy
from safetensors.numpy import load_file, save_file

from probe import BIN


def call(*words):
    done = subprocess.run([BIN / "model-probe", *map(str, words)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refusal(*words):
    done = subprocess.run([BIN / "model-probe", *map(str, words)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stdout
    return done.stderr


def run(folder, model, **tensors):
    """Returns (tensors by name, numbers by name) of a model's forward and backward."""
    given, result = folder / "in.safetensors", folder / "out.safetensors"
    save_file({name: numpy.ascontiguousarray(value, dtype=numpy.int32) for name, value in tensors.items()}, given)
    numbers = json.loads(call("run", model, given, result))
    return load_file(result), numbers
