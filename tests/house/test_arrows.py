"""The arrows of the house: the tree keeps them, and the check would notice if it did not."""

import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def check(root):
    return subprocess.run([ROOT / "tools/check-arrows", root], capture_output=True, text=True, timeout=60)


def test_tree_keeps_the_arrows():
    result = check(ROOT)
    assert result.returncode == 0, result.stdout


def test_halves_must_not_meet(tmp_path):
    (tmp_path / "engine/train").mkdir(parents=True)
    (tmp_path / "engine/train/loop.cc").write_text('#include "platform/wire/http.h"\n')
    result = check(tmp_path)
    assert result.returncode == 1
    assert "engine/train/loop.cc:1: engine/train may not include platform/wire/http.h" in result.stdout


def test_arrows_point_down_only(tmp_path):
    (tmp_path / "platform/control").mkdir(parents=True)
    (tmp_path / "platform/control/job.h").write_text('#pragma once\n#include "platform/server/server.h"\n')
    assert "platform/control may not include platform/server/server.h" in check(tmp_path).stdout


@pytest.mark.parametrize("name, line", [("kernel.cu", '#include "platform/wire/http.h"'), ("job.proto", 'import "platform/node/agent.proto";'),
                                        ("job.proto", 'import public "platform/node/agent.proto";'), ("shapes.cc.in", "#include <platform/wire/http.h>"),
                                        ("loop.cc", '#include "../../platform/wire/http.h"'), ("loop.cc", '#include "../data/../../platform/wire/http.h"')])
def test_no_spelling_leads_around(tmp_path, name, line):
    (tmp_path / "engine/train").mkdir(parents=True)
    (tmp_path / "engine/train" / name).write_text(line + "\n")
    result = check(tmp_path)
    assert result.returncode == 1
    assert f"engine/train/{name}:1: " in result.stdout


def test_a_new_room_must_be_drawn_first(tmp_path):
    (tmp_path / "engine/magic").mkdir(parents=True)
    (tmp_path / "engine/magic/wand.h").write_text("")
    assert "the room engine/magic is not in tools/check-arrows" in check(tmp_path).stdout
