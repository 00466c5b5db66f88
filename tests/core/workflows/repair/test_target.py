"""When a repair is good enough."""

from __future__ import annotations

import pytest

from fusion.core.contracts.errors import ParameterError
from fusion.core.workflows.repair.target import Target


@pytest.mark.parametrize(
    ("name", "goal"), [("minimum", 0.6), ("target", 0.62), ("stretch", 0.66), ("71.5", 0.715)]
)
def test_targets(name: str, goal: float) -> None:
    assert Target(name).goal(0.6) == pytest.approx(goal)


def test_a_target_is_never_above_all() -> None:
    assert Target("stretch").goal(0.99) == 1


@pytest.mark.parametrize("name", ["best", "0.7", "101", "nan", ""])
def test_what_is_no_target(name: str) -> None:
    with pytest.raises(ParameterError, match="--target can't be"):
        Target(name)


def test_a_uar_in_percent_is_the_goal_whatever_the_best_single_modality_has() -> None:
    assert Target("50").goal(0.9) == 0.5 and Target("100").goal(0.0) == 1
    assert Target().name == "target"


def test_what_was_given_is_said() -> None:
    with pytest.raises(ParameterError) as caught:
        Target("1")
    assert caught.value.message.startswith("--target can't be '1'. ")
    assert caught.value.message.endswith("above 1 and up to 100.")
