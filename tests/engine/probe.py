"""Calls bin/engine-probe: numpy tensors in, numpy tensors and numbers out."""

import json
import os
import pathlib
import subprocess

import numpy
from safetensors.numpy import load_file, save_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("ATHANOR_BIN", ROOT / "build/bin"))


def probe(folder, operation, tensors, config=None, **options):
    """Returns (tensors by name, numbers by name). A model has the options' shape, or that of a folder's config.json."""
    given, result = folder / "in.safetensors", folder / "out.safetensors"
    save_file({name: numpy.ascontiguousarray(value) for name, value in tensors.items()}, given)
    words = [f"{name}={float(value)!r}" for name, value in options.items()] + ([f"config={config}"] if config else [])
    done = subprocess.run(
        [BIN / "engine-probe", operation, given, result, *words], capture_output=True, text=True, errors="replace", timeout=600
    )
    assert done.returncode == 0, done.stderr
    return load_file(result), json.loads(done.stdout)


def relative_error(ours, reference):
    """The 2-norm of the difference over that of the reference."""
    ours = numpy.asarray(ours, dtype=numpy.float64)
    reference = numpy.asarray(reference, dtype=numpy.float64).reshape(ours.shape)
    return numpy.linalg.norm(ours - reference) / numpy.linalg.norm(reference)
