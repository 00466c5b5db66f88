"""Time of a small experiment, `fusion run` compared with a plain loop.

Run with ``pytest benchmarks/test_experiment.py -s``. ``python benchmarks/experiment.py`` measures
larger experiments.
"""

from __future__ import annotations

from pathlib import Path

import experiment
import pytest
from timing import busy

SMALL = ("--speakers", "6", "--clips", "2", "--folds", "3", "--epochs", "4")


def test_folds_and_models_against_the_plain_loop(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = experiment.measure(experiment.options(*SMALL, "--cache", str(tmp_path)))
    with capsys.disabled():
        print("\n" + "\n".join(filter(None, [busy(), experiment.line(figures)])))
    # The ratio is not tested, because start and end dominate the time of so small an experiment.
    ours, plain = figures["work"]["ours"], figures["work"]["plain"]
    assert ours == plain
    assert len(ours) == 3 * 4
    for fold in range(3):
        alone, fused, control = (ours[f"fold{fold}/{m}"] for m in ("mel", "fused", "control"))
        assert fused["modalities"] == ["levelset", "mel"]
        assert (alone["epochs"], fused["epochs"], control["epochs"]) == (4, 1, 5)
        assert control["steps"] == alone["steps"] + fused["steps"] > 0
