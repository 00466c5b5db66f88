"""Diagnosis rules on training, with values on both sides of each threshold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from run_by_hand import CLASSES, evidence

from fusion.core.analysis.diagnosis import Thresholds, judge
from fusion.core.analysis.diagnosis.findings import TITLES, Diagnosis

T = Thresholds()
# The fused model is 5 points below the best single modality, without over-fitting.
HARM = {"val_uar": 0.6, "train_uar": 0.65}


def faults(**given) -> list[tuple[str, str | None, str]]:  # type: ignore[no-untyped-def]
    return [(f.fault, f.modality, f.severity) for f in judge(evidence(**given), T).findings]


def test_a_healthy_run_has_no_faults() -> None:
    assert faults() == []


def test_a_constant_branch_is_dead() -> None:
    assert ("dead_branch", "b", "severe") in faults(changes={"rank.b": 1.2})
    assert "dead_branch" not in [f for f, _, _ in faults(changes={"rank.b": 5.0})]


def test_a_branch_that_is_constant_only_in_fusion_is_not_dead() -> None:
    flat = {"rank.b": 1.2, "train_uar.b": 0.3, **HARM}
    alive = {"b": {"rank.b": 9.0}}
    assert faults(changes=flat, alone=alive)[0] == ("branch_imbalance", "b", "severe")
    dead = {"b": {"rank.b": 1.2}}
    assert faults(changes=flat, alone=dead)[0] == ("dead_branch", "b", "severe")


def test_layers_that_never_move_are_frozen() -> None:
    moved, still = [0.1, 1e-3], [0.0, 0.0]
    layers = {"a": {"x": moved, "y": moved}, "b": {"x": still, "y": still}}
    (found,) = judge(evidence(layers=layers), T).findings
    assert (found.fault, found.modality, found.severity) == ("frozen_branch", "b", "severe")
    assert found.items == ("x", "y") and found.numbers == {"still": 2, "layers": 2}
    half = {"a": {"x": moved, "y": still}, "b": {"x": moved, "y": moved}}
    assert faults(layers=half) == [("frozen_branch", "a", "moderate")]
    third = {"a": {"x": moved, "y": moved, "z": still}}
    assert faults(layers=third) == []


def test_frozen_layers_are_weighted_by_their_size() -> None:
    third = {"a": {"x": [0.1, 1e-3], "y": [0.1, 1e-3], "z": [0.0, 0.0]}}
    sizes = {"x": 6, "y": 4, "z": 10}
    (found,) = judge(evidence(layers=third, layer_sizes={"a": sizes}), T).findings
    assert (found.fault, found.severity) == ("frozen_branch", "moderate")
    assert found.numbers == {"still": 1, "layers": 3, "weights": 0.5}
    assert "50% of its weights" in found.says
    (found,) = judge(evidence(layers=third, layer_sizes={"a": {**sizes, "z": 90}}), T).findings
    assert found.severity == "severe"
    assert faults(layers=third, layer_sizes={"a": {**sizes, "z": 9}}) == []


@pytest.mark.parametrize(("norm", "found"), [(14.0, False), (17.0, True)])
def test_a_bias_five_times_the_spread_is_swamping(norm: float, found: bool) -> None:
    # sqrt(norm^2 - 3^2) / 3 is 4.6 and 5.6.
    given = faults(changes={"norm.a": norm})
    assert (("swamping_bias", "a", "severe") in given) is found


def test_fused_scores_of_a_single_class() -> None:
    one = np.tile(np.eye(CLASSES, dtype=np.float32)[0], (60, 1))
    assert ("swamping_bias", None, "severe") in faults(said={"fused": one})


@pytest.mark.parametrize(
    ("size", "harm", "severity"),
    [(0.41, True, None), (0.29, True, "moderate"), (0.29, False, "mild"), (0.09, False, "severe")],
)
def test_embeddings_ten_times_apart_from_the_first_epoch(
    size: float, harm: bool, severity: str | None
) -> None:
    given = faults(changes={"spread.b": size, "norm.b": size, **(HARM if harm else {})})
    expected = [] if severity is None else [("scale_mismatch", "a", severity)]
    assert [f for f in given if f[0] == "scale_mismatch"] == expected


def test_embeddings_that_grew_apart_are_mild_if_nothing_is_lost() -> None:
    apart, alike = {"spread.b": 0.09, "norm.b": 0.3}, {"spread.b": 3.0, "norm.b": 4.0}
    assert faults(changes=apart, first=alike) == [("scale_mismatch", "a", "mild")]
    found = judge(evidence({**apart, **HARM}, first=alike), T)
    assert found.findings[0].severity == "severe"


def test_larger_embeddings_follow_from_a_branch_that_does_not_learn() -> None:
    apart = {"spread.b": 0.29, "norm.b": 0.29, "train_uar.b": 0.5, **HARM}
    assert faults(changes=apart) == [
        ("branch_imbalance", "b", "moderate"),
        ("scale_mismatch", "a", "mild"),
    ]
    inputs = {"a": {"std": 20.0}}  # inputs don't depend on what the branches learn
    assert faults(changes={"train_uar.b": 0.5, **HARM}, seen=inputs)[0][:2] == (
        "scale_mismatch", "a",
    )  # fmt: skip


def test_a_dead_branch_with_large_embeddings_follows_from_the_scale() -> None:
    given = faults(changes={"spread.a": 200.0, "norm.a": 200.0, "rank.a": 1.2})
    assert given[:2] == [("scale_mismatch", "a", "severe"), ("dead_branch", "a", "moderate")]


def test_standardised_inputs_of_very_different_scales() -> None:
    (found,) = judge(evidence(seen={"a": {"std": 500.0}}), T).findings
    assert (found.fault, found.modality, found.severity) == ("scale_mismatch", "a", "severe")
    assert found.numbers["ratio"] == 500 and "inputs" in found.says


def test_no_branch_learns_as_much_as_without_fusion() -> None:
    # A single modality has 0.9, which is 0.65 above chance. The branches have 1/3 and 1/5 of that.
    changes = {"train_uar.a": 0.25 + 0.65 / 3, "train_uar.b": 0.25 + 0.65 / 5}
    (found,) = judge(evidence({**changes, **HARM}), T).findings
    assert (found.fault, found.severity) == ("cold_start", "moderate")
    assert found.numbers["learned.a"] == pytest.approx(1 / 3)
    assert found.numbers["learned.b"] == pytest.approx(1 / 5)


def test_one_branch_learns_and_another_does_not() -> None:
    assert faults(changes={"train_uar.b": 0.3, **HARM}) == [("branch_imbalance", "b", "severe")]
    assert faults(changes={"train_uar.b": 0.5, **HARM}) == [("branch_imbalance", "b", "moderate")]
    assert faults(changes={"train_uar.b": 0.3}) == [("branch_imbalance", "b", "mild")]
    little = {"train_uar.b": 0.3, "val_uar": 0.625}  # 2.5 points below the best probe
    assert faults(changes=little) == [("branch_imbalance", "b", "mild")]
    assert faults(changes={"train_uar.b": 0.6}) == []


def test_a_modality_that_learns_nothing_without_fusion_is_not_behind() -> None:
    assert faults(changes={"train_uar.b": 0.26}, alone={"b": {"train_uar": 0.3}}) == []


def test_gradients_far_apart() -> None:
    assert faults(changes={"gradient.b": 0.03, **HARM}) == [("branch_imbalance", "b", "moderate")]
    assert faults(changes={"gradient.b": 0.003, **HARM}) == [("branch_imbalance", "b", "severe")]
    assert faults(changes={"gradient.b": 0.003}) == [("branch_imbalance", "b", "moderate")]
    assert faults(changes={"gradient.b": 0.03}) == [("branch_imbalance", "b", "mild")]
    assert faults(changes={"gradient.b": 0.04}) == []


def test_a_head_that_fits_only_the_training_clips() -> None:
    # The gap of the head is 0.46 and that of the probes 0.2; the head is 11 points below the
    # probes.
    changes = {"train_uar": 1.0, "val_uar": 0.54}
    (found,) = judge(evidence(changes), T).findings
    assert (found.fault, found.severity) == ("overfitting_head", "severe")
    assert found.numbers["lost"] == pytest.approx(11)
    assert found.numbers["gap"] == pytest.approx(46)
    assert faults(changes={"train_uar": 1.0, "val_uar": 0.63}) == []  # no points are lost
    assert faults(changes={"train_uar": 0.8, "val_uar": 0.55}) == []  # the probes have this gap


def test_a_head_far_larger_than_the_branches() -> None:
    sizes = {"a": {"x": 100}, "b": {"x": 60, "y": 40}, "": {"x": 1000}}
    (found,) = judge(evidence({"val_uar": 0.66}, layer_sizes=sizes), T).findings
    assert (found.fault, found.severity) == ("overfitting_head", "moderate")
    assert "5 times as many weights" in found.says
    assert faults(changes={"val_uar": 0.66}, layer_sizes={**sizes, "": {"x": 900}}) == []


def test_embeddings_that_were_large_from_the_start_have_no_swamping_bias() -> None:
    e = evidence({"norm.a": 40.0})
    e.folds[0].fused.records[2]["spread.a"] = 39.0  # spread as large as the norm
    (found,) = judge(e, T).findings
    assert (found.fault, found.modality) == ("scale_mismatch", "a")


def test_an_effect_of_another_fault_is_milder_and_listed_after_it() -> None:
    changes = {"rank.b": 1.0, "train_uar.b": 0.3, **HARM}
    assert faults(changes=changes) == [
        ("dead_branch", "b", "severe"),
        ("branch_imbalance", "b", "moderate"),
    ]


def test_too_few_steps_are_not_judged() -> None:
    found = judge(evidence({"rank.b": 1.0}), Thresholds(fewest_steps=1001))
    assert found.findings == () and "1000 steps" in found.caveats[0]


def test_missing_values_are_no_faults() -> None:
    gone = {k: float("nan") for k in evidence().folds[0].fused.records[0] if k != "layers"}
    assert faults(changes=gone) == []


def test_a_diagnosis_survives_json() -> None:
    found = judge(evidence({"rank.b": 1.0}), T)
    data = found.to_json()
    assert Diagnosis.from_json(data, Path("diagnosis.json")) == found
    assert data["checked"] == list(TITLES) and data["findings"][0]["title"] == "Dead branch"


def test_signs_are_late_means_over_folds() -> None:
    signs = judge(evidence(), T).signs
    assert signs["a"]["norm"] == 4 and signs["a"]["alone_train"] == 0.9
    assert signs["a"]["entropy_gap"] == pytest.approx(np.log(CLASSES) - 0.8, abs=1e-4)
    assert signs[""]["agreement"] == 0.6
