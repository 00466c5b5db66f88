"""Diagnosis rules on clips and features, with artificial clips."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from run_by_hand import CLASSES, clips_of, evidence

from fusion.core.analysis.diagnosis import Thresholds, judge
from fusion.core.analysis.diagnosis.data_rules import architecture_imbalance, label_noise, mispaired
from fusion.core.data.splits import Split

T = Thresholds()


def test_speakers_on_both_sides_are_named() -> None:
    every = np.arange(240)
    split = Split(every[::2], every[1::4], every[3::4], None, False)
    e = replace(evidence(split=split), config=replace(evidence().config, split="random"))
    (found,) = judge(e, T).findings
    assert (found.fault, found.severity) == ("leaked_speakers", "severe")
    assert found.numbers == {"leaked": 12, "speakers": 12}
    assert found.items[:2] == ("made/s0", "made/s1") and "'random'" in found.says


def test_non_finite_inputs() -> None:
    (found,) = judge(evidence(seen={"a": {"nan": 0.01}}), T).findings
    assert (found.fault, found.modality) == ("not_finite", "a")


def views(share: float) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(240, 4))
    a, b = (hidden @ rng.normal(size=(4, 8)) + 0.2 * rng.normal(size=(240, 8)) for _ in "ab")
    moved = rng.permutation(240)[: int(240 * share)]
    b[moved] = b[rng.permutation(moved)]
    return {"a": a, "b": b}


def judged(rule, share: float, **given):  # type: ignore[no-untyped-def]
    e = evidence(**given)
    e.__dict__["views"] = views(share)
    return list(rule(e, T))


def test_views_of_the_same_clips_are_paired() -> None:
    assert judged(mispaired, 0.0) == []


def test_views_with_many_mispaired_clips() -> None:
    (found,) = judged(mispaired, 0.6)
    assert 0.4 < found.numbers["share"] < 0.8
    assert len(found.items) == 5


def test_unrelated_views_are_no_fault_if_both_predict_the_class() -> None:
    assert judged(mispaired, 1.0) == []
    chance = np.full((60, CLASSES), 1 / CLASSES, np.float32)
    (found,) = judged(mispaired, 1.0, said={"b": chance})
    assert (found.modality, found.severity) == ("b", "severe")


def test_a_branch_below_a_linear_classifier() -> None:
    flat = np.full((60, CLASSES), 0.25, np.float32)
    e = evidence(said={"b": flat}, alone={m: {"train_uar": 1.0} for m in "ab"})
    x = np.eye(CLASSES)[e.data.targets] + 0.1 * np.random.default_rng(0).normal(size=(240, 4))
    e.__dict__["views"] = {"a": x, "b": x}
    (found,) = architecture_imbalance(e, T)
    assert (found.modality, found.severity) == ("b", "severe")
    assert found.numbers["linear"] == 100 and found.numbers["alone"] == 25


@pytest.mark.parametrize(
    ("trained", "severity"), [(0.98, None), (0.9, "moderate"), (0.5, "severe")]
)
def test_a_branch_that_does_not_fit_its_training_clips(
    trained: float, severity: str | None
) -> None:
    e = evidence(alone={"a": {"train_uar": 1.0}, "b": {"train_uar": trained}})
    x = np.eye(CLASSES)[e.data.targets] + 0.1 * np.random.default_rng(0).normal(size=(240, 4))
    e.__dict__["views"] = {"a": x, "b": x}
    found = [(f.modality, f.severity) for f in architecture_imbalance(e, T)]
    assert found == ([] if severity is None else [("b", severity)])


@pytest.mark.parametrize(("wrong", "found"), [(0, False), (12, True)])
def test_confident_predictions_that_are_wrong(wrong: int, found: bool) -> None:
    clips = clips_of(24, 20)
    e = evidence(clips=clips)
    truth = e.data.targets[e.folds[0].split.val]
    said = np.eye(CLASSES, dtype=np.float32)[truth] * 0.6 + 0.1
    said[:24] += np.eye(CLASSES, dtype=np.float32)[truth[:24]] * 0.2  # the most confident clips
    said[:wrong] = np.roll(said[:wrong], 1, axis=1)
    e = evidence(clips=clips, said={"a": said, "b": said})
    assert bool(list(label_noise(e, T))) is found
