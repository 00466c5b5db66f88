"""Deliberate faults together: imports, and a complete run with a fault of every kind."""

import csv
import subprocess
import sys

import pytest
from small_runs import SMALL

from fusion.core.cli import run_cli


def test_both_imports_of_faults_give_one_module():
    code = (
        "import fusion.testing.faults as a, sys; from fusion.testing import faults as b; "
        "assert a is b; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


PLUGIN = """
from fusion import hookimpl
from fusion.plugins.branches.cnn import CNN
from fusion.plugins.corpora.demo import Demo
from fusion.plugins.extractors.mel import Mel
from fusion.plugins.strategies.gated import Gated
from fusion.testing import faults

Extractor = faults.shuffled(faults.scaled(Mel))
Branch = faults.dead(CNN, share=0.5)
Strategy = faults.late(faults.oversized(Gated, width=16), steps=4)
Corpus = faults.duplicated(faults.mislabelled(Demo))

@hookimpl
def fusion_extractors():
    return [Extractor]

@hookimpl
def fusion_branches():
    return [Branch]

@hookimpl
def fusion_strategies():
    return [Strategy]

@hookimpl
def fusion_corpora():
    return [Corpus]
"""


@pytest.mark.slow
def test_a_run_with_a_fault_of_every_kind(tmp_path):
    plugin = tmp_path / "my_faults.py"
    plugin.write_text(PLUGIN)
    small = [s.replace("mel.", "mel_scaled_shuffled.") for s in SMALL]
    corpus, mel = "demo_mislabelled_duplicated", "mel_scaled_shuffled"
    code = run_cli(["run", *small, "-p", str(plugin), "--data", corpus,
                    "--features", f"{mel},persistence",
                    "--branch", f"{mel}=cnn_dead", "--strategy", "gated_oversized_late",
                    "--set", f"{corpus}.speakers=6", "--set", f"{corpus}.clips=2", "--epochs", "2",
                    "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "run"),
                    "--quiet"])  # fmt: skip
    assert code == 0
    with (tmp_path / "run" / "clips.csv").open() as file:
        clips = list(csv.DictReader(file))
    assert len(clips) == 72 + 22
    assert sum(clip["name"].endswith("#copy") for clip in clips) == 22
    assert run_cli(["predict", str(tmp_path / "run"), clips[0]["path"]]) == 0
