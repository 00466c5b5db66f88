"""Checks that hold for a plugin of any kind: its name, version, text and parameters."""

from __future__ import annotations

import copy
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeGuard, get_args, get_origin

from ... import contracts
from ...contracts import Plugin
from ...contracts.errors import FusionError
from ...registry.collecting import reserved, well_formed
from ...registry.parameters import (
    Parameter,
    convert,
    make,
    parameter_docs,
    parameters_of,
    space_of,
)
from ...registry.registry import Registry
from ..costs import Cost
from .assertions import fail, require, running, skip


class PluginSuite:
    """What every plugin declares. Base of the suites for each kind.

    Subclass a suite in a test file; pytest finds the checks::

        from fusion.testing import StrategySuite

        class TestSum(StrategySuite):
            plugin = Sum

    A plugin may say itself what its suite is to know, in a class attribute ``conformance``:
    a dict of the suite's attributes. It holds for every test class of the plugin that does not
    say otherwise, and for ``fusion plugins check``.

    Attributes
    ----------
    plugin : type
        The class under test. The one line that a subclass must have.
    parameters : mapping
        Parameters to make it with, where its defaults are not what should be tested.
    """

    plugin: ClassVar[type[Any]]
    parameters: ClassVar[Mapping[str, Any]] = {}
    kind: ClassVar[type[Plugin]]
    _made_once: ClassVar[dict[object, Any]] = {}
    passed: ClassVar[tuple[str, ...]] = ()  # what fusion itself passes to __init__

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        cls._made_once = {}
        declared = getattr(vars(cls).get("plugin"), "conformance", {})
        for name in cls._options() if isinstance(declared, Mapping) else ():
            if name in declared and name not in vars(cls):
                setattr(cls, name, declared[name])

    @classmethod
    def _options(cls) -> list[str]:
        """What a test class may set: the attributes that the suites' docstrings name."""
        docs = (parameter_docs(inspect.getdoc(suite) or "") for suite in cls.__mro__)
        return sorted({name for doc in docs for name in doc} - {"plugin"})

    # -- what the suites for the kinds say ---------------------------------------------

    def cases(self) -> Sequence[Any]:
        """What the checks that take a `case` go through."""
        return ()

    def costs(self) -> Sequence[Cost]:
        """What a call of the plugin takes, for its author to know."""
        return ()

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Every check that takes a `case` becomes one test per case."""
        if "case" in metafunc.fixturenames:
            metafunc.parametrize("case", self.cases(), ids=str)

    # -- tools -------------------------------------------------------------------------

    @property
    def where(self) -> str:
        """How messages name the plugin."""
        plugin = self._plugin()
        return f"{plugin.__name__} ({self.kind.__name__.lower()} {getattr(plugin, 'name', '?')!r})"

    def _plugin(self) -> type[Any]:
        suite = type(self).__name__
        plugin = getattr(self, "plugin", None)
        if not (isinstance(plugin, type) and issubclass(plugin, self.kind)):
            fail(
                f"{suite}.plugin is {plugin!r}",
                f"there is no {self.kind.__name__} class to test",
                expected=f"a subclass of fusion.{self.kind.__name__}",
                cause=f"the line is missing: class {suite}(...): plugin = MyClass",
            )
        return plugin

    def once(self, key: object, make: Callable[[], Any]) -> Any:
        """What `make` returns, made once for all checks of a test class."""
        if key not in self._made_once:
            self._made_once[key] = make()
        return self._made_once[key]

    def test_name_and_version(self) -> None:
        """Its name can be typed and is free; its version is text."""
        plugin = self._plugin()
        name = getattr(plugin, "name", None)
        require(
            isinstance(name, str) and well_formed(name),
            self.where,
            f"its name is {name!r}",
            expected='name = "..." in the class: lower case letters, digits and underscores',
            cause="the line is missing, or has capitals, blanks or dashes",
        )
        taken = reserved(self.kind.__name__.lower())
        require(
            name not in taken,
            self.where,
            f"its name {name!r} is reserved",
            expected=f"any name but {', '.join(sorted(taken))}",
            cause="these are rows of a run's table or owners of settings",
        )
        version = plugin.version
        require(
            isinstance(version, str) and bool(version),
            self.where,
            f"its version is {version!r}",
            expected='text, as in version = "1"',
            cause="a number instead of text: version = 1",
        )

    def test_description(self) -> None:
        """It has a docstring, which `fusion plugins list` and `show` print."""
        text = self._plugin().__doc__ or ""
        require(
            bool(text.strip()),
            self.where,
            "it has no docstring",
            expected="one whose first line says what the plugin does",
            cause="it is easily forgotten; `fusion plugins list` prints that line, `show` all",
        )

    def test_conformance_attribute(self) -> None:
        """What the class declares for this suite is among what can be set."""
        declared = getattr(self._plugin(), "conformance", {})
        require(
            isinstance(declared, Mapping),
            self.where,
            f"its `conformance` is {declared!r:.80}",
            expected="a dict: attribute of the suite -> value",
            cause="a set or a text where a dict is meant",
        )
        unknown = [str(name) for name in declared if name not in self._options()]
        require(
            not unknown,
            self.where,
            f"its `conformance` names {', '.join(map(repr, unknown))}",
            expected=f"some of: {', '.join(self._options())}",
            cause="a misspelling, or an attribute of another kind's suite",
        )

    def test_parameters(self) -> None:
        """Every parameter has an annotation, a default that fits it, and a text."""
        plugin = self._plugin()
        with running(
            self.where,
            "reading its parameters",
            cause="an argument of __init__ has a default and no annotation",
        ):
            declared = parameters_of(plugin)
        self._check_arguments(plugin)
        for parameter in declared.values():
            own = f"{self.where}, parameter {parameter.name!r}"
            require(
                bool(parameter.doc),
                own,
                "the docstring says nothing about it",
                expected=f"in its Parameters section:\n{parameter.name} : "
                f"{parameter.type_name}\n    What it does, its range.",
                cause="the section is missing, or the name is spelt differently there",
            )
            try:
                convert(parameter.default, parameter.type, parameter.name)
            except FusionError:
                fail(
                    own,
                    f"its default {parameter.default!r} is no {parameter.type_name}",
                    expected="a default that fits the annotation",
                    cause="= None with the annotation float; write float | None",
                )
        for name in self.parameters:
            require(
                name in declared,
                type(self).__name__,
                f"`parameters` names {name!r}, which {plugin.__name__} does not have",
                expected=f"some of: {', '.join(declared) or 'none'}",
                cause="a parameter that was renamed, or one without annotation and default",
            )

    def test_space(self) -> None:
        """What tuning may try is a range of a parameter, and the plugin takes its ends."""
        plugin = self._plugin()
        try:
            space = space_of(plugin)
        except FusionError as error:
            fail(
                self.where,
                f"its space is wrong: {error.message}",
                expected="parameter -> Uniform, LogUniform, Integer, LogInteger or Choice, of the "
                "parameter's own type",
                cause="a parameter that was renamed, or Uniform for an int: use Integer",
            )
        if not space:
            skip("it declares none")
        for name, values in space.items():
            for value in values.ends():
                other = copy.copy(self)
                other.parameters = {**self.parameters, name: value}  # type: ignore[misc]
                with running(
                    f"{self.where}, {name}={value!r}",
                    "making it with a value that its space allows",
                    cause="a range that is wider than what __init__ takes, or a value that does "
                    "not go with the defaults of the others",
                ):
                    other.example()

    def example(self) -> Any:
        """The plugin, made once with `parameters`, by the road that fusion takes."""
        return make(self._plugin(), given=self.parameters, owner=self.where)

    def _check_arguments(self, plugin: type[Any]) -> None:
        arguments = list(inspect.signature(plugin).parameters.values())
        for argument in arguments[len(self.passed) :]:
            collects = argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD)
            require(
                collects or argument.default is not argument.empty,
                self.where,
                f"__init__ takes {argument.name!r}, which has no default",
                expected=f"({', '.join(self.passed)}, *, parameter: type = default, ...)",
                cause="fusion passes these, and parameters that a user set; the rest need defaults",
            )


def installed_plugins(beside: type, *kinds: str) -> dict[str, dict[str, type[Any]]]:
    """Kind -> name -> class of the plugins that the class under test, `beside`, may name.

    A plugin given as a file is not installed, and may name others of the same file.
    """
    registry = Registry()
    own = [value for value in vars(sys.modules[beside.__module__]).values() if _is_plugin(value)]
    found: dict[str, dict[str, type[Any]]] = {}
    for kind in kinds:
        base: type = getattr(contracts, kind.capitalize())
        found[kind] = {e.name: registry.get(kind, e.name) for e in registry.entries(kind)}
        for cls in own:
            if issubclass(cls, base):
                found[kind].setdefault(cls.name, cls)
    return found


def _is_plugin(value: object) -> TypeGuard[type[Plugin]]:
    if not (isinstance(value, type) and issubclass(value, Plugin)):
        return False
    return isinstance(vars(value).get("name"), str)


def other_values(parameter: Parameter) -> Iterator[Any]:
    """Values unlike the default, likely ones first; none of a type that can't be guessed."""
    for value in _values(parameter.type, parameter.default):
        if value != parameter.default:
            yield value


def _values(annotation: Any, default: Any) -> Iterator[Any]:
    if get_origin(annotation) in (typing.Union, types.UnionType):
        for part in get_args(annotation):
            yield from _values(part, default)
    elif get_origin(annotation) is Literal:
        yield from get_args(annotation)
    elif annotation is bool:
        yield from (True, False)
    elif annotation is int:
        number = default if isinstance(default, int) else 2
        yield from (number // 2, number * 2, number + 1, number - 1)
    elif annotation is float:
        size = float(default) if isinstance(default, int | float) else 1.0
        yield from (size / 2, size * 2, size + 1.0, size - 1.0, 0.5)
    elif annotation is type(None):
        yield None
