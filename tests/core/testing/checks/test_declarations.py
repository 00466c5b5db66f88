"""What the checks of every plugin are made of."""

from typing import Literal

import pytest

from fusion import Balancer
from fusion.core.registry.parameters import Parameter
from fusion.core.testing.checks.declarations import installed_plugins, other_values
from fusion.core.testing.runner import suite_for


class Idle(Balancer):
    """Does nothing."""

    name = "idle"


@pytest.mark.parametrize(
    ("type_", "default", "likely"),
    [(bool, True, False), (int, 4, 2), (float, 1.0, 0.5), (Literal["a", "b"], "a", "b"),
     (float | None, None, 0.5), (str, "a", None)],
)  # fmt: skip
def test_values_unlike_the_default(type_, default, likely):
    found = list(other_values(Parameter("it", type_, default, "")))
    assert default not in found
    assert (found or [None])[0] == likely


def test_a_plugin_may_name_those_installed_and_those_of_its_file():
    found = installed_plugins(Idle, "balancer", "strategy")
    assert found["balancer"]["idle"] is Idle
    assert "gradscale" in found["balancer"] and "idle" not in found["strategy"]


def test_what_is_made_once_belongs_to_one_test_class():
    one, other = suite_for("balancer", Idle), suite_for("balancer", Idle)
    again = type(one)()
    assert one.once("it", object) is again.once("it", object)
    assert one.once("it", object) is not other.once("it", object)
