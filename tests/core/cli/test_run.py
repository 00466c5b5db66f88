"""Whole runs through the command line, on a small corpus of tones."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from small_runs import SMALL

from fusion.core.cli import run_cli


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_run_directory_is_complete(finished):
    info = json.loads((finished / "run.json").read_text())
    assert info["config"]["strategy"] == "gated"
    assert info["config"]["balancers"] == ["gradscale"]
    assert info["split"]["speaker_independent"] is True
    assert len(info["split"]["digests"]) == 1
    assert info["versions"]["torch"]
    assert set(info["features"]) == {"mel", "persistence"}
    shares = {m["group"]: m["weight"] for m in info["handed_out"]}
    assert sum(shares.values()) == pytest.approx(1)

    clips = rows_of(finished / "clips.csv")
    assert len(clips) == 54
    parts = {}
    for clip in clips:
        parts.setdefault(clip["fold0"], set()).add(clip["speaker"])
    assert set(parts) == {"train", "val", "test"}
    assert not parts["train"] & parts["test"] and not parts["val"] & parts["test"]

    predictions = rows_of(finished / "predictions.csv")
    models = {row["model"] for row in predictions}
    assert models == {"mel", "persistence", "control", "fused", "ensemble", "chosen"}
    assert {row["speaker"] for row in predictions} == parts["test"]
    assert float(predictions[0]["p_happy"]) + float(predictions[0]["p_sad"]) == pytest.approx(
        1, abs=1e-4
    )

    epochs = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    last = {e["training"].removeprefix("fold0/"): e["epoch"] for e in epochs}
    # A quarter of three epochs for the fused model, at least one; the control trains for the sum.
    assert last == {"mel": 3, "persistence": 3, "fused": 1, "control": 4}
    assert len(epochs) == sum(last.values())
    fused = [e for e in epochs if e["training"] == "fold0/fused"]
    assert "gradscale.mel" in fused[0] and "weight.mel" in fused[0]
    assert (finished / "confusion.csv").is_file() and (finished / "model.safetensors").is_file()


def test_the_table_agrees_with_the_predictions(finished):
    """UAR and WA of every model are computed again from predictions.csv with scikit-learn."""
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

    results = json.loads((finished / "results.json").read_text())
    rows = rows_of(finished / "predictions.csv")
    for model in results["models"]:
        own = [r for r in rows if r["model"] == model["name"]]
        truth, said = [r["label"] for r in own], [r["predicted"] for r in own]
        assert model["uar"]["value"] == pytest.approx(
            balanced_accuracy_score(truth, said), abs=1e-5
        )
        assert model["accuracy"]["value"] == pytest.approx(accuracy_score(truth, said), abs=1e-5)
        assert model["macro_f1"] == pytest.approx(f1_score(truth, said, average="macro"), abs=1e-5)


def test_the_same_seed_gives_the_same_weights(finished, corpus, cache, tmp_path, capsys):
    """Another run with another number of processes gives identical bytes."""
    out = tmp_path / "again"
    options = [o for o in SMALL if o not in ("--jobs", "2")]
    code = run_cli(["run", "--data", str(corpus), "--cache", cache, "--out", str(out),
                    "--strategy", "gated", "--balance", "gradscale", "--epochs", "3", "--jobs", "1",
                    *options])  # fmt: skip
    assert code == 0
    seen = capsys.readouterr()
    assert "108 found in the cache" in seen.err and "computed in" not in seen.err
    assert "Chosen model:" in seen.out and "macro-F1" in seen.out
    for name in ("predictions.csv", "results.json", "selection.json"):
        assert (out / name).read_bytes() == (finished / name).read_bytes(), name
    for model in ("mel", "persistence", "fused", "control"):
        weights = f"fold0/{model}/model.safetensors"
        assert (out / weights).read_bytes() == (finished / weights).read_bytes(), model


def test_folds_test_every_speaker_once(corpus, cache, tmp_path, capsys):
    out = tmp_path / "folds"
    code = run_cli(["run", "--data", str(corpus), "--cache", cache, "--out", str(out), "--folds",
                    "3", "--epochs", "2", "--json", "--strategy", "concat", *SMALL])  # fmt: skip
    assert code == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["models"][0]["uar"]["groups"] == 9
    (data,) = printed["data"]
    assert (data["total"], data["clips"], data["passed_over"]) == (54, 54, {})
    assert len(printed["models"][0]["fold_uar"]) == 3
    fused = [r for r in rows_of(out / "predictions.csv") if r["model"] == "fused"]
    assert len(fused) == len({r["clip"] for r in fused}) == 54
    info = json.loads((out / "run.json").read_text())
    assert len({m["training"].split("/")[0] for m in info["handed_out"]}) == 3
    # A finished run that is resumed prints its result again and trains nothing.
    before = (out / "model.safetensors").stat().st_mtime_ns
    assert run_cli(["run", "--resume", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == printed
    assert (out / "model.safetensors").stat().st_mtime_ns == before


@pytest.mark.attack("kill of a training")
def test_a_killed_run_is_resumed_to_the_same_result(finished, corpus, cache, tmp_path):
    """SIGKILL comes in the middle of training; --resume gives the uninterrupted run's results."""
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "fusion", "run", "--data", str(corpus), "--cache", cache,
               "--out", str(out), "--strategy", "gated", "--balance", "gradscale", "--epochs", "3",
               "--quiet", *SMALL]  # fmt: skip
    process = subprocess.Popen(command, cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not list(out.glob("fold0/*/epochs.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "results.json").exists()
    assert run_cli(["run", "--resume", str(out), "--quiet"]) == 0
    assert (out / "results.json").read_bytes() == (finished / "results.json").read_bytes()
    epochs = (out / "metrics.jsonl").read_text().splitlines()
    assert len(epochs) == 3 + 3 + 1 + 4


def test_lost_results_are_written_again(finished, tmp_path, capsys):
    """A finished run that lost its results or its model is completed by --resume."""
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    (copy / "results.json").unlink()
    (copy / "model.safetensors").unlink()
    assert run_cli(["run", "--resume", str(copy), "--quiet"]) == 0
    for name in ("results.json", "model.safetensors"):
        assert (copy / name).read_bytes() == (finished / name).read_bytes()
    (copy / "results.json").unlink()
    clips = (copy / "clips.csv").read_text()
    (copy / "clips.csv").write_text(clips.replace(",train", ",test", 1))
    assert run_cli(["run", "--resume", str(copy), "--quiet"]) == 2
    assert "hold different splits" in capsys.readouterr().err


TRACKER = """
from fusion import Tracker, hookimpl

class Bad(Tracker):
    name = "bad"

    def epoch(self, event):
        raise RuntimeError("no network")

@hookimpl
def fusion_trackers():
    return [Bad]
"""


def test_a_tracker_that_fails_does_not_stop_the_run(corpus, cache, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.py").write_text(TRACKER)
    code = run_cli(["run", "-p", "bad.py", "--tracker", "bad", "--data", str(corpus), "--cache",
                    cache, "--out", "out", "--epochs", "1", *SMALL])  # fmt: skip
    assert code == 0
    error = capsys.readouterr().err
    assert error.count("The tracker 'bad' failed in epoch") == 1 and "no network" in error


def test_a_loss_that_explodes_exits_1_and_names_the_cause(corpus, cache, tmp_path, capsys):
    code = run_cli(["run", "--data", str(corpus), "--cache", cache, "--out", str(tmp_path / "out"),
                    "--epochs", "2", "--lr", "1e30", "--set", "train.optimizer=sgd", "--set",
                    "train.clip=0", *SMALL])  # fmt: skip
    error = capsys.readouterr().err
    assert code == 1
    assert "no longer finite at step" in error and "train.lr=1e+30" in error
    assert "Traceback" not in error


def test_a_run_keeps_its_defaults_when_they_change(finished, monkeypatch, capsys, corpus):
    """Default settings are stored, so that a later default does not change an older run."""
    settings = json.loads((finished / "run.json").read_text())["config"]["settings"]
    assert settings["train"]["lr"] == 0.003 and settings["train"]["dim"] == 8
    assert settings["gradscale"]["limit"] == 3.0 and settings["gated"]["hidden"] == 32
    assert settings["gated"]["gate"] == "held_out" and settings["train"]["start"] == "baselines"
    assert settings["mel"]["hop"] == 512 and settings["branch.mel"]["stem_stride"] == 1


def test_require_gain_sets_the_exit_code(corpus, cache, tmp_path, finished, capsys):
    results = json.loads((finished / "results.json").read_text())
    code = run_cli(["run", "--resume", str(finished), "--require-gain"])
    assert code == (1 if results["comparisons"]["fused"]["difference"] < 0 else 0)


PLUGIN = """
import torch
from fusion import Strategy, hookimpl

class Total(Strategy):
    '''Adds the embeddings.'''
    name = "total"

    def __init__(self, dims: dict[str, int], num_classes: int) -> None:
        super().__init__(dims, num_classes)
        self.head = torch.nn.Linear(next(iter(dims.values())), num_classes)

    def forward(self, embeddings):
        return self.head(sum(embeddings.values()))

@hookimpl
def fusion_strategies():
    return [Total]
"""


def test_a_strategy_from_a_single_file(corpus, cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(PLUGIN)
    code = run_cli(["run", "-p", "./mine.py", "--strategy", "total", "--data", str(corpus),
                    "--cache", cache, "--out", "out", "--epochs", "1", "--quiet",
                    *SMALL])  # fmt: skip
    assert code == 0
    assert json.loads((tmp_path / "out/run.json").read_text())["model"]["strategy"] == "total"


EXTRACTOR = """
import numpy as np
from fusion import Extractor, hookimpl
from fusion.core.toolkit.audio import load_waveform

class Energy(Extractor):
    '''Energy in a few parts of the clip.

    Parameters
    ----------
    parts : int
        How many.
    '''
    name = "energy"

    def __init__(self, *, parts: int = 4) -> None:
        self.parts = parts
        self.shape = (parts,)

    def extract(self, recording):
        y = load_waveform(recording, 16000)
        return np.array([np.square(p).mean() for p in np.array_split(y, self.parts)], np.float32)

@hookimpl
def fusion_extractors():
    return [Energy]
"""


def test_three_modalities_one_of_them_from_a_file(corpus, cache, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "energy.py").write_text(EXTRACTOR)
    code = run_cli(["run", *SMALL, "-p", "energy.py", "--features", "mel,persistence,energy",
                    "--set", "energy.parts=3", "--data", str(corpus), "--cache", cache, "--out",
                    "out", "--epochs", "1", "--json", "--balance", "gradscale"])  # fmt: skip
    assert code == 0
    assert set(json.loads(capsys.readouterr().out)["weights"]) == {"mel", "persistence", "energy"}
    branches = json.loads((tmp_path / "out/run.json").read_text())["model"]["branches"]
    assert branches[2]["branch"] == "mlp" and branches[2]["modality"]["shape"] == [3]


def test_a_damaged_recording_is_left_out_counted_and_listed(corpus, cache, tmp_path, capsys):
    import shutil

    folder = tmp_path / "damaged"
    shutil.copytree(corpus.parent, folder)
    (folder / "s0-happy-0.wav").write_bytes(b"RIFF no")
    small = [*SMALL[:4], "--set", "branch.mel.blocks=2", "--jobs", "2"]
    arguments = ["run", "--data", str(folder / "clips.csv"), "--cache", cache, "--epochs", "1",
                 "--features", "mel", *small]  # fmt: skip
    out = tmp_path / "out"
    assert run_cli([*arguments, "--out", str(out)]) == 0
    assert "s0-happy-0.wav" in capsys.readouterr().err
    info = json.loads((out / "run.json").read_text())
    assert len(info["failures"]) == 1 and "s0-happy-0.wav" in info["failures"][0]["recording"]
    assert len(rows_of(out / "clips.csv")) == 53
    code = run_cli([*arguments, "--out", str(tmp_path / "strict"), "--strict"])
    assert code == 2
    assert "s0-happy-0.wav" in capsys.readouterr().err
