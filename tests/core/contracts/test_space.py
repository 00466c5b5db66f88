"""Ranges of parameters, and their checks against the parameters."""

import json
from typing import ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion import Choice, Integer, LogInteger, LogUniform, Uniform
from fusion.core.contracts.errors import ParameterError, PluginError, UnknownNameError
from fusion.core.contracts.space import space_from_json
from fusion.core.contracts.train_config import TrainConfig
from fusion.core.registry.parameters import bind, space_of
from fusion.core.registry.registry import Registry


class Thing:
    """A thing."""

    def __init__(
        self,
        *,
        rate: float = 0.5,
        share: float | None = None,
        size: int = 3,
        mode: Literal["a", "b", "c"] = "a",
        on: bool = False,
    ) -> None: ...


def thing(**space):
    return type("Thing", (Thing,), {"space": space})


@pytest.mark.parametrize(
    ("space", "inside", "outside"),
    [(Uniform(0, 2), [0, 0.5, 2.0], [-0.1, 2.1, True, "1", None]),
     (LogUniform(1e-3, 1), [1e-3, 0.5, 1], [0, 1e-4, 2]),
     (Integer(-1, 3), [-1, 0, 3], [-2, 4, 1.0, False]),
     (LogInteger(1, 64), [1, 64], [0, 65, 8.0]),
     (Choice("a", 1, None), ["a", 1, None], ["b", 1.0, True, 2])],
)  # fmt: skip
def test_values_inside_and_outside_a_range(space, inside, outside):
    assert all(space.contains(value) for value in inside)
    assert not any(space.contains(value) for value in outside)
    assert all(space.contains(end) for end in space.ends())


@pytest.mark.parametrize(
    "space",
    [Uniform(0.0, 0.5), LogUniform(1e-4, 0.1), Integer(1, 8), LogInteger(8, 512),
     Choice("sum", "mean", None, 2, True)],
)  # fmt: skip
def test_a_range_can_be_written_to_json_and_read_back(space):
    again = space_from_json(json.loads(json.dumps(space.to_json())))
    assert again == space and type(again) is type(space)


def test_texts_of_ranges():
    assert str(Uniform(0.0, 0.5)) == "0 to 0.5"
    assert str(LogUniform(3e-4, 3e-2)) == "0.0003 to 0.03, logarithmic"
    assert str(Integer(1, 8)) == "1 to 8"
    assert str(Choice("sum", "mean")) == "sum, mean"
    assert repr(Integer(1, 8)) == "Integer(low=1, high=8)"


@pytest.mark.parametrize(
    ("make", "words"),
    [(lambda: Uniform(1, 1), "first must be below"),
     (lambda: Uniform(2, 1), "first must be below"),
     (lambda: Uniform(0, float("inf")), "both finite"),
     (lambda: Uniform(float("nan"), 1), "both finite"),
     (lambda: Uniform("0", 1), "'0' is not a number"),
     (lambda: Uniform(False, 1), "False is not a number"),
     (lambda: Integer(0.5, 3), "0.5 is not a whole number"),
     (lambda: LogUniform(0, 1), "above 0"),
     (lambda: LogInteger(0, 4), "above 0"),
     (lambda: Choice("a"), "two or more different"),
     (lambda: Choice("a", "a"), "two or more different"),
     (lambda: Choice("a", (1, 2)), "two or more different")],
)  # fmt: skip
def test_an_invalid_range_is_refused_at_its_definition(make, words):
    with pytest.raises(ParameterError, match=words):
        make()


@pytest.mark.parametrize(
    "data", [{}, {"kind": "Normal", "low": 0, "high": 1}, {"kind": "Uniform"}, "Uniform", None]
)
def test_invalid_json_of_a_range_is_refused(data):
    with pytest.raises(ParameterError, match="is not a range of a parameter"):
        space_from_json(data)


def test_valid_ranges_of_parameters():
    space = {
        "rate": LogUniform(0.1, 1), "share": Uniform(0, 1), "size": Integer(1, 8),
        "mode": Choice("a", "c"), "on": Choice(True, False),
    }  # fmt: skip
    assert space_of(thing(**space)) == space
    assert space_of(thing(share=Choice(None, 0.5)))
    assert space_of(Thing) == {}


@pytest.mark.parametrize(
    "space",
    [{"rate": Integer(1, 8)}, {"size": Uniform(1, 8)}, {"size": LogUniform(1, 8)},
     {"mode": Uniform(0, 1)}, {"mode": Choice("a", "d")}, {"size": Choice("1", "2")},
     {"size": Choice(1.0, 2.0)}, {"on": Choice(0, 1)}, {"on": Integer(0, 1)},
     {"rate": Choice(None, 0.5)}],
)  # fmt: skip
def test_a_range_with_invalid_values_of_the_parameter_is_refused(space):
    with pytest.raises(ParameterError, match=r"Thing.space\['.*'\] is .*, but .* is "):
        space_of(thing(**space))


def test_a_range_without_a_parameter_is_refused():
    with pytest.raises(UnknownNameError, match="no parameter of Thing 'rat'.*Did you mean 'rate'"):
        space_of(thing(rat=Uniform(0, 1)))
    expected = r"Thing.space\['rate'\] is \(0, 1\), which is not a range"
    with pytest.raises(ParameterError, match=expected):
        space_of(thing(rate=(0, 1)))


PLUGIN = """
from fusion import Balancer, Uniform, hookimpl

class Mine(Balancer):
    name = "mine"
    space = {"strength": Uniform(%s)}

    def __init__(self, *, power: float = 1.0) -> None: ...

@hookimpl
def fusion_balancers():
    return [Mine]
"""


@pytest.mark.parametrize(
    ("range_", "words"),
    [("0, 1", "no parameter of Mine 'strength'.*Known: power"), ("1, 0", "first must be below")],
)
def test_the_registry_refuses_a_plugin_with_invalid_ranges(tmp_path, range_, words):
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN % range_)
    with pytest.raises(PluginError, match=words):
        Registry([str(file)])


def test_ranges_of_built_in_plugins_and_of_training_are_valid():
    registry = Registry(strict=True)
    entries = [e for kind in ("branch", "strategy", "balancer") for e in registry.entries(kind)]
    declared = {entry.name: space_of(entry.cls) for entry in entries}
    assert declared["gated"]["hidden"] == LogInteger(8, 128)
    assert declared["gradscale"] and declared["cnn"]
    for name, values in space_of(TrainConfig).items():
        for end in values.ends():
            TrainConfig(**{name: end})
    budget = {"epochs", "batch_size", "patience", "smooth"}
    assert not budget & set(space_of(TrainConfig)), "every trial has the same budget"


class Ranged:
    space: ClassVar = {"rate": Uniform(-1.0, 1.0), "size": Integer(-5, 5)}

    def __init__(self, *, rate: float = 0.0, size: int = 0) -> None: ...


@given(st.floats(-1, 1), st.integers(-5, 5))
def test_values_inside_a_range_can_be_bound(rate, size):
    space = space_of(Ranged)
    assert space["rate"].contains(rate) and space["size"].contains(size)
    assert bind(Ranged, {"rate": rate, "size": size}, owner="x") == {"rate": rate, "size": size}
