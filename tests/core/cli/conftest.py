"""A small corpus, its features, and a finished run on it."""

import csv

import numpy as np
import pytest
import soundfile
from small_runs import SMALL

from fusion.core.cli import run_cli


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """Nine speakers say two classes, three clips each: tones that differ by class and speaker."""
    folder = tmp_path_factory.mktemp("tones")
    rng = np.random.default_rng(0)
    rows = []
    for speaker in range(9):
        for label, pitch in (("happy", 400), ("sad", 200)):
            for take in range(3):
                t = np.arange(8000) / 16000
                tone = np.sin(2 * np.pi * (pitch + 7 * speaker) * t * (1 + 0.02 * rng.normal()))
                name = f"s{speaker}-{label}-{take}.wav"
                noise = 0.05 * rng.normal(size=len(t))
                soundfile.write(folder / name, 0.5 * tone * np.hanning(len(t)) + noise, 16000)
                rows.append((name, label, f"s{speaker}"))
    table = folder / "clips.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "speaker"), *rows])
    return table


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("features"))


@pytest.fixture(scope="session")
def finished(corpus, cache, tmp_path_factory):
    """One finished run with gated fusion and gradscale."""
    out = tmp_path_factory.mktemp("runs") / "run"
    code = run_cli(["run", "--data", str(corpus), "--cache", cache, "--out", str(out),
                    "--strategy", "gated", "--balance", "gradscale", "--epochs", "3", "--quiet",
                    *SMALL])  # fmt: skip
    assert code == 0
    return out
