"""The commands that the README and `make demo` print do what they say, pasted as they are."""

import os
import re
import shutil
import subprocess
import tarfile

import pytest

import llm
from harness import ROOT, clean_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def paste(commands, folder, environment):
    """What a shell prints that is given the commands, and stops at the first that fails. Its `aws` is the distribution's."""
    path = f"/usr/bin:{environment['PATH']}"
    result = subprocess.run(["bash", "-e", "-o", "pipefail", "-c", commands], cwd=folder, env=environment | {"PATH": path}, text=True,
                            capture_output=True, timeout=900)
    assert result.returncode == 0, f"{result.stdout[-4000:]}\n{result.stderr[-4000:]}"
    return result.stdout


def members(archive):
    with tarfile.open(archive) as opened:
        return {name.removeprefix("./") for name in opened.getnames()}


def test_the_demo_and_then_the_commands_that_it_prints(tmp_path):
    environment = clean_environment(HOME=str(tmp_path), DEMO_STEPS="40", AWS_PAGER="")
    printed = paste("tools/demo", ROOT, environment)
    before, after = (float(loss) for loss in re.search(r"evaluation loss before .*?([\d.]+).*?([\d.]+)", printed).groups())
    assert after < before
    by_hand = printed[printed.index("build/bin/athanor up --detach"):printed.index("\nmodel ")]
    fetched = ROOT / "build/demo/model.tar.gz"
    for _ in range(2):
        fetched.unlink()
        told = paste(by_hand, ROOT, environment)
        assert '"TrainingJobStatus": "Completed"' in told and "step 800/800" in told, told
        assert {"config.json", "model.safetensors", "tokenizer.json"} <= members(fetched)


def test_the_commands_of_the_readme(server, tmp_path):
    shutil.copy(llm.bible(tmp_path / "corpus", 400_000) / "train/bible.txt", tmp_path / "corpus.txt")
    for name in ("build", "examples"):
        os.symlink(ROOT / name, tmp_path / name)
    blocks = re.findall(r"```\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    (mine,) = [block for block in blocks if "athanor submit" in block]
    (theirs,) = [block for block in blocks if "create-training-job" in block]
    environment = clean_environment(HOME=str(tmp_path), ATHANOR_DATA_DIR=str(server.data_dir), AWS_PAGER="")
    without_server = mine[mine.index("eval "):]
    assert "hello" in paste(without_server, tmp_path, environment)
    paste('eval "$(build/bin/athanor env)"\n' + theirs, tmp_path, environment)
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= members(tmp_path / "model.tar.gz")
    server.client("sagemaker").delete_training_job(TrainingJobName="first")
