"""Data of a finished run, read from its files."""

import pytest

from fusion.core.analysis.report.run_data import read_run, series
from fusion.core.runs.run import Run


def test_epochs_without_the_value_are_omitted():
    records = [{"epoch": 1, "x": 0.5}, {"epoch": 2, "x": None}, {"epoch": 3}, {"epoch": 4, "x": 1}]
    assert series(records, "x").tolist() == [[1, 0.5], [4, 1]]
    assert series(records, "y").shape == (0, 2)


def test_reading_a_run(made):
    run = read_run(Run.open(made(("a", "b"), 3)))
    assert run.modalities == ["a", "b"] and run.folds == 3 and run.label == "sum"
    assert len(run.records("fused")) == 3
    found = run.predictions
    assert found.probabilities["a"].shape == (36, 2)
    # Probabilities and predicted classes have the same order of clips.
    for model in run.models:
        assert (found.probabilities[model].argmax(axis=1) == found.per_clip.predicted[model]).all()
        assert found.correct(model).mean() == pytest.approx(run.results.model(model).accuracy.value)


def test_a_tuned_training_has_the_records_of_its_chosen_trial(run):
    folder = run / "fold0" / "a"
    (folder / "training.json").write_text('{"trial": 1, "trials": 2}')
    (folder / "epochs.jsonl").write_text(
        '{"trial": 0, "epoch": 1, "val_uar": 0.1}\n{"trial": 1, "epoch": 1, "val_uar": 0.2}\n'
    )
    read = read_run(Run.open(run))
    assert [r["val_uar"] for r in read.records("a")[0]] == [0.2]
