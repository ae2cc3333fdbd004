"""The request rules are the service's own: the committed tables are what botocore's published models give."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_the_tables_are_those_of_botocore():
    result = subprocess.run([sys.executable, ROOT / "tools/derive-request-shapes", "--check"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr
