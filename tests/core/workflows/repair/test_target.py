"""Targets of a repair."""

from __future__ import annotations

import pytest

from fusion.core.contracts.errors import ParameterError
from fusion.core.workflows.repair.target import Target


@pytest.mark.parametrize(
    ("name", "goal"), [("minimum", 0.6), ("target", 0.62), ("stretch", 0.66), ("71.5", 0.715)]
)
def test_goals_of_targets_if_the_best_single_modality_has_60_percent(
    name: str, goal: float
) -> None:
    assert Target(name).goal(0.6) == pytest.approx(goal)


def test_a_target_is_at_most_one() -> None:
    assert Target("stretch").goal(0.99) == 1


@pytest.mark.parametrize("name", ["best", "0.7", "101", "nan", ""])
def test_invalid_targets_are_refused(name: str) -> None:
    with pytest.raises(ParameterError, match="--target can't be"):
        Target(name)


def test_a_target_in_percent_does_not_depend_on_the_best_single_modality() -> None:
    assert Target("50").goal(0.9) == 0.5 and Target("100").goal(0.0) == 1
    assert Target().name == "target"


def test_the_error_names_the_given_target() -> None:
    with pytest.raises(ParameterError) as caught:
        Target("1")
    assert caught.value.message.startswith("--target can't be '1'. ")
    assert caught.value.message.endswith("above 1 and up to 100.")
