"""Thresholds of the diagnosis rules."""

from __future__ import annotations

from dataclasses import asdict, fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.core.analysis.diagnosis.thresholds import Thresholds
from fusion.core.contracts.errors import ParameterError

NAMES = [field.name for field in fields(Thresholds)]


def test_every_threshold_is_documented() -> None:
    text = Thresholds.__doc__ or ""
    assert [name for name in NAMES if f"    {name} : float\n" not in text] == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_an_invalid_threshold_is_refused_with_its_name_and_value(name: str, value: float) -> None:
    with pytest.raises(ParameterError) as refused:
        Thresholds(**{name: value})
    assert refused.value.message == f"diagnosis.{name} must be above 0, and is {value}."


@settings(max_examples=30)
@given(name=st.sampled_from(NAMES), value=st.floats(1e-9, 1e9))
def test_setting_one_threshold_changes_no_other(name: str, value: float) -> None:
    assert asdict(Thresholds(**{name: value})) == {**asdict(Thresholds()), name: value}
