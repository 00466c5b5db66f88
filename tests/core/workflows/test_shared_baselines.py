"""Trainings that cells share on disk: links if possible, else complete copies."""

import os

import pytest
from run_records import record_of

from fusion.core.runs.run import Run
from fusion.core.runs.trainings import FUSED, Training
from fusion.core.workflows import shared_baselines as cells


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A run with finished baselines of one fold and their predictions, and an empty cell."""
    both = [Training(0, FUSED), Training(0, "mel")]
    monkeypatch.setattr(cells, "trainings_of", lambda run: both)
    source, target = Run(tmp_path / "a b"), Run(tmp_path / "cell")
    for run in (source, target):
        run.write_json("run.json", record_of().to_json())
    for name in ("training.json", "model.safetensors", "val.npz"):
        source.write_text(f"fold0/mel/{name}", name)
    return source, target


def files(run):
    return {p.name: p.read_text() for p in run.training("fold0/mel").iterdir()}


def test_shared_baselines_are_links(runs):
    source, target = runs
    cells.share_baselines(source, target)
    assert files(target) == files(source)
    one = source.training("fold0/mel") / "model.safetensors"
    assert one.samefile(target.training("fold0/mel") / "model.safetensors")


def test_without_links_no_incomplete_copy_is_left(runs, monkeypatch):
    source, target = runs

    def no_links(*_):
        raise OSError

    monkeypatch.setattr(os, "link", no_links)
    copy, recorded = cells.shutil.copy2, []

    def dies(a, b):
        recorded.append(b.name)
        if a.name == "training.json":
            b.write_text("half")
            raise KeyboardInterrupt
        copy(a, b)

    with monkeypatch.context() as patch:
        patch.setattr(cells.shutil, "copy2", dies)
        with pytest.raises(KeyboardInterrupt):
            cells.share_baselines(source, target)
    assert not target.finished("fold0/mel")
    assert all(name.startswith(".") for name in recorded)
    cells.share_baselines(source, target)
    assert files(target) == files(source)


def test_a_finished_training_is_not_replaced(runs):
    source, target = runs
    target.write_text("fold0/mel/training.json", "own")
    cells.share_baselines(source, target)
    assert files(target) == {"training.json": "own"}


def test_predictions_are_shared_in_both_directions_and_replace_nothing(runs):
    source, target = runs
    target.write_text("fold0/mel/val.npz", "own")
    target.write_text("fold0/mel/test.npz", "new")
    cells.share_predictions(source, target)
    assert files(target)["val.npz"] == "own"
    cells.share_predictions(target, source)
    assert files(source)["test.npz"] == "new" and files(source)["val.npz"] == "val.npz"
