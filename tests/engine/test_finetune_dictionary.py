"""examples/finetune-dictionary, shortened: the whole way from the packages to a merged model, checked by PEFT; and what draws its curve."""

import json
import os
import re
import subprocess
import xml.etree.ElementTree

import pytest

from probe import BIN, ROOT


def plot(tmp_path, lines, code=0):
    (tmp_path / "run.jsonl").write_text("".join(line + "\n" for line in lines))
    done = subprocess.run([ROOT / "tools/plot-run", tmp_path / "run.jsonl", tmp_path / "curve.svg", "--title", "a < b"], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stderr if code else xml.etree.ElementTree.parse(tmp_path / "curve.svg").getroot()


def test_the_curve_has_every_step_and_evaluation_of_a_run(tmp_path):
    steps = [json.dumps({"event": "step", "step": step, "loss": 4 - 0.1 * step, "skipped": step == 7}) for step in range(1, 21)]
    evaluations = [json.dumps({"event": "evaluation", "step": step, "loss": 4 - 0.12 * step}) for step in (0, 10, 20)]
    svg = plot(tmp_path, ["a job's own line", *steps, json.dumps({"event": "note", "text": "x"}), *evaluations])
    lines = {line.get("class"): [tuple(map(float, point.split(","))) for point in line.get("points").split()]
             for line in svg.iter("{http://www.w3.org/2000/svg}polyline")}
    assert {name: len(points) for name, points in lines.items()} == {"train": 19, "held": 3}
    for points in lines.values():  # falling losses go right and down
        assert points == sorted(points) and [y for _, y in points] == sorted(y for _, y in points)
    # Both are on one scale: the held-out line is 1.2 times as steep.
    slope = {name: (points[-1][1] - points[0][1]) / (points[-1][0] - points[0][0]) for name, points in lines.items()}
    assert slope["held"] / slope["train"] == pytest.approx(1.2, rel=0.01)
    texts = [text.text for text in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a < b", "4.000", "1.600", "training", "held out"} <= set(texts)


def test_a_file_that_is_no_run_is_told(tmp_path):
    assert "--log json" in plot(tmp_path, ["step 1/20  loss 3.5"], code=1)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_the_example_runs_from_its_packages_to_a_merged_model(tmp_path):
    done = subprocess.run([ROOT / "examples/finetune-dictionary/run", "--steps", "6", "--held-out", "12", "--samples", "1", "--out", tmp_path, "--check"],
                          env=os.environ | {"ATHANOR_BIN": str(BIN)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    told = {int(step): float(loss) for loss, step in re.findall(r"^held-out loss (\S+) after step (\d+)", done.stdout, re.M)}
    assert told.keys() == set(range(7)) and told[6] < told[0] - 0.3
    assert len(re.findall(r"^ +Define [a-z]+\. -> \S", done.stdout, re.M)) == 2
    words = [{json.loads(line)["messages"][1]["content"] for line in (tmp_path / "data/chats" / name).read_text().splitlines()}
             for name in ("train.jsonl", "held-out.jsonl")]
    assert len(words[0]) > 50_000 and len(words[1]) > 1000 and not words[0] & words[1]
    assert {"adapter_config.json", "adapter_model.safetensors"} <= {path.name for path in (tmp_path / "adapters").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in (tmp_path / "merged").iterdir()}
    assert "held-out loss" in done.stdout and "trained there" in done.stdout  # PEFT's table; what it finds wrong is its exit code
