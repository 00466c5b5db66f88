"""Diagnoses of the strongest form of each injected fault, on a small demo corpus.

benchmarks/faults.py measures detection rates by strength and on real speech
(docs/results/diagnosis.md).
"""

import json

import pytest

from fusion.core.cli import run_cli

SMALL = ["--set", "demo.speakers=9", "--set", "demo.clips=4", "--set", "mel.n_mels=32",
         "--set", "mel.frames=64", "--set", "branch.mel.blocks=4", "--epochs", "14",
         "--set", "train.start=scratch"]  # fmt: skip
PLUGIN = """
from fusion import hookimpl
from fusion.plugins.branches.cnn import CNN
from fusion.plugins.strategies.concat import Concat
from fusion.testing import faults

Faulty = faults.{call}


@hookimpl
def fusion_{kind}():
    return [Faulty]
"""
BRANCHES = {
    "scaled": ("scaled(CNN, 1000)", "scale_mismatch"),
    "dead": ("dead(CNN, 1.0)", "dead_branch"),
    "frozen": ("frozen(CNN, 1.0)", "frozen_branch"),
    "biased": ("biased(CNN, 100)", "swamping_bias"),
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("fault-features"))


def diagnosed(arguments, cache, out):
    command = [*arguments, *SMALL, "--cache", cache, "--out", str(out), "--quiet", "--jobs", "2"]
    assert run_cli(command) == 0
    return json.loads((out / "diagnosis.json").read_text())["findings"]


@pytest.mark.slow
@pytest.mark.parametrize("fault", BRANCHES)
def test_a_broken_branch_is_diagnosed_correctly(fault, cache, tmp_path) -> None:
    call, expected = BRANCHES[fault]
    plugin = tmp_path / "faulty.py"
    plugin.write_text(PLUGIN.format(call=call, kind="branches"))
    requested = [
        "-p",
        str(plugin),
        "diagnose",
        "--branch",
        f"mel=cnn_{fault}",
        "--strategy",
        "concat",
    ]
    first = diagnosed(requested, cache, tmp_path / "run")[0]
    assert (first["fault"], first["modality"]) == (expected, "mel")
    assert first["severity"] == "severe" and first["remedy"] and "fusion repair" in first["command"]


@pytest.mark.slow
def test_a_starved_branch_is_diagnosed_as_imbalance(cache, tmp_path) -> None:
    plugin = tmp_path / "faulty.py"
    call = "starved(Concat, 1e-9, modality='mel')"
    plugin.write_text(PLUGIN.format(call=call, kind="strategies"))
    requested = ["-p", str(plugin), "diagnose", "--strategy", "concat_starved"]
    result = diagnosed(requested, cache, tmp_path / "run")
    assert ("branch_imbalance", "mel") in [(f["fault"], f["modality"]) for f in result]


@pytest.mark.slow
def test_a_random_split_is_diagnosed_as_leaked_speakers(cache, tmp_path) -> None:
    requested = ["diagnose", "--strategy", "concat", "--split", "random"]
    assert diagnosed(requested, cache, tmp_path / "run")[0]["fault"] == "leaked_speakers"
