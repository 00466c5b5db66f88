"""Summary of an explanation, compared with values by hand."""

import math

import numpy as np
import pytest

from fusion import Clip, Recording
from fusion.core.analysis.explain.evidence import Evidence
from fusion.core.analysis.explain.groups import Group
from fusion.core.analysis.explain.summary import probability_shapley, summarise
from fusion.core.data.dataset import RunData


def test_shapley_values_of_a_probability_by_hand():
    subsets = {
        frozenset(): np.array([[0.5, 0.5]]),
        frozenset("a"): np.array([[0.1, 0.9]]),
        frozenset("b"): np.array([[0.4, 0.6]]),
        frozenset("ab"): np.array([[0.2, 0.8]]),
    }

    result = probability_shapley(subsets, np.array([1]), ["a", "b"])

    assert result["a"][0] == pytest.approx(((0.9 - 0.5) + (0.8 - 0.6)) / 2)
    assert result["b"][0] == pytest.approx(((0.6 - 0.5) + (0.8 - 0.9)) / 2)


def small_summary():
    """Return the summary of four clips of two speakers and two classes, with one modality."""
    data = RunData(
        tuple(
            Clip(Recording(f"{i}.wav"), f"{i}.wav", "xy"[i % 2], f"s{i // 2}", "made")
            for i in range(4)
        ),
        ("",) * 4,
        np.array([0, 1, 0, 1]),
        ("x", "y"),
        (),
    )
    right = np.log([[0.8, 0.2], [0.4, 0.6], [0.8, 0.2], [0.4, 0.6]])
    even = np.log([[0.5, 0.5]] * 4)  # predicts the first class
    wrong = np.log([[0.2, 0.8], [0.6, 0.4], [0.2, 0.8], [0.6, 0.4]])
    evidence = Evidence(
        np.arange(4),
        right,
        {frozenset(): np.exp(even), frozenset(["a"]): np.exp(right)},
        even[None],
        np.stack([right, wrong])[None],
        np.array([[0.4, 0.2, 0.4, 0.2]]),
        np.array([[0.6, 0.4, 0.6, 0.4]]),
        np.array([0.4, 0.2, 0.4, 0.2]),
        np.array([0.0, 0.01, 0.0, -0.03]),
        True,
    )
    return summarise(
        data, [evidence], [Group("a")], ["a"], run="r", model="a", part="test", notes=()
    )


def test_values_by_hand():
    result = small_summary()
    (a,) = result.contributions

    assert result.uar.value == 1.0
    assert result.speakers == 2
    assert result.log_probability == pytest.approx((math.log(0.8) + math.log(0.6)) / 2)
    assert result.uar_shapley == {"a": 0.5}
    assert result.true.values["a"] == pytest.approx(0.2)
    assert result.true.by_class["x"]["a"] == pytest.approx(0.3)
    assert result.true.by_class["y"]["a"] == pytest.approx(0.1)
    assert (result.true.none, result.true.all) == pytest.approx((0.5, 0.7))
    assert a.uar_drop.difference == 0.5  # only clips of the first class are right
    # The drop is equal for both speakers; two speakers can't give p < 0.05.
    assert (a.uar_drop.low, a.uar_drop.high) == (0.0, 0.5)
    assert a.log_probability_drop == pytest.approx(result.log_probability - math.log(0.5))
    assert a.permuted_uar_drop.mean == pytest.approx(0.5)  # drops 0 and 1
    assert a.permuted_uar_drop.deviation == pytest.approx(math.sqrt(0.5))
    assert a.signed == pytest.approx(0.3)
    assert a.absolute == pytest.approx(0.5)
    assert a.share == 1.0
    assert result.difference == pytest.approx(0.3)
    assert result.gap == pytest.approx(0.01)
    assert result.worst_gap == pytest.approx(0.03)


def test_the_json_has_every_value_and_every_clip():
    plain = small_summary().to_json()

    assert plain["format"] == 1
    assert plain["contributions"][0]["group"] == {
        "modality": "a", "name": None, "entries": None, "pooled": False,
    }  # fmt: skip
    assert [clip["predicted"] for clip in plain["clips"]] == ["x", "y", "x", "y"]
    assert plain["clips"][1]["shapley_true"] == {"a": 0.1}
    assert plain["clips"][1]["gradients"] == {"a": 0.2}
