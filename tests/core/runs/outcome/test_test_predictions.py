"""Stored predictions of test clips, and their counts by speaker and fold."""

import csv
from pathlib import Path

import numpy as np
import pytest
from run_records import record_of, split_of

from fusion.core.contracts import Clip, Recording
from fusion.core.contracts.errors import RunError
from fusion.core.data.dataset import RunData
from fusion.core.data.splits import Split
from fusion.core.runs.outcome.test_predictions import SavedPredictions
from fusion.core.runs.run import Run

HEADER = ["fold", "clip", "corpus", "speaker", "label", "model", "predicted"]
# Fold, clip, speaker, class, and the predictions of a and b.
CLIPS = [
    (1, "z", "s1", "low", "low", "high"),
    (0, "y", "s2", "high", "low", "high"),
    (0, "x", "s1", "low", "low", "low"),
    (1, "w", "s1", "high", "high", "low"),
]
ROWS = [
    [fold, clip, "c", speaker, label, model, said]
    for model, which in (("b", 5), ("a", 4))
    for fold, clip, speaker, label, said in (
        (*row[:4], row[which]) for row in (CLIPS if model == "a" else CLIPS[::-1])
    )
]


@pytest.fixture
def run(tmp_path):
    run = Run(tmp_path)
    run.write_json("run.json", record_of().to_json())
    run.write_csv("predictions.csv", [HEADER, *ROWS])
    return run


def test_predictions_are_read_by_clip_in_any_order_of_rows(run):
    said = SavedPredictions.read(run)  # sorted by fold, corpus, name: x y, w z
    assert said.fold.tolist() == [0, 0, 1, 1] and said.targets.tolist() == [0, 1, 1, 0]
    assert said.speakers.tolist() == ["c/s1", "c/s2", "c/s1", "c/s1"]
    assert {m: p.tolist() for m, p in said.predicted.items()} == {
        "b": [0, 1, 0, 1], "a": [0, 0, 1, 0]}  # fmt: skip
    assert said.classes == 2 and said.absent == {}
    assert said.clips == {("c", name) for name in "wxyz"}


def test_confusions_by_speaker_of_all_folds_and_of_one(run):
    said = SavedPredictions.read(run)
    assert said.confusions("a").tolist() == [[[2, 0], [0, 1]], [[0, 0], [1, 0]]]
    assert said.confusions("a", fold=0).tolist() == [[[1, 0], [0, 0]], [[0, 0], [1, 0]]]
    # s2 is not tested in fold 1 and has zeros there.
    assert said.confusions("b", fold=1).tolist() == [[[0, 1], [1, 0]], [[0, 0], [0, 0]]]


def test_uar_of_each_fold(run):
    said = SavedPredictions.read(run)
    assert said.fold_uar("a") == [0.5, 1.0]
    assert said.fold_uar("b") == [1.0, 0.0]


def test_the_oracle_is_right_if_any_modality_is(run):
    assert SavedPredictions.read(run).oracle(["a", "b"]).sum(axis=0).tolist() == [[2, 0], [0, 2]]
    assert SavedPredictions.read(run).oracle(["b"]).sum(axis=0).tolist() == [[1, 1], [1, 1]]


def test_clips_of_one_name_in_two_corpora_are_distinct(tmp_path):
    run = Run(tmp_path)
    run.write_json("run.json", record_of().to_json())
    rows = [[0, "x", c, "s", label, "a", "low"] for c, label in (("d", "high"), ("c", "low"))]
    run.write_csv("predictions.csv", [HEADER, *rows])
    said = SavedPredictions.read(run)
    assert said.speakers.tolist() == ["c/s", "d/s"] and said.targets.tolist() == [0, 1]


@pytest.mark.parametrize("name", ["\udcff.wav", 'a "b", c.wav', "two\nlines", "a\rb"])
def test_any_clip_name_is_accepted(tmp_path, name):
    run = Run(tmp_path)
    run.write_json("run.json", record_of().to_json())
    run.write_csv("predictions.csv", [HEADER, [0, name, "c", "s", "low", "a", "low"]])
    assert SavedPredictions.read(run).clips == {("c", name)}


