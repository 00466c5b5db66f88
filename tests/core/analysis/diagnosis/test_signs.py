"""Signs of each modality in a diagnosis."""

from __future__ import annotations

import math

import pytest
from run_by_hand import CLASSES, evidence

from fusion.core.analysis.diagnosis.signs import signs_of


def test_every_modality_and_the_fused_model_have_signs() -> None:
    signs = signs_of(evidence({"weight.a": 0.25}, alone={"a": {"val_uar": 0.4}}))
    assert list(signs) == ["a", "b", ""]
    a = signs["a"]
    assert (a["norm"], a["spread"], a["rank"], a["weight"]) == (4.0, 3.0, 10.0, 0.25)
    assert (a["alone_train"], a["alone_val"]) == (0.9, 0.4)
    assert (a["raw_std"], a["seen_nan"]) == (1.0, 0.0)
    assert signs[""]["agreement"] == 0.6


def test_the_entropy_gap_of_uniform_predictions_is_zero() -> None:
    signs = signs_of(evidence({"entropy.a": math.log(CLASSES), "entropy.b": 0.0}))
    assert signs["a"]["entropy_gap"] == 0
    assert signs["b"]["entropy_gap"] == pytest.approx(math.log(4), abs=1e-4)
    assert signs[""]["entropy_gap"] == pytest.approx(math.log(4) - 0.5, abs=1e-4)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_unknown_values_are_omitted(value: float) -> None:
    signs = signs_of(evidence({"rank.a": value, "entropy": value}))
    assert "rank" not in signs["a"] and "rank" in signs["b"]
    assert "weight" not in signs["a"]  # a strategy without weights
    assert not {"entropy", "entropy_gap"} & set(signs[""])


def test_values_have_five_significant_digits() -> None:
    assert signs_of(evidence({"norm.a": 12.3456789}))["a"]["norm"] == 12.346
