"""The GPU benchmark on a machine without a GPU: message and rehearsal."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[1] / "benchmarks/gpu.py"


def called(*args):
    return subprocess.run([sys.executable, str(SCRIPT), *args], capture_output=True, text=True,
                          check=False)  # fmt: skip


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here: it would be measured")
def test_without_a_gpu_it_ends_with_a_message(tmp_path):
    output = called("--out", str(tmp_path / "gpu.json"))
    assert output.returncode == 1
    assert output.stderr.startswith("This benchmark needs a CUDA device, but torch finds none.")
    assert "Traceback" not in output.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_rehearsal_runs_every_part(tmp_path):
    output = called("--rehearse", "--out", str(tmp_path / "gpu.json"))
    assert output.returncode == 0, output.stderr
    figures = json.loads((tmp_path / "gpu.json").read_text())
    assert figures["rehearsal"] is True
    assert figures["clips per second"].keys() >= {"plain loop", "ours, default branch"}
    assert figures["experiment"]["seconds"].keys() >= {"1"}
    assert "these figures mean nothing" in output.stdout
    assert "12 trainings of one experiment" in output.stdout
