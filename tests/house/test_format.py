"""The C++ of the tree is laid out by clang-format, and nobody argues about it."""

import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_the_tree_is_laid_out_as_tools_format_does_it():
    result = subprocess.run([ROOT / "tools/format", "--check"], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, f"run tools/format\n{result.stderr[:2000]}"
