from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.core.contracts.errors import ParameterError, UnknownNameError
from fusion.core.registry.parameters import bind, convert, parameters_of, parse_settings, type_name


class Thing:
    """A thing.

    Parameters
    ----------
    path : str
        Required, so no parameter.
    rate : float
        How fast,
        in hertz.
    mode : {"a", "b"}
        Which.
    low, high : int
        Bounds.

    Notes
    -----
    rate : float
        Not this text.
    """

    def __init__(
        self,
        path: str,
        *,
        rate: float = 0.5,
        mode: Literal["a", "b"] = "a",
        low: int = 0,
        high: int | None = None,
        sizes: tuple[int, ...] = (1, 2),
        on: bool = False,
    ) -> None: ...


def test_parameters_are_the_annotated_arguments_with_defaults():
    result = parameters_of(Thing)
    assert list(result) == ["rate", "mode", "low", "high", "sizes", "on"]
    assert result["rate"].doc == "How fast, in hertz."
    assert result["low"].doc == result["high"].doc == "Bounds."
    assert result["mode"].type_name == "'a' | 'b'"
    assert result["high"].type_name == "int | None"


def test_an_argument_without_annotation_is_refused_by_name():
    class Bad:
        def __init__(self, *, rate=0.5): ...

    with pytest.raises(ParameterError, match="'rate' without annotation"):
        parameters_of(Bad)


def test_bind_fills_in_defaults_and_converts_text():
    bound = bind(
        Thing,
        {"rate": "2", "mode": "b", "high": "none", "sizes": "3,4,5", "on": "yes"},
        owner="thing",
    )
    assert bound == {
        "rate": 2.0, "mode": "b", "low": 0, "high": None, "sizes": (3, 4, 5), "on": True,
    }  # fmt: skip
    assert isinstance(bound["rate"], float)


def test_an_unknown_parameter_is_reported_with_a_suggestion():
    with pytest.raises(UnknownNameError, match="parameter of thing 'rat'.*Did you mean 'rate'"):
        bind(Thing, {"rat": "1"}, owner="thing")


@pytest.mark.parametrize(
    ("value", "annotation"),
    [("x", float), ("inf", float), ("nan", float),
     ("1.5", int), (1.5, int), ("c", Literal["a", "b"]), ("maybe", bool),
     ("1,2,3", tuple[int, int]), (True, float), (3, str)],
)  # fmt: skip
def test_an_invalid_value_is_reported_with_the_parameter(value, annotation):
    with pytest.raises(ParameterError, match="thing.x must be"):
        convert(value, annotation, "thing.x")


@given(
    st.one_of(
        st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none()
    )
)
def test_text_and_value_are_converted_alike(value):
    annotation = type(value) | None if value is not None else int | None
    assert convert(str(value), annotation, "x") == convert(value, annotation, "x") == value


def test_type_names_read_like_source():
    assert type_name(int) == "int"
    assert type_name(tuple[int, ...]) == "tuple[int, ...]"


def test_the_owner_of_a_setting_is_the_part_before_the_last_dot():
    assert parse_settings(
        ["gradscale.mode=fixed", "branch.mel.blocks=5", "gradscale.scale=a=b"]
    ) == {
        "gradscale": {"mode": "fixed", "scale": "a=b"},
        "branch.mel": {"blocks": "5"},
    }


@pytest.mark.parametrize("text", ["", "mode=fixed", "gradscale.mode", ".x=1", "a.=1"])
def test_a_malformed_setting_is_refused(text):
    with pytest.raises(ParameterError, match="OWNER.PARAMETER=VALUE"):
        parse_settings([text])
