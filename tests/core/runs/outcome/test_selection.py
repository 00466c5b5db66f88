"""Selection on validation, on predictions made by hand, and its file."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_results import everything, make_data, predictions

from fusion.core.contracts.errors import RunError
from fusion.core.runs.outcome.selection import (
    ENSEMBLE,
    FoldSelection,
    Selection,
    candidate_probabilities,
    select,
    uar_of,
)
from fusion.core.runs.run import Run
from fusion.core.runs.trainings import CONTROL, FUSED, Training
from fusion.core.toolkit.ensemble import mix, pool
from fusion.core.training.inference import Predictions


def test_selection_by_hand():
    data = make_data()
    # There are 16 validation clips, 8 of each class.
    val = everything(data, "val", {"a": [0, 1], "b": range(8), FUSED: [0, 2, 4]})
    selection = select(data, ["a", "b"], val)
    (fold,) = selection.folds
    assert fold.val_uar["a"] == pytest.approx(1 - 2 / 16)
    assert fold.val_uar[FUSED] == pytest.approx(1 - 3 / 8 / 2, abs=1e-5)
    assert selection.best_single == "a"
    # The ensemble is at most as good as a: the simplest of equal models is chosen.
    assert fold.chosen == "a"
    assert list(fold.val_uar) == ["a", "b", ENSEMBLE, FUSED]
    again = Selection.from_json(json.loads(json.dumps(selection.to_json())))
    assert again == selection


def test_the_fused_model_is_chosen_only_if_it_is_better():
    data = make_data()
    val = everything(data, "val", {"a": [0, 1], "b": range(8), FUSED: [0]})
    assert select(data, ["a", "b"], val).folds[0].chosen == FUSED


def test_the_chosen_model_is_never_below_the_best_single_modality_on_validation():
    data = make_data()
    rng = np.random.default_rng(0)
    for _ in range(30):
        wrong = {m: rng.choice(16, rng.integers(0, 12), replace=False) for m in ("a", "b", FUSED)}
        (fold,) = select(data, ["a", "b"], everything(data, "val", wrong)).folds
        assert fold.val_uar[fold.chosen] >= max(fold.val_uar["a"], fold.val_uar["b"])


def test_the_simplest_of_equal_models_is_chosen():
    data = make_data()
    (fold,) = select(data, ["a", "b"], everything(data, "val", {"a": [], "b": [], FUSED: []})).folds
    assert set(fold.val_uar.values()) == {1.0} and fold.chosen == "a"


def test_each_fold_chooses_and_the_best_single_modality_is_best_on_average():
    data = make_data(folds=3)
    val = everything(data, "val", {"a": [0, 1, 2], "b": [0], FUSED: range(8)})
    targets = data.targets[data.splits[0].val]
    val[Training(0, "a")], val[Training(0, "b")] = (
        predictions(targets, []),
        predictions(targets, [0, 1, 2, 3]),
    )
    selection = select(data, ["a", "b"], val)
    assert selection.folds[0].chosen == "a" and selection.folds[1].chosen == "b"
    # a: 1 and twice 13/16; b: 12/16 and twice 15/16. The means are equal, and a comes first.
    assert selection.mean_val_uar("a") == pytest.approx((1 + 2 * 13 / 16) / 3)
    assert selection.mean_val_uar("b") == pytest.approx((12 / 16 + 2 * 15 / 16) / 3)
    assert selection.best_single == "a"
    assert selection.candidates == ["a", "b", ENSEMBLE, FUSED]
    assert selection.modalities == ["a", "b"]


def test_the_control_is_scored_and_is_no_candidate():
    data = make_data(folds=3)
    val = everything(data, "val", {"a": [0], "b": range(8), FUSED: [0, 1], CONTROL: []})
    selection = select(data, ["a", "b"], val, "a")
    assert (selection.control, selection.control_val_uar) == ("a", (1.0, 1.0, 1.0))
    assert CONTROL not in selection.candidates
    assert {fold.chosen for fold in selection.folds} == {"a"}


def test_clips_that_lack_a_modality_do_not_count_in_its_weight():
    """b is wrong about all clips that lack b, which does not lower its weight."""
    data = make_data()
    missing = np.zeros(len(data.clips), dtype=bool)
    missing[data.splits[0].val[:6]] = True
    val = everything(data, "val", {"a": range(8, 12), "b": range(6), FUSED: range(8)})
    (plain,) = select(data, ["a", "b"], val).folds
    (aware,) = select(replace(data, absent={"b": missing}), ["a", "b"], val).folds
    assert aware.weights["b"] > plain.weights["b"]
    assert aware.val_uar[ENSEMBLE] == 1.0 > plain.val_uar[ENSEMBLE]


def test_uar_is_the_mean_recall_of_the_most_probable_class():
    probabilities = np.array([[0.6, 0.4], [0.4, 0.6], [0.3, 0.7], [0.9, 0.1]], np.float32)
    for targets in ([0, 0, 1, 0], [0, 1, 1, 1]):  # recalls of 2/3 and 1
        result = uar_of(probabilities, np.array(targets), 2)
        assert result == pytest.approx((2 / 3 + 1) / 2, abs=1e-6)


# -- on test ---------------------------------------------------------------------------


@pytest.mark.parametrize(("rule", "combined"), [("log-linear", pool), ("linear", mix)])
def test_the_ensemble_uses_the_rule_of_its_run(rule, combined):
    data = make_data(folds=3)
    rng = np.random.default_rng(0)
    output = {
        Training(fold, model): Predictions(rng.dirichlet([1, 1], 16).astype(np.float32), {}, {})
        for fold in range(3)
        for model in ("a", "b", FUSED, CONTROL)
    }
    scores = dict.fromkeys(("a", "b", ENSEMBLE, FUSED), 0.5)
    folds = tuple(FoldSelection(scores, {"a": w, "b": 1 - w}, "a") for w in (0.2, 0.5, 0.9))
    result = candidate_probabilities(data, Selection(folds, "a", rule), output)
    assert list(result) == ["a", "b", ENSEMBLE, FUSED, CONTROL]
    for fold, weight in enumerate((0.2, 0.5, 0.9)):
        for model in ("a", "b", FUSED, CONTROL):
            assert result[model][fold] is output[Training(fold, model)].probabilities
        singles = [output[Training(fold, m)].probabilities for m in ("a", "b")]
        expected = combined(singles, np.array([weight, 1 - weight]))
        np.testing.assert_allclose(result[ENSEMBLE][fold], expected, rtol=1e-5)


def test_a_run_without_control_has_no_control_probabilities():
    data = make_data()
    output = everything(data, "test", {"a": [], "b": [], FUSED: []})
    selection = select(data, ["a", "b"], everything(data, "val", {"a": [], "b": [], FUSED: []}))
    assert CONTROL not in candidate_probabilities(data, selection, output)


# -- written and read ------------------------------------------------------------------


CHOSEN = Selection((FoldSelection({"a": 0.5, FUSED: 0.25}, {"a": 1.0}, "a"),), "a",
                   control="a", control_val_uar=(0.75,))  # fmt: skip


def test_a_selection_is_read_from_its_run(tmp_path):
    run = Run(tmp_path)
    run.write_json("selection.json", CHOSEN.to_json())
    assert Selection.read(run) == CHOSEN


def test_a_selection_of_version_0_1_has_the_linear_rule():
    plain = CHOSEN.to_json()
    for name in ("rule", "control", "control_val_uar"):
        del plain[name]
    old = Selection.from_json(plain)
    assert (old.rule, old.control, old.control_val_uar) == ("linear", "", ())


@pytest.mark.parametrize(
    ("change", "output"),
    [
        ({"folds": None}, "'folds' must be a list, and is null"),
        ({"rule": "mean"}, "selection.json"),
        ({"folds": [{"val_uar": {}, "weights": {}}]}, "it has no 'chosen' in 'folds[0]'"),
    ],
)
def test_a_damaged_selection_is_reported(tmp_path, change, output):
    run = Run(tmp_path)
    with pytest.raises(RunError, match="selection.json can't be read"):
        Selection.read(run)
    run.write_json("selection.json", {**CHOSEN.to_json(), **change})
    with pytest.raises(RunError) as caught:
        Selection.read(run)
    assert output in caught.value.message and str(Path(tmp_path)) in caught.value.message