def cut(rows, row, column):
    return [r[:column] if i == row else r for i, r in enumerate(rows)]


@pytest.mark.parametrize(
    "damage",
    [
        lambda rows: [],
        lambda rows: rows[:1],  # no clip
        lambda rows: [["fold", "name", *rows[0][2:]], *rows[1:]],
        lambda rows: [rows[0], ["one", *rows[1][1:]]],
        lambda rows: [rows[0], [*rows[1][:4], "loud", *rows[1][5:]]],
        lambda rows: rows[:-1],  # one model has fewer predictions than the other
        lambda rows: cut(rows, len(rows) - 1, 6),
        lambda rows: [*rows[:-1], rows[-1][:1], rows[-1][:1]],
        lambda rows: [*rows, ["x" * 200_000]],  # more than csv accepts in one field
    ],
)
def test_damaged_predictions_are_an_error_that_names_the_file(run, damage):
    run.write_csv("predictions.csv", damage([HEADER, *ROWS]))
    with pytest.raises(RunError, match=r"predictions\.csv can't be read"):
        said = SavedPredictions.read(run)
        raise AssertionError(said)


def test_missing_predictions_are_an_error(run):
    (run.path / "predictions.csv").unlink()
    with pytest.raises(RunError, match=r"predictions\.csv can't be read"):
        SavedPredictions.read(run)


def test_predictions_of_a_run_are_read(made):
    said = SavedPredictions.read(made)
    with (made.path / "confusion.csv").open(newline="") as file:
        counts = {}
        for row in csv.DictReader(file):
            counts.setdefault(row["model"], []).append([int(row[c]) for c in ("happy", "sad")])
    assert {m: said.confusions(m).sum(axis=0).tolist() for m in said.predicted} == counts
    assert len(said.targets) == len(made.data.splits[0].test)


def test_the_oracle_ignores_modalities_that_a_clip_lacks():
    # The classes of the clips are 0 0 1 1; a is right about clips 0 1 2, b about 0 3.
    def said(**absent):
        predicted = {"a": np.array([0, 0, 1, 0]), "b": np.array([0, 1, 0, 1])}
        flags = {m: np.isin(np.arange(4), clips) for m, clips in absent.items()}
        speakers = np.array(["s"] * 4)
        targets = np.array([0, 0, 1, 1])
        return SavedPredictions(
            np.zeros(4, np.int64), targets, speakers, predicted, 2, frozenset(), flags
        )

    def right(found):
        return [found.oracle(order)[0].diagonal().tolist() for order in (["a", "b"], ["b", "a"])]

    assert right(said()) == [[2, 2]] * 2
    assert right(said(a=[1])) == [[1, 2]] * 2  # the clip has b, which is wrong
    assert right(said(a=[0], b=[3])) == [[2, 1]] * 2
    assert right(said(a=[1, 2], b=[3])) == [[1, 0]] * 2


def test_predictions_are_read_with_absent_modalities(tmp_path):
    clips = tuple(Clip(Recording(Path(n)), n, "calm", n, "c") for n in "zyx")
    split = Split(np.array([], np.int64), np.array([], np.int64), np.arange(3), 0, True)
    absent = {"b": np.array([True, False, False])}
    data = RunData(clips, ("k",) * 3, np.zeros(3, np.int64), ("calm",), (split,), absent)
    run = Run(tmp_path)
    record = record_of(classes=("calm",), absent={"b": 1}, split=split_of([split], clips))
    run.begin(record, data)
    rows = [[0, n, "c", n, "calm", "b", "calm"] for n in "yxz"]
    header = ["fold", "clip", "corpus", "speaker", "label", "model", "predicted"]
    run.write_csv("predictions.csv", [header, *rows])
    found = SavedPredictions.read(run)
    assert found.speakers.tolist() == ["c/x", "c/y", "c/z"]
    assert found.absent["b"].tolist() == [False, False, True]
