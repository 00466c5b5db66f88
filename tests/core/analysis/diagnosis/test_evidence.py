"""Evidence of a diagnosis: means over epochs and folds of artificial curves and predictions."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from arrays import Rows
from run_by_hand import CLASSES, HEALTHY, evidence

from fusion.core.analysis.diagnosis.evidence import Curve, Embedded, Evidence

CHANCE = np.full((60, CLASSES), 1 / CLASSES, np.float32)


def with_folds(*changes: dict[str, float]) -> Evidence:
    """Return evidence with one fold for each of the changes."""
    made = [evidence(change) for change in changes]
    return replace(made[0], folds=[e.folds[0] for e in made])


# -- curves ----------------------------------------------------------------------------


@pytest.mark.parametrize(("epochs", "late"), [(10, 8.5), (12, 10.5), (3, 2.0), (1, 0.0)])
def test_late_is_the_last_fifth_of_the_epochs_and_at_least_one(epochs: int, late: float) -> None:
    assert Curve([{"x": k} for k in range(epochs)], {}).late("x") == late


def test_missing_values_are_omitted_and_no_values_are_nan() -> None:
    curve = Curve([{"x": 1}, {"x": None}, {"x": "?"}, {}, {"x": 3.0}], {})
    assert curve.values("x") == [1.0, 3.0]
    assert curve.late("x") == 3.0
    assert math.isnan(curve.late("y")) and math.isnan(Curve([], {}).late("x"))


def test_a_layer_has_its_largest_update() -> None:
    records = [
        {"layers": {"a": {"x": [1.0, 0.1], "y": [1.0, None]}}},
        {},
        {"layers": {"a": {"x": [1.0, 0.3]}, "": {"head": [1.0, 0.2]}}},
        {"layers": {"a": {"x": [1.0, 0.2]}}},
    ]
    assert Curve(records, {}).layers == {"a": {"x": 0.3, "y": 0.0}, "": {"head": 0.2}}


# -- means over folds ------------------------------------------------------------------


def test_means_omit_folds_without_the_value() -> None:
    e = with_folds({"rank.a": 2.0}, {"rank.a": 4.0}, {"rank.a": math.nan}, {"rank.a": math.inf})
    assert e.late("rank.a") == 3.0
    assert math.isnan(e.mean([])) and math.isnan(e.mean([math.nan]))


def test_first_and_late_epochs() -> None:
    e = evidence({"norm.a": 9.0}, first={"norm.a": 1.0})
    assert (e.first("norm.a"), e.late("norm.a")) == (1.0, 9.0)
    assert math.isnan(e.first("nothing"))


def test_values_of_inputs_and_of_single_modalities() -> None:
    e = evidence(seen={"b": {"std": 5.0}}, alone={"b": {"val_uar": 0.3}})
    assert (e.inputs("a", "raw", "std"), e.inputs("b", "seen", "std")) == (1.0, 5.0)
    assert math.isnan(e.inputs("c", "raw", "std"))
    assert (e.late_single("a", "val_uar"), e.late_single("b", "val_uar")) == (0.65, 0.3)


def test_lost_points_are_relative_to_the_best_probe_or_single_modality() -> None:
    assert evidence({"val_uar": 0.6}).lost == pytest.approx(5)  # the best is 0.65
    probe = evidence({"val_uar": 0.6, "val_uar.b": 0.72})
    assert probe.lost == pytest.approx(12)
    single = evidence({"val_uar": 0.6}, alone={"a": {"val_uar": 0.8}})
    assert single.lost == pytest.approx(20)


def test_sizes_are_sums_over_layers_of_a_part() -> None:
    e = evidence(layer_sizes={"a": {"x": 3, "y": 4}, "": {"head": 5}})
    assert e.sizes == {"a": 7, "": 5}


def test_steps_of_the_baselines_count_if_the_fused_model_starts_from_them() -> None:
    e = evidence()
    fold = e.folds[0]
    single = {m: replace(c, summary={"step": 400}) for m, c in fold.single.items()}
    begun = replace(fold.fused, summary={**fold.fused.summary, "step": 90, "start": {}})
    assert replace(e, folds=[replace(fold, fused=begun, single=single)]).steps == 490
    assert e.steps == 1000


# -- validation ------------------------------------------------------------------------


def test_the_best_single_modality_and_how_far_the_fused_model_is_behind() -> None:
    e = evidence(said={"a": CHANCE, "fused": CHANCE})  # predicts class 0 always
    assert e.val_uar("fused") == 1 / CLASSES and e.val_uar("b") == 1.0
    assert e.best_single == ("b", 1.0)
    assert e.behind == pytest.approx(75)


def test_a_modality_is_scored_on_clips_with_it_or_on_all_clips() -> None:
    val = evidence().folds[0].split.val
    absent = np.zeros(240, bool)
    absent[val[:30]] = True
    right = np.eye(CLASSES, dtype=np.float32)[evidence().data.targets[val]]
    said = right.copy()
    said[:30] = np.roll(right[:30], 1, axis=1)  # wrong where b is absent
    e = evidence(absent={"b": absent}, said={"b": said})
    assert e.val_uar("b") == 1.0
    assert e.val_uar("b", everywhere=True) == pytest.approx(0.5, abs=0.05)
    assert e.having(val, "b").tolist() == val[30:].tolist()
    assert e.having(val, "a", "fused").tolist() == val.tolist()


def test_speakers_of_different_corpora_are_different() -> None:
    e = evidence()
    clips = (replace(e.data.clips[0], corpus="other"), *e.data.clips[1:])
    e = replace(e, data=replace(e.data, clips=clips))
    assert e.speakers(np.array([0, 1])).tolist() == ["other/s0", "made/s0"]


def test_trust_is_the_weights_of_a_strategy_with_weights() -> None:
    assert evidence(weights={"a": 0.7, "b": 0.3}).trust == pytest.approx({"a": 0.7, "b": 0.3})
    alike = evidence().trust  # measured on predictions: both probes equal the fused scores
    assert sum(alike.values()) == pytest.approx(1)


def test_without_features_or_probes_parts_of_the_experiment_are_nan() -> None:
    e = evidence()
    assert e.has_probes and math.isnan(e.blame.head)
    assert (e.blame.fused, e.blame.singles) == (100, 100)
    fold = e.folds[0]
    fused = replace(fold.predictions["fused"], unimodal={"a": CHANCE})
    predictions = {**fold.predictions, "fused": fused}
    without = replace(e, folds=[replace(fold, predictions=predictions)])
    assert not without.has_probes and math.isnan(without.blame.probes)


def test_a_fresh_head_is_fitted_on_training_clips_and_scored_on_validation() -> None:
    e = evidence(said={"fused": CHANCE})
    split, targets = e.folds[0].split, e.data.targets
    x = np.eye(CLASSES)[targets]
    made = Embedded(x[split.train], targets[split.train], x[split.val])
    assert replace(e, embed=lambda fold: made).blame.head == 100
    assert math.isnan(replace(e, embed=lambda fold: None).blame.head)


def test_views_exist_for_modalities_with_features() -> None:
    e = evidence()
    assert e.views == {}
    rows = np.arange(240 * 3.0).reshape(240, 3)
    views = replace(e, arrays={"b": Rows(rows)}).views
    assert list(views) == ["b"] and np.array_equal(views["b"], rows)


def test_the_values_of_the_healthy_run_are_as_configured() -> None:
    e = evidence()
    assert e.modalities == ["a", "b"] and e.classes == CLASSES
    assert {key: e.late(key) for key in HEALTHY} == pytest.approx(HEALTHY)
