"""Diagnosis rules that compare a fused model with pools of its branches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from run_by_hand import CLASSES, clips_of, evidence

from fusion.core.analysis.diagnosis import Evidence, Thresholds, judge
from fusion.core.analysis.diagnosis.evidence import Embedded
from fusion.core.analysis.diagnosis.fusion_rules import (
    held_back,
    memorised_head,
    misplaced_trust,
    unexplained,
)
from fusion.core.data.splits import Split

T = Thresholds()
EVERY = np.arange(240)
# Splits with 3 and 8 validation speakers.
FEW = Split(EVERY[:120], EVERY[120:180], EVERY[180:], None, True)
MANY = Split(EVERY[:60], EVERY[60:220], EVERY[220:], None, True)
TARGETS = np.array([int(clip.label[1]) for clip in clips_of(12, 20)])


def right(split: Split, share: float, seed: int, sure: float = 0.7) -> np.ndarray:
    """Return probabilities of the validation clips, a share of which is right for every speaker."""
    rng = np.random.default_rng(seed)
    truth = TARGETS[split.val]
    said = truth.copy()
    for start in range(0, len(truth), 20):
        wrong = start + rng.permutation(20)[: round(20 * (1 - share))]
        said[wrong] = (truth[wrong] + rng.integers(1, CLASSES, len(wrong))) % CLASSES
    return (np.eye(CLASSES)[said] * (sure - 0.1) + (1.1 - sure) / CLASSES).astype(np.float32)


def behind(split: Split = FEW, fused: float = 0.5, **given) -> Evidence:  # type: ignore[no-untyped-def]
    """Return evidence with accuracy `fused`; the modalities a and b have 80 % and 40 %."""
    said = {"a": right(split, 0.8, 1), "b": right(split, 0.4, 2), "fused": right(split, fused, 3)}
    said |= given.pop("said", {})
    probes = {"a": right(split, 0.8, 4), "b": right(split, 0.4, 5)} | given.pop("probes", {})
    return evidence(split=split, said=said, probes=probes, **given)


# -- a branch held back ----------------------------------------------------------------


@pytest.mark.parametrize(("split", "units"), [(FEW, "clips"), (MANY, "speakers")])
def test_a_probe_below_its_modality_alone_is_held_back(split: Split, units: str) -> None:
    e = behind(split, changes={"val_uar.a": 0.5}, probes={"a": right(split, 0.5, 4)})
    (found,) = held_back(e, T)
    assert (found.fault, found.modality, found.severity) == ("held_back", "a", "severe")
    assert f"paired over {units}" in found.says and found.numbers["p"] < 0.05
    assert found.numbers["alone"] - found.numbers["probe"] == pytest.approx(30, abs=2)


def test_a_branch_held_back_is_mild_if_the_fused_model_loses_nothing() -> None:
    e = behind(MANY, 0.85, changes={"val_uar.a": 0.5}, probes={"a": right(MANY, 0.5, 4)})
    assert [f.severity for f in held_back(e, T)] == ["mild"]


def test_a_difference_in_one_epoch_is_not_held_back() -> None:
    # The UARs differ by 30 points at the kept epochs, and are equal in late epochs.
    assert list(held_back(behind(probes={"a": right(FEW, 0.5, 4)}), T)) == []
    # The UARs differ in late epochs, and are equal at the kept epochs.
    assert list(held_back(behind(changes={"val_uar.a": 0.4}), T)) == []


def test_an_underfitting_branch_makes_held_back_milder() -> None:
    changes = {"val_uar.a": 0.5, "train_uar.a": 0.3, "val_uar": 0.5}
    findings = judge(behind(changes=changes, probes={"a": right(FEW, 0.3, 4)}), T).findings
    severities = {f.fault: f.severity for f in findings}
    assert severities["branch_imbalance"] == "severe"
    assert severities["held_back"] == "moderate"


# -- trust -----------------------------------------------------------------------------


def test_a_weak_modality_with_most_of_the_weight_is_trusted_too_much() -> None:
    e = behind(fused=0.4, weights={"a": 0.1, "b": 0.9})
    (found,) = misplaced_trust(e, T)
    assert (found.modality, found.severity) == ("b", "severe")
    assert found.numbers["share.b"] == pytest.approx(0.9)
    assert found.numbers["competence.b"] < 0.5 and found.numbers["pool"] > 70
    assert list(misplaced_trust(behind(fused=0.4, weights={"a": 0.8, "b": 0.2}), T)) == []


def test_trust_is_measured_on_predictions_if_a_strategy_has_no_weights() -> None:
    weak = right(FEW, 0.4, 5)
    e = behind(said={"fused": weak}, probes={"b": weak})
    assert e.trust["b"] == pytest.approx(1, abs=0.01)
    assert [f.modality for f in misplaced_trust(e, T)] == ["b"]


def test_misplaced_trust_without_a_loss_is_no_fault() -> None:
    assert list(misplaced_trust(behind(fused=0.85, weights={"a": 0.1, "b": 0.9}), T)) == []


# -- a memorised head ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "probe", "fused", "found"),
    [(0.99, 0.98, 0.5, True), (0.8, 0.98, 0.5, False), (0.99, 0.8, 0.5, False),
     (0.99, 0.98, 0.85, False)],
)  # fmt: skip
def test_a_head_on_memorised_clips(train: float, probe: float, fused: float, found: bool) -> None:
    changes = {"train_uar": train, "train_uar.a": probe}
    given = list(memorised_head(behind(fused=fused, changes=changes), T))
    assert [f.severity for f in given] == (["severe"] if found else [])


# -- unexplained losses ----------------------------------------------------------------


def embeddings(e: Evidence, quality: float) -> Evidence:
    """Return evidence with embeddings that a linear head separates well or badly."""
    rng = np.random.default_rng(0)
    x = np.eye(CLASSES)[TARGETS] * quality + rng.normal(size=(len(TARGETS), CLASSES))
    split = e.folds[0].split
    made = Embedded(x[split.train], TARGETS[split.train], x[split.val])
    return replace(e, embed=lambda fold: made)


@pytest.mark.parametrize(
    ("probe", "quality", "part"),
    [
        (0.4, 0.0, "the branches"),
        (0.8, 0.0, "the trust that the head puts in each modality"),
        (0.8, 9.0, "the head"),
    ],
)
def test_the_experiment_names_the_part_with_the_largest_loss(
    probe: float, quality: float, part: str
) -> None:
    probes = {"a": right(FEW, probe, 4)}
    fused = 0.3 if part != "the branches" else 0.4
    e = embeddings(behind(fused=fused, probes=probes), quality)
    (found,) = unexplained(e, T)
    assert found.severity == "severe" and f"Most is lost by {part}:" in found.says
    lost = sum(x for name, x in found.numbers.items() if name.startswith("lost by"))
    assert lost == pytest.approx(found.numbers["singles"] - found.numbers["fused"])


def test_a_fused_model_three_points_behind_is_never_without_a_reason() -> None:
    for fused, found in ((0.78, False), (0.7, True)):
        findings = judge(behind(MANY, fused=fused), T).findings
        assert ("unexplained" in [f.fault for f in findings]) is found
    # Short trainings have a reason as well.
    short = judge(behind(MANY, fused=0.7), Thresholds(fewest_steps=2000))
    assert [f.fault for f in short.findings] == ["unexplained"] and short.caveats
    # Another fault counts as a reason; a duplicate clip does not.
    dead = judge(behind(MANY, fused=0.7, changes={"rank.b": 1.0}), T).faults
    assert "dead_branch" in dead and "unexplained" not in dead
    keys = tuple(str(i // 2) for i in range(240))
    assert "unexplained" in judge(behind(MANY, fused=0.7, keys=keys), T).faults


def test_without_features_the_experiment_omits_the_fresh_head() -> None:
    (found,) = unexplained(behind(fused=0.3), T)
    assert "head" not in found.numbers and "fresh linear head" not in found.says
    assert "the head and the trust that it puts in each modality" in found.says


def test_all_rules_support_absent_modalities() -> None:
    absent = {"b": np.arange(240) % 3 == 0}
    e = behind(absent=absent, changes={"train_uar": 0.99, "train_uar.a": 0.98})
    faults = {f.fault for rule in (held_back, misplaced_trust, memorised_head, unexplained)
              for f in rule(e, T)}  # fmt: skip
    assert faults == {"memorised_head", "unexplained"}
