"""``fusion cache export`` and ``fusion cache import``, and runs on imported features."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile

from fusion.core.cli import run_cli

SMALL = ["--set", "train.dim=8", "--epochs", "2", "--jobs", "2"]
MEL = ["--set", "mel.n_mels=16", "--set", "mel.frames=32", "--set", "train.windows=middle",
       "--set", "branch.mel.blocks=2", "--set",
       "branch.mel.channels=4"]  # fmt: skip
CLASSES = ("happy", "sad")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Table of six speakers with two noise recordings per class.

    The feature `face`, in .npy files, separates the classes well; `body`, in an HDF5 file, less
    well.
    """
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    rows, bodies = [], []
    (folder / "face").mkdir()
    for speaker in range(6):
        for label, name in enumerate(CLASSES):
            for take in range(2):
                clip = f"s{speaker}-{name}-{take}"
                soundfile.write(folder / f"{clip}.wav", 0.1 * rng.normal(size=4000), 16000)
                face = label + 0.1 * rng.normal(size=5)
                np.save(folder / f"face/{clip}.npy", face.astype(np.float32))
                bodies.append(label + rng.normal(size=(3, 8)))
                rows.append((f"{clip}.wav", name, f"s{speaker}", f"face/{clip}.npy"))
    with (folder / "clips.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "speaker", "face"), *rows])
    with h5py.File(folder / "body.h5", "w") as file:
        file["body"], file["paths"] = bodies, [row[0] for row in rows]
    return folder


@pytest.fixture(scope="module")
def cache(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Cache with both features imported."""
    folder = str(tmp_path_factory.mktemp("features"))
    for name, source, more in (
        ("face", "clips.csv", []),
        ("body", "body.h5", ["--dtype", "float16"]),
    ):
        arguments = ["cache", "import", name, str(corpus / source), "--cache", folder, *more]
        assert run_cli(arguments) == 0
    return folder


def run(corpus: Path, cache: str, out: Path, *more: str) -> int:
    return run_cli(["run", "--data", str(corpus / "clips.csv"), "--cache", cache, "--out", str(out),
                    *SMALL, *more])  # fmt: skip


@pytest.fixture(scope="module")
def finished(corpus: Path, cache: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    assert run(corpus, cache, out, "--features", "mel,face,body", "--quiet", *MEL) == 0
    return out


def test_the_output_of_an_import(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = ["cache", "import", "face", str(corpus / "clips.csv"), "--cache", str(tmp_path)]
    assert run_cli(arguments) == 0
    output = capsys.readouterr()
    assert output.out == (
        "24 arrays of shape (5,), float32, stored as 'face' version 1\n"
        "columns not used: label, speaker\n"
    )
    assert output.err == ""
    assert run_cli(arguments) == 0
    assert capsys.readouterr().out.startswith(
        "0 arrays of shape (5,), float32, stored as 'face' version 1; 24 were stored already\n"
    )


def test_a_run_on_imported_features(finished: Path) -> None:
    info = json.loads((finished / "run.json").read_text())
    assert info["features"]["face"] == {
        "id": info["features"]["face"]["id"], "version": "1", "parameters": {"imported": True},
        "shape": [5], "dtype": "float32", "libraries": {},
    }  # fmt: skip
    assert (info["features"]["body"]["shape"], info["features"]["body"]["dtype"]) == (
        [3, 8],
        "float16",
    )
    assert info["config"]["settings"]["face"] == {"version": "1"}
    branches = {b["modality"]["name"]: b["branch"] for b in info["model"]["branches"]}
    assert branches == {"mel": "cnn", "face": "mlp", "body": "mlp"}
    assert info["failures"] == []
    models = {m["name"] for m in json.loads((finished / "results.json").read_text())["models"]}
    assert models == {"mel", "face", "body", "control", "fused", "ensemble", "chosen"}


@pytest.mark.slow
def test_a_run_on_imported_features_is_resumed(
    finished: Path, corpus: Path, cache: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """The run lacks one training and its results; another version was imported meanwhile."""
    import shutil

    copy, features = tmp_path / "copy", tmp_path / "features"
    shutil.copytree(finished, copy)
    shutil.copytree(cache, features)
    info = json.loads((copy / "run.json").read_text())
    info["config"]["cache"] = str(features)
    (copy / "run.json").write_text(json.dumps(info))
    shutil.rmtree(copy / "fold0" / "face")
    (copy / "results.json").unlink()
    assert run_cli(["cache", "import", "face", str(corpus / "clips.csv"), "--version", "2",
                    "--dtype", "float16", "--cache", str(features)]) == 0  # fmt: skip
    assert run_cli(["run", "--resume", str(copy), "--quiet"]) == 0
    assert (copy / "results.json").read_bytes() == (finished / "results.json").read_bytes()
    capsys.readouterr()
    assert run(corpus, str(features), tmp_path / "new", "--features", "face") == 2
    error = capsys.readouterr().err
    assert "several imports of 'face': 1 (float32" in error and "--set face.version=2" in error
    out = tmp_path / "new"
    assert run(corpus, str(features), out, "--features", "face", "--set", "face.version=2") == 0
    assert json.loads((out / "run.json").read_text())["features"]["face"]["dtype"] == "float16"


def test_predict(corpus: Path, cache: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "run"
    assert run(corpus, cache, out, "--features", "face,body", "--quiet") == 0
    capsys.readouterr()
    reference = tmp_path / "renamed.wav"
    reference.write_bytes((corpus / "s0-sad-0.wav").read_bytes())
    other = tmp_path / "other.wav"
    soundfile.write(other, np.ones(4000), 16000)
    assert run_cli(["predict", str(out), str(other), str(reference), "--json"]) == 2
    output = capsys.readouterr()
    unknown, labelled = map(json.loads, output.out.splitlines())
    assert labelled["label"] in CLASSES and labelled["error"] is None
    assert unknown["label"] is None
    assert "it has no face" in unknown["error"] and str(other) in unknown["error"]
    assert "which the chosen model takes" in output.err and "Traceback" not in output.err


@pytest.mark.slow
def test_clips_without_an_array_are_left_out(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    table = (corpus / "clips.csv").read_text().splitlines()
    some = corpus / "some.csv"
    some.write_text("\n".join([*table[:1], *table[2:]]))
    cache = str(tmp_path / "cache")
    assert run_cli(["cache", "import", "face", str(some), "--cache", cache]) == 0
    capsys.readouterr()
    arguments = ("--features", "face")
    assert run(corpus, cache, tmp_path / "run", *arguments) == 0
    error = capsys.readouterr().err
    assert "left out: no array of 'face' was imported for" in " ".join(error.split())
    info = json.loads((tmp_path / "run/run.json").read_text())
    assert len(info["failures"]) == 1
    assert info["failures"][0]["recording"].endswith("s0-happy-0.wav")
    assert sum(p["clips"] for p in info["split"]["parts"][0].values()) == 23
    assert run(corpus, cache, tmp_path / "strict", *arguments, "--strict") == 2
    assert "no array of 'face' was imported for" in capsys.readouterr().err


def test_cache_build_counts_imported_features(
    corpus: Path, cache: str, capsys: pytest.CaptureFixture
) -> None:
    arguments = ["cache", "build", "--data", str(corpus / "clips.csv"), "--cache", cache]
    assert run_cli([*arguments, "--features", "face,body", "--quiet"]) == 0
    assert "0 computed, 48 present already, 0 failed" in capsys.readouterr().out


@pytest.mark.parametrize("out", ["face.h5", "face.npy"])
def test_an_exported_file_imports_to_the_same_arrays(
    corpus: Path, cache: str, tmp_path: Path, out: str, capsys: pytest.CaptureFixture
) -> None:
    file = tmp_path / out
    assert run_cli(["cache", "export", "face", str(file), "--cache", cache]) == 0
    output = capsys.readouterr().out
    assert output.startswith(f"24 arrays of shape (5,), float32, written to {file}")
    assert output.endswith(" kB)\n") and output.count("\n") == 1
    other = str(tmp_path / "cache")
    assert run_cli(["cache", "import", "face", str(file), "--cache", other]) == 0
    assert "24 arrays of shape (5,), float32" in capsys.readouterr().out
    assert run_cli(["cache", "export", "face", str(tmp_path / f"2{out}"), "--cache", other]) == 0
    assert (tmp_path / f"2{out}").read_bytes() == file.read_bytes()


MISTAKES = {
    "no feature": (["export", "fase", "x.h5"], ["no feature 'fase'", "body, face"]),
    "no format": (["export", "face", "x"], [".h5, .hdf5 and .npy", "--format"]),
    "there already": (["export", "face", "there.h5"], ["there.h5 already exists", "--overwrite"]),
    "a plugin's name": (
        ["import", "mel", "there.h5"],
        ["'mel'", "extractor", "copy their folder"],
    ),
    "a name": (["import", "my-face", "there.h5"], ["'my-face'", "lower-case"]),
    "no source": (["import", "face", "none.csv"], ["none.csv does not exist", "TSV"]),
    "no HDF5": (["import", "face", "there.h5"], ["there.h5 is not an HDF5 file"]),
    "no dtype": (["import", "face", "a.csv", "--dtype", "flat"], ["no dtype 'flat'"]),
    "no number": (["import", "face", "a.csv"], ["a.csv, line 3", "shape (2,)", "(1,)"]),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_in_transfer(
    case: str, cache: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("there.h5").write_text("something else")
    np.save("1.npy", np.zeros(1))
    np.save("2.npy", np.zeros(2))
    Path("a.csv").write_text("key,feature\na,1.npy\nb,2.npy\n")
    arguments, words = MISTAKES[case]
    assert run_cli(["cache", *arguments, "--cache", cache]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    for word in words:
        assert word in error


def test_keys_that_no_run_will_find_are_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    np.save(tmp_path / "1.npy", np.zeros(1))
    table = tmp_path / "a.csv"
    table.write_text("key,feature\nutterance 7,1.npy\n")
    assert run_cli(["cache", "import", "x", str(table), "--cache", str(tmp_path / "c")]) == 0
    output = capsys.readouterr()
    assert output.out == "1 array of shape (1,), float64, stored as 'x' version 1\n"
    assert "'utterance 7'" in output.err and "will not find" in output.err


def test_messages_have_singular_forms(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    np.save(tmp_path / "1.npy", np.zeros(1))
    table, cache = tmp_path / "a.csv", tmp_path / "c"
    key = "k" * 500
    table.write_text(f"key,feature\n{key},1.npy\n{key},1.npy\n")
    assert run_cli(["cache", "import", "x", str(table), "--cache", str(cache)]) == 0
    output = capsys.readouterr()
    assert "; 1 row repeats a recording" in output.out
    assert f"such as '{'k' * 40}... (460 more)', are" in output.err and key not in output.err
    debris = next(cache.glob("x-*")) / f".{'0' * 32}.elsewhere.1.tmp"
    debris.touch()
    os.utime(debris, (0, 0))
    assert run_cli(["cache", "info", "--cache", str(cache)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "1 item of shape (1,) in 1 shard, " in lines[1]
    assert "      1 temporary file of killed builds" in lines
    assert not any(line.rstrip().endswith(";") for line in lines)


def test_an_export_replaces_a_file_only_with_overwrite(cache: str, tmp_path: Path) -> None:
    out = tmp_path / "x.bin"
    out.write_text("old")
    arguments = ["cache", "export", "body", str(out), "--cache", cache, "--format", "hdf5"]
    assert run_cli(arguments) == 2
    assert out.read_text() == "old"
    assert run_cli([*arguments, "--overwrite"]) == 0
    with h5py.File(out) as file:
        assert file["body"].shape == (24, 3, 8) and file["body"].dtype == np.float16
