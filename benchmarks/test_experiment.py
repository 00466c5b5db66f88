"""A whole experiment against the plain loop. ``pytest benchmarks/test_experiment.py -s``

``python benchmarks/experiment.py`` measures larger ones.
"""

from __future__ import annotations

from pathlib import Path

import experiment
import pytest
from timing import busy

SMALL = ("--speakers", "6", "--clips", "2", "--folds", "3", "--epochs", "3")


def test_folds_and_models_against_the_plain_loop(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = experiment.measure(experiment.options(*SMALL, "--cache", str(tmp_path)))
    with capsys.disabled():
        print("\n" + "\n".join(filter(None, [busy(), experiment.line(figures)])))
    assert figures["ratio"] > 0  # so small, it is start and end that count
