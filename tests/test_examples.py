"""Runs of the example scripts."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.slow
def test_quickstart(tmp_path):
    output = subprocess.run(
        [sys.executable, str(EXAMPLES / "quickstart.py"), "--quick", "--out", "run", "--cache",
         "cache"], capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert output.returncode == 0, output.stderr
    verdict = json.loads((tmp_path / "run/results.json").read_text())["verdict"]
    assert verdict in output.stdout
    assert [line.split()[0] for line in output.stdout.splitlines()[-4:]] == [
        "fold0/levelset", "fold0/mel", "fold0/fused", "fold0/control",
    ]  # fmt: skip


def test_wrong_input_is_refused_with_a_message(tmp_path):
    output = subprocess.run(
        [sys.executable, str(EXAMPLES / "quickstart.py"), "--data", "nowhere"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert output.returncode != 0
    assert "The path nowhere does not exist." in output.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_three_modalities(tmp_path):
    output = subprocess.run(
        [sys.executable, str(EXAMPLES / "three_modalities.py"), "--quick", "--out", "run",
         "--cache", "cache"], capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert output.returncode == 0, output.stderr
    info = json.loads((tmp_path / "run/run.json").read_text())
    assert 0 < info["absent"]["precomputed"] < 72 and list(info["absent"]) == ["precomputed"]
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert list(results["weights"]) == ["mel", "levelset", "precomputed"]
    assert results["verdict"] in output.stdout
