"""A small corpus, its features, and a finished run on it."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
from listed_plugins import BROKEN, CLASH, PLUGIN
from small_runs import SMALL

from fusion.core.analysis import explain
from fusion.core.cli import run_cli
from fusion.core.runs.execution import scheduler
from fusion.core.runs.execution.scheduler import in_processes
from fusion.core.runs.outcome import predictions


@pytest.fixture(scope="module", autouse=True)
def trained_in_this_process():
    """Train and predict in this process: each worker process would import torch first.

    Worker processes are tested in tests/core/runs/execution, by comparisons, and by tests that
    start and kill a whole command.
    """

    def here(function, run, trainings, jobs, meanwhile):
        return in_processes(function, run, trainings, 0, meanwhile)

    with pytest.MonkeyPatch.context() as patch:
        for module in (scheduler, predictions, explain):
            patch.setattr(module, "in_processes", here)
        yield


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """Tones of nine speakers, two classes, three clips each; pitch varies by class and speaker."""
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
    """Finished run with gated fusion and gradscale."""
    out = tmp_path_factory.mktemp("runs") / "run"
    code = run_cli(["run", "--data", str(corpus), "--cache", cache, "--out", str(out),
                    "--strategy", "gated", "--balance", "gradscale", "--epochs", "3", "--quiet",
                    *SMALL])  # fmt: skip
    assert code == 0
    return out


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN)
    return file


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install two distributions: one fails to import, one registers a name that is taken."""
    for name, text in (("broken_one", BROKEN), ("clashing_one", CLASH)):
        (tmp_path / f"{name}.py").write_text(text)
        info = tmp_path / f"{name}-2.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: fusion-{name}\nVersion: 2.5\n"
        )
        (info / "entry_points.txt").write_text(f"[fusion]\n{name} = {name}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
