"""Ranges of parameters: one sentence defines both the check and the message."""

import math

import pytest

from fusion.core.contracts.errors import ParameterError
from fusion.core.toolkit.ranges import check_ranges

NEEDS = "0.5 <= threshold < 1, eps > 0 and growth >= 0"


@pytest.mark.parametrize(
    ("needs", "right", "wrong"),
    [
        ("a > 0", [{"a": 1}, {"a": 1e-9}], [{"a": 0}, {"a": -1}, {"a": math.inf}]),
        ("a >= 0", [{"a": 0}], [{"a": -1e-9}, {"a": math.nan}]),
        ("a > -1 and b <= 2.5", [{"a": 0, "b": 2.5}], [{"a": -1, "b": 0}, {"a": 0, "b": 2.6}]),
        ("0 <= a < 1", [{"a": 0}, {"a": 0.9}], [{"a": 1}, {"a": -0.1}, {"a": math.nan}]),
        ("0 < a < 1", [{"a": 0.1}], [{"a": 0}, {"a": 1}]),
        ("a in [0, 1)", [{"a": 0}], [{"a": 1}, {"a": -0.1}]),
        ("a > 0 and b from 0 to below 1", [{"a": 1, "b": 0}], [{"a": 1, "b": 1}]),
        ("a between 0 and 1 and b > 0", [{"a": 0.5, "b": 1}], [{"a": 0, "b": 1}, {"a": 1, "b": 1}]),
        ("1 <= a <= b", [{"a": 3, "b": 3}], [{"a": 4, "b": 3}, {"a": 0, "b": 3}]),
        (
            "a, b and c >= 1 and 0 <= d < 1",
            [{"a": 1, "b": 1, "c": 1, "d": 0}],
            [{"a": 1, "b": 1, "c": 1, "d": 0} | w for w in ({"a": 0}, {"b": 0}, {"d": 1})],
        ),
        (
            "a >= 1, and b and c in [0, 1)",
            [{"a": 1, "b": 0, "c": 0.5}],
            [{"a": 1, "b": 0, "c": 0.5} | w for w in ({"a": 0}, {"b": 1}, {"c": -1})],
        ),
    ],
)  # fmt: skip
def test_ranges(needs, right, wrong):
    for passed in right:
        check_ranges("mine", needs, passed | {"self": None})
    for passed in wrong:
        with pytest.raises(ParameterError, match="mine needs"):
            check_ranges("mine", needs, passed)


def test_message_has_the_ranges_and_the_values_in_their_order():
    passed = {"growth": -1, "self": None, "eps": 0.3, "threshold": 0.5}
    with pytest.raises(ParameterError) as caught:
        check_ranges("amco", NEEDS, passed)
    shown = "threshold=0.5, eps=0.3, growth=-1"
    assert caught.value.message == f"amco needs {NEEDS}, and was given {shown}."


def test_a_range_of_an_unknown_parameter_raises():
    with pytest.raises(KeyError):
        check_ranges("amco", NEEDS, {"threshold": 0.5, "eps": 0.3})


def test_an_invalid_range_is_refused():
    with pytest.raises(ValueError, match="end 0 or not before start"):
        check_ranges("ogm_ge", "start >= 1, end 0 or not before start", {"start": 1, "end": 0})
