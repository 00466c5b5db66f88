"""Statistics of inputs, compared with numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from arrays import Rows

from fusion.core.contracts import Modality
from fusion.core.data.features import Features
from fusion.core.training.input_statistics import input_statistics
from fusion.core.training.model import FusionModel
from fusion.plugins.branches.mlp import MLP
from fusion.plugins.strategies.concat import Concat


def statistics(rows: np.ndarray, axes: tuple[str, ...], train: list[int]) -> dict:  # type: ignore[type-arg]
    shape = rows.shape[1:]
    features = Features(
        {"a": Modality("a", shape, axes)},
        {"a": Rows(rows)},
        np.zeros(len(rows), np.int64),
        torch.device("cpu"),
        resident_bytes=0,
    )
    model = FusionModel({"a": MLP(shape, 4)}, Concat({"a": 4}, 2), 2)
    model.standardise["a"].set(torch.full(shape, 1.0), torch.full(shape, 2.0))  # type: ignore[operator]
    return input_statistics(features, np.array(train), model)["a"]


def test_statistics_equal_those_of_numpy_over_the_training_clips() -> None:
    rows = np.random.default_rng(0).normal(5, 2, (200, 3, 4)).astype(np.float32)
    rows[:, 0, :2] = 0
    rows[199] = 1e6  # not a training clip
    result = statistics(rows, ("channel", "time"), list(range(150)))
    recorded = rows[:150].astype(np.float64)
    raw = result["raw"]
    assert raw["mean"] == pytest.approx(recorded.mean(), rel=1e-5)
    assert raw["std"] == pytest.approx(recorded.std(), rel=1e-5)
    assert raw["min"] == pytest.approx(recorded.min(), rel=1e-5)
    assert raw["max"] == pytest.approx(recorded.max(), rel=1e-5)
    assert raw["zeros"] == pytest.approx(2 / 12, rel=1e-5)
    for channel in range(3):
        assert raw["channels"]["mean"][channel] == pytest.approx(
            recorded[:, channel].mean(), rel=1e-5
        )
        assert raw["channels"]["std"][channel] == pytest.approx(
            recorded[:, channel].std(), rel=1e-5
        )
    assert raw["channels"]["zeros"] == pytest.approx([0.5, 0, 0])
    assert result["seen"]["mean"] == pytest.approx((recorded.mean() - 1) / 2, rel=1e-4)
    assert result["seen"]["std"] == pytest.approx(recorded.std() / 2, rel=1e-4)


def test_non_finite_values_are_counted_and_excluded() -> None:
    rows = np.ones((4, 2), np.float32)
    rows[0, 0], rows[1, 1] = math.nan, math.inf
    raw = statistics(rows, (), [0, 1, 2, 3])["raw"]
    assert raw == {"min": 1, "max": 1, "mean": 1, "std": 0, "zeros": 0, "nan": 0.25}


def test_an_input_of_nan_only_has_no_range() -> None:
    raw = statistics(np.full((3, 2), math.nan, np.float32), (), [0, 1, 2])["raw"]
    assert raw["min"] is None and raw["max"] is None and raw["nan"] == 1
