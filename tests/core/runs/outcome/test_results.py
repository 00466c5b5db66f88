"""Selection on validation and figures on test, on predictions made by hand."""

import json

import numpy as np
import pytest
from made_results import SPEAKERS, everything, make_data

from fusion.core.runs.outcome.results import CHOSEN, Results, evaluate
from fusion.core.runs.outcome.selection import ENSEMBLE, Selection, select
from fusion.core.runs.trainings import FUSED


def test_selection_by_hand():
    data = make_data()
    # 16 validation clips, 8 of each class.
    val = everything(data, "val", {"a": [0, 1], "b": range(8), FUSED: [0, 2, 4]})
    selection = select(data, ["a", "b"], val)
    (fold,) = selection.folds
    assert fold.val_uar["a"] == pytest.approx(1 - 2 / 16)
    assert fold.val_uar[FUSED] == pytest.approx(1 - 3 / 8 / 2, abs=1e-5)
    assert selection.best_single == "a"
    # The ensemble is a alone or as good as it: the simplest of equals is chosen.
    assert fold.chosen == "a"
    assert list(fold.val_uar) == ["a", "b", ENSEMBLE, FUSED]
    again = Selection.from_json(json.loads(json.dumps(selection.to_json())))
    assert again == selection


def test_the_fused_model_is_chosen_only_when_it_is_better():
    data = make_data()
    val = everything(data, "val", {"a": [0, 1], "b": range(8), FUSED: [0]})
    assert select(data, ["a", "b"], val).folds[0].chosen == FUSED


def test_what_is_handed_out_is_never_below_the_best_single_on_validation():
    data = make_data()
    rng = np.random.default_rng(0)
    for _ in range(30):
        wrong = {m: rng.choice(16, rng.integers(0, 12), replace=False) for m in ("a", "b", FUSED)}
        (fold,) = select(data, ["a", "b"], everything(data, "val", wrong)).folds
        assert fold.val_uar[fold.chosen] >= max(fold.val_uar["a"], fold.val_uar["b"])


def test_the_table_by_hand():
    data = make_data(folds=3)
    modalities = ["a", "b"]
    val = everything(data, "val", {"a": [0], "b": [0, 1, 2], FUSED: [0, 1]})
    test = everything(data, "test", {"a": range(4), "b": range(8), FUSED: range(2)})
    selection = select(data, modalities, val)
    results, scores = evaluate(data, selection, test, "gated")
    assert results.model("a").uar.value == pytest.approx(1 - 4 / 16)
    assert results.model(FUSED).accuracy.value == pytest.approx(1 - 2 / 16)
    assert results.model("a").uar.groups == SPEAKERS
    assert results.model("b").fold_uar == (0.5, 0.5, 0.5)
    assert results.model(CHOSEN).uar.value == results.model("a").uar.value
    assert results.comparisons[FUSED].difference == pytest.approx(2 / 16)
    assert np.array(results.confusions["a"]).sum() == len(data.clips)
    assert results.weights == {"a": 0.75, "b": 0.25}
    assert len(scores[FUSED]) == 3
    # One speaker in four is always wrong for a: 3 of 12 groups differ, so p = 2 * 2^-3.
    assert results.comparisons[FUSED].p_value == pytest.approx(0.25)
    assert "No reliable difference" in results.verdict
    assert "one per fold" in results.verdict
    again = Results.from_json(json.loads(json.dumps(results.to_json())))
    assert again.model("a") == results.model("a")


@pytest.mark.parametrize(
    ("fused", "word"), [(range(16), "is worse than"), (range(0), "beats"), ([0, 3], "No reliable")]
)
def test_the_verdict_says_no_more_than_the_figures(fused, word):
    data = make_data(folds=3)
    val = everything(data, "val", {"a": [0], "b": [1, 2], FUSED: [0, 1]})
    a = [0, 3, 4, 7, 8, 11, 12, 15] if word == "beats" else [0, 3]
    test = everything(data, "test", {"a": a, "b": range(8), FUSED: fused})
    results, _ = evaluate(data, select(data, ["a", "b"], val), test, "gated + gradscale")
    assert word in results.verdict
    assert "gated + gradscale" in results.verdict


def test_with_few_speakers_the_verdict_says_that_nothing_can_be_proven():
    data = make_data()  # 4 test speakers
    val = everything(data, "val", {"a": [0], "b": [1, 2], FUSED: [0, 1]})
    test = everything(data, "test", {"a": [], "b": range(8), FUSED: range(16)})
    results, _ = evaluate(data, select(data, ["a", "b"], val), test, "gated")
    assert results.comparisons[FUSED].difference == -1
    assert results.verdict.startswith("Too few test speakers to prove a difference")
    assert "no p-value can be below 0.12" in results.verdict
