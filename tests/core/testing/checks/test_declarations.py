"""Checks of every plugin's declarations: name, version, parameters, space and conformance."""

from typing import ClassVar, Literal

import pytest
from right_extractors import Level
from right_plugins import Plain
from suites import fails_only, failures, own_checks

from fusion import Balancer, Uniform
from fusion.core.contracts.errors import ParameterError
from fusion.core.registry.parameters import Parameter
from fusion.core.testing.checks.declarations import PluginSuite, installed_plugins, other_values
from fusion.core.testing.runner import suite_for
from fusion.testing import ExtractorSuite, StrategySuite


class Idle(Balancer):
    """Does nothing."""

    name = "idle"


@pytest.mark.parametrize(
    ("type_", "default", "likely"),
    [(bool, True, False), (int, 4, 2), (float, 1.0, 0.5), (Literal["a", "b"], "a", "b"),
     (float | None, None, 0.5), (str, "a", None)],
)  # fmt: skip
def test_other_values_differ_from_the_default(type_, default, likely):
    result = list(other_values(Parameter("it", type_, default, "")))
    assert default not in result
    assert (result or [None])[0] == likely


def test_installed_plugins_include_those_of_the_same_file():
    result = installed_plugins(Idle, "balancer", "strategy")
    assert result["balancer"]["idle"] is Idle
    assert "gradscale" in result["balancer"] and "idle" not in result["strategy"]


def test_once_is_per_test_class():
    one, other = suite_for("balancer", Idle), suite_for("balancer", Idle)
    again = type(one)()
    assert one.once("it", object) is again.once("it", object)
    assert one.once("it", object) is not other.once("it", object)


# -- plugins with one wrong declaration each ---------------------------------------------


class NoAnnotation(Plain):
    """A parameter without a type."""

    def __init__(self, dims, num_classes, *, rate=0.1):
        super().__init__(dims, num_classes)


class NoText(Plain):
    """A parameter that the docstring does not describe."""

    def __init__(self, dims, num_classes, *, rate: float = 0.1):
        super().__init__(dims, num_classes)


class NoDefault(Plain):
    """An argument without a default, which no caller passes."""

    def __init__(self, dims, num_classes, rate: float):
        super().__init__(dims, num_classes)


class WrongDefault(Plain):
    """A default of another type.

    Parameters
    ----------
    rate : float
        A rate.
    """

    def __init__(self, dims, num_classes, *, rate: float = None):  # noqa: RUF013
        super().__init__(dims, num_classes)


class Unheard(Plain):
    """A range for a parameter that does not exist.

    Parameters
    ----------
    rate : float
        A rate.
    """

    space: ClassVar = {"rates": Uniform(0.0, 1.0)}

    def __init__(self, dims, num_classes, *, rate: float = 0.1):
        super().__init__(dims, num_classes)
        if rate >= 1:
            raise ParameterError("rate must be below 1.")


class TooWide(Unheard):
    __doc__ = Unheard.__doc__
    space: ClassVar = {"rate": Uniform(0.0, 1.0)}


class Named(Plain):
    """A name that can't be typed on the command line."""

    name = "My Method"


class Numbered(Plain):
    """A version that is not a string."""

    version = 2


class Reserved(Plain):
    """The name of a row in the table of a run."""

    name = "chosen"


class Nameless(Plain):
    __doc__ = None


class Declares(Plain):
    """Conformance settings that the suite does not know."""

    conformance: ClassVar = {"order_matters": "it does"}


# Plugin -> words of the message, and the checks that fail, first the corresponding one.
WRONG = {
    NoAnnotation: ("without annotation", "parameters"),
    NoText: ("the docstring does not describe this parameter", "parameters"),
    NoDefault: ("the argument 'rate' of __init__ has no default", "parameters"),
    WrongDefault: ("the default None does not have the annotated type float", "parameters"),
    Unheard: ("no parameter of Unheard 'rates'", "space"),
    TooWide: ("rate=1.0\n", "space"),
    Named: ("`name` is 'My Method'", "name_and_version"),
    Numbered: ("`version` is 2", "name_and_version"),
    Reserved: ("`name` is 'chosen', which is reserved", "name_and_version"),
    Nameless: ("the class has no docstring", "description"),
    Declares: ("`conformance` names 'order_matters'", "conformance_attribute"),
}  # fmt: skip


@pytest.mark.parametrize("plugin", WRONG, ids=lambda plugin: plugin.__name__)
def test_a_wrong_declaration_fails_its_check(plugin):
    words, *intended = WRONG[plugin]
    fails_only(StrategySuite, plugin, words, *intended, alone=plugin in (NoAnnotation, NoDefault))


def test_every_check_has_a_plugin_that_fails_it():
    assert own_checks(PluginSuite) == {f"test_{intended}" for _, intended, *_ in WRONG.values()}


def test_parameters_that_do_not_exist_are_reported():
    result = failures(StrategySuite, Plain, parameters={"rank": 3})
    assert "`parameters` names 'rank', which Plain does not have" in result["test_parameters"]


def test_a_plugin_declares_the_parameters_of_its_suite():
    class Coarse(Level):
        """Declares conformance parameters."""

        conformance: ClassVar = {"parameters": {"parts": 2}}

    created = type("TestIt", (ExtractorSuite,), {"plugin": Coarse})
    assert created().create().shape == (2,)
    own = type("TestIt", (ExtractorSuite,), {"plugin": Coarse, "parameters": {"parts": 5}})
    assert own().create().shape == (5,)


def test_an_unknown_conformance_name_is_reported():
    class Misspelt(Level):
        """Declares an unknown conformance name."""

        conformance: ClassVar = {"recording": ["a.wav"]}

    only = {"test_conformance_attribute"}
    message = failures(ExtractorSuite, Misspelt, only=only)["test_conformance_attribute"]
    assert "names 'recording'" in message
    assert "only names from: parameters, recordings" in message
