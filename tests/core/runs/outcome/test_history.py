"""Epochs of trainings, read after and during training."""

import json

import pytest
from run_records import model_of, record_of

from fusion.core.runs.outcome.history import kept_epochs, read_epochs, read_history
from fusion.core.runs.record import SplitRecord
from fusion.core.runs.run import Run
from fusion.core.runs.trainings import CONTROL, FUSED, Training


@pytest.fixture
def run(tmp_path):
    """Run with two folds, two modalities and a control, in which nothing is trained yet."""
    run = Run(tmp_path)
    split = SplitRecord("speaker", True, 2, ("", ""))
    record = record_of(model=model_of(("mel", "face")), split=split, control=3)
    run.write_json("run.json", record.to_json())
    return run


def write(run, name, *records, rest=""):
    run.write_text(f"{name}/epochs.jsonl", "".join(json.dumps(r) + "\n" for r in records) + rest)


def test_trainings_are_listed_by_fold_with_the_baselines_first(run):
    write(run, "fold1/fused", {"epoch": 1})
    assert read_history(run) == {
        f"fold{k}/{model}": [{"epoch": 1}] if (k, model) == (1, FUSED) else []
        for k in (0, 1)
        for model in ("mel", "face", FUSED, CONTROL)
    }
    assert list(read_history(run))[:5] == [
        "fold0/mel", "fold0/face", "fold0/fused", "fold0/control", "fold1/mel"]  # fmt: skip


def test_an_incomplete_last_line_is_skipped(run):
    write(run, "fold0/mel", {"epoch": 1, "x": None}, {"epoch": 2}, rest='{"epoch": 3, "tr')
    assert read_epochs(run, Training(0, "mel")) == [{"epoch": 1, "x": None}, {"epoch": 2}]
    write(run, "fold0/mel", rest='{"epoch": 1')
    assert read_epochs(run, Training(0, "mel")) == []
    write(run, "fold0/mel")
    assert read_epochs(run, Training(0, "mel")) == []


def test_a_tuned_training_keeps_the_epochs_of_the_chosen_trial(run):
    records = [{"trial": t, "epoch": e} for t in (0, 1, 2) for e in (1, 2)]
    write(run, "fold0/mel", *records)
    assert kept_epochs(run, Training(0, "mel"), {"trial": 1}) == records[2:4]
    assert read_history(run)["fold0/mel"] == records


def test_an_untuned_training_keeps_all_epochs(run):
    write(run, "fold0/mel", {"epoch": 1}, {"epoch": 2})
    assert len(kept_epochs(run, Training(0, "mel"), {"best_epoch": 1})) == 2
    assert kept_epochs(run, Training(0, "face"), {}) == []
