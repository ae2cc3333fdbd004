"""The table of malformed requests (malformed.json): each row is sent over a socket of its own, byte for byte, and must
get its own error; afterwards the server answers as before and has leaked nothing."""

import json
import pathlib

TABLE = json.loads(pathlib.Path(__file__).with_name("malformed.json").read_text())


def test_every_row_has_a_name_of_its_own():
    names = [row["name"] for row in TABLE]
    assert len(names) == len(set(names))
