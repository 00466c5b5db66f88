"""Options that describe tables, from the command line to the run directory."""

import csv
import json

import numpy as np
import pytest

from fusion.core.cli import run_cli

NAMED = ["--column", "label=mood", "--column", "speaker=who", "--ignore-column", "label",
         "--map-label", "glad=happy"]  # fmt: skip


@pytest.fixture
def table(corpus, tmp_path):
    """A table as pandas writes it, with names of its own, Windows paths and one number per row."""
    path = corpus.parent / "own.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["", "file", "mood", "who", "label", "level"])
        for number, wav in enumerate(sorted(corpus.parent.glob("*.wav"))):
            speaker, label, _ = wav.stem.split("-")
            mood = "glad" if label == "happy" else label
            windows = f"D:\\tones\\{wav.name}"
            writer.writerow([number, windows, mood, speaker, number, number / 7])
    yield path
    path.unlink()


def test_columns_and_labels_are_stored_and_repeated(table, cache, tmp_path, capsys):
    out = tmp_path / "run"
    command = ["run", "--data", str(table), *NAMED, "--cache", cache, "--out", str(out),
               "--epochs", "1", "--jobs", "1", "--features", "mel,precomputed",
               "--set", f"precomputed.table={table}", "--set", "precomputed.ignore=label",
               "--set", "mel.n_mels=16", "--set", "mel.frames=32", "--set", "train.dim=8",
               "--set", "branch.mel.blocks=2", "--set", "branch.mel.channels=4"]  # fmt: skip
    assert run_cli(command) == 0
    printed = capsys.readouterr()
    assert (
        "precomputed" in printed.err
        and "columns of own.csv that are features (1): level" in printed.err
    )
    info = json.loads((out / "run.json").read_text())
    assert info["config"]["columns"] == {"label": "mood", "speaker": "who"}
    assert info["config"]["label_map"] == {"glad": "happy"}
    assert info["columns"] == {"table": {"label": "mood", "path": "file", "speaker": "who"}}
    assert info["classes"] == ["happy", "sad"]
    assert info["features"]["precomputed"]["parameters"]["columns"] == ["level"]
    page = (out / "report.html").read_text()
    assert "--column label=mood" in page and "--map-label glad=happy" in page


def test_a_column_that_does_not_exist_is_named_before_the_long_work(table, tmp_path, capsys):
    code = run_cli(["cache", "build", "--data", str(table), "--column", "label=moods",
                    "--cache", str(tmp_path / "c")])  # fmt: skip
    assert code == 2
    assert "There is no column 'moods'. Columns: file, mood, who, label, level." in (
        capsys.readouterr().err
    )
    assert run_cli(["run", "--data", str(table), "--column", "label"]) == 2
    assert "--column must be NAME=VALUE, and is 'label'" in capsys.readouterr().err


def test_an_import_accepts_columns_of_other_names(table, corpus, tmp_path, capsys):
    folder = corpus.parent
    np.save(folder / "a.npy", np.zeros(3, np.float32))
    source = folder / "features.csv"
    source.write_text("Clip,vector\ns0-sad-0.wav,a.npy\n")
    command = ["cache", "import", "video", str(source), "--cache", str(tmp_path / "c")]
    assert run_cli([*command]) == 2
    assert "no column path" in capsys.readouterr().err
    assert run_cli([*command, "--column", "path=Clip", "--column", "feature=vector"]) == 0
    assert "1 array of shape (3,)" in capsys.readouterr().out
