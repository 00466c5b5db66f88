"""Checks of the declarations that every plugin has: name, version, docstring and parameters."""

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
    """Checks of the declarations that every plugin has; base class of the suites for each kind.

    Subclass the suite of your plugin's kind in a test file; pytest collects the checks::

        from fusion.testing import StrategySuite

        class TestSum(StrategySuite):
            plugin = Sum

    A plugin can configure its own suite with a class attribute ``conformance``: a dict of
    attributes of the suite. The dict applies to ``fusion plugins check`` and to every test class
    of the plugin; an attribute that the test class sets itself takes precedence.

    Attributes
    ----------
    plugin : type
        The class under test; the only attribute that a subclass must set.
    parameters : mapping
        Parameters to instantiate the plugin with; other parameters have their defaults.
    """

    plugin: ClassVar[type[Any]]
    parameters: ClassVar[Mapping[str, Any]] = {}
    kind: ClassVar[type[Plugin]]
    _memo: ClassVar[dict[object, Any]] = {}
    passed: ClassVar[tuple[str, ...]] = ()  # arguments that fusion itself passes to __init__

    def __init_subclass__(cls, **options: Any) -> None:
        """Apply the plugin's `conformance` to a new test class."""
        super().__init_subclass__(**options)
        cls._memo = {}
        declared = getattr(vars(cls).get("plugin"), "conformance", {})
        for name in cls._options() if isinstance(declared, Mapping) else ():
            if name in declared and name not in vars(cls):
                setattr(cls, name, declared[name])

    @classmethod
    def _options(cls) -> list[str]:
        """Return the attributes that the suites' docstrings list, and that a test class may set."""
        docs = (parameter_docs(inspect.getdoc(suite) or "") for suite in cls.__mro__)
        return sorted({name for doc in docs for name in doc} - {"plugin"})

    # -- overridden by the suites for the kinds ----------------------------------------

    def cases(self) -> Sequence[Any]:
        """Return the cases, such as shapes or recordings, for the checks that take a `case`."""
        return ()

    def costs(self) -> Sequence[Cost]:
        """Return time and memory of typical calls of the plugin, for information only."""
        return ()

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Make one pytest test per case of every check that takes a `case`."""
        if "case" in metafunc.fixturenames:
            metafunc.parametrize("case", self.cases(), ids=str)

    # -- tools -------------------------------------------------------------------------

    @property
    def where(self) -> str:
        """Return the name of the plugin for messages, such as ``Sum (strategy 'sum')``."""
        plugin = self._plugin()
        return f"{plugin.__name__} ({self.kind.__name__.lower()} {getattr(plugin, 'name', '?')!r})"

    def _plugin(self) -> type[Any]:
        suite = type(self).__name__
        plugin = getattr(self, "plugin", None)
        if not (isinstance(plugin, type) and issubclass(plugin, self.kind)):
            fail(
                f"{suite}.plugin is {plugin!r}",
                f"no {self.kind.__name__} class to test",
                expected=f"a subclass of fusion.{self.kind.__name__}",
                cause=f"this line is missing: class {suite}(...): plugin = MyClass",
            )
        return plugin

    def once(self, key: object, make: Callable[[], Any]) -> Any:
        """Return the result of `make`; call `make` only once for each `key` in a test class."""
        if key not in self._memo:
            self._memo[key] = make()
        return self._memo[key]

    def test_name_and_version(self) -> None:
        """Check that `name` is well-formed and not reserved, and that `version` is a string."""
        plugin = self._plugin()
        name = getattr(plugin, "name", None)
        require(
            isinstance(name, str) and well_formed(name),
            self.where,
            f"`name` is {name!r}",
            expected='name = "..." in the class, with lower-case letters, digits and underscores',
            cause="the line is missing, or the name has capitals, spaces or dashes",
        )
        reserved_names = reserved(self.kind.__name__.lower())
        require(
            name not in reserved_names,
            self.where,
            f"`name` is {name!r}, which is reserved",
            expected=f"any name except {', '.join(sorted(reserved_names))}",
            cause="fusion itself uses these names, for rows of a run's table or owners of settings",
        )
        version = plugin.version
        require(
            isinstance(version, str) and bool(version),
            self.where,
            f"`version` is {version!r}",
            expected='a string that is not empty, as in version = "1"',
            cause="a number instead of a string: version = 1",
        )

    def test_description(self) -> None:
        """Check that the class has a docstring, which `fusion plugins list` and `show` print."""
        text = self._plugin().__doc__ or ""
        require(
            bool(text.strip()),
            self.where,
            "the class has no docstring",
            expected="a docstring whose first line says what the plugin does",
            cause="an oversight; `fusion plugins list` prints the first line, `show` the docstring",
        )

    def test_conformance_attribute(self) -> None:
        """Check that the plugin's `conformance` sets only attributes that the suite has."""
        declared = getattr(self._plugin(), "conformance", {})
        require(
            isinstance(declared, Mapping),
            self.where,
            f"`conformance` is {declared!r:.80}",
            expected="a dict: attribute of the suite -> value",
            cause="a set or a string instead of a dict",
        )
        unknown = [str(name) for name in declared if name not in self._options()]
        require(
            not unknown,
            self.where,
            f"`conformance` names {', '.join(map(repr, unknown))}",
            expected=f"only names from: {', '.join(self._options())}",
            cause="a misspelling, or an attribute of another kind's suite",
        )

    def test_parameters(self) -> None:
        """Check that every parameter has an annotation, a default that fits, and documentation."""
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
                "the docstring does not describe this parameter",
                expected=f"in its Parameters section:\n{parameter.name} : "
                f"{parameter.type_name}\n    What it does, its range.",
                cause="the section is missing, or spells the name differently",
            )
            try:
                convert(parameter.default, parameter.type, parameter.name)
            except FusionError:
                fail(
                    own,
                    f"the default {parameter.default!r} does not have the annotated type "
                    f"{parameter.type_name}",
                    expected="a default that fits the annotation",
                    cause="= None with the annotation float: write float | None",
                )
        for name in self.parameters:
            require(
                name in declared,
                type(self).__name__,
                f"`parameters` names {name!r}, which {plugin.__name__} does not have",
                expected=f"only names from: {', '.join(declared) or 'none'}",
                cause="a parameter that was renamed, or one without annotation and default",
            )

    def test_space(self) -> None:
        """Check that `space` names parameters, and that the plugin accepts both ends of ranges."""
        plugin = self._plugin()
        try:
            space = space_of(plugin)
        except FusionError as error:
            fail(
                self.where,
                f"`space` is not valid: {error.message}",
                expected="parameter -> Uniform, LogUniform, Integer, LogInteger or Choice, of the "
                "same type as the parameter",
                cause="a parameter that was renamed, or Uniform for an int: use Integer",
            )
        if not space:
            skip("the plugin declares no `space`")
        for name, values in space.items():
            for value in values.ends():
                other = copy.copy(self)
                other.parameters = {**self.parameters, name: value}  # type: ignore[misc]
                with running(
                    f"{self.where}, {name}={value!r}",
                    "instantiation with a value from `space`",
                    cause="a range that is wider than __init__ accepts, or a value that conflicts "
                    "with the defaults of other parameters",
                ):
                    other.example()

    def example(self) -> Any:
        """Return an instance of the plugin made with `parameters`, as fusion itself makes it."""
        return make(self._plugin(), settings=self.parameters, owner=self.where)

    def _check_arguments(self, plugin: type[Any]) -> None:
        arguments = list(inspect.signature(plugin).parameters.values())
        for argument in arguments[len(self.passed) :]:
            collects = argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD)
            require(
                collects or argument.default is not argument.empty,
                self.where,
                f"the argument {argument.name!r} of __init__ has no default",
                expected=f"({', '.join(self.passed)}, *, parameter: type = default, ...)",
                cause="a default was forgotten: fusion passes only the arguments before * and the "
                "parameters that a user sets",
            )


def installed_plugins(beside: type, *kinds: str) -> dict[str, dict[str, type[Any]]]:
    """Return the plugin classes that the class under test may refer to, by kind and name.

    The result contains all installed plugins, and the plugins in the module of `beside`, the class
    under test. A plugin file is not installed, but plugins in the same file may refer to each
    other.
    """
    registry = Registry()
    own = [value for value in vars(sys.modules[beside.__module__]).values() if _is_plugin(value)]
    plugins: dict[str, dict[str, type[Any]]] = {}
    for kind in kinds:
        base: type = getattr(contracts, kind.capitalize())
        plugins[kind] = {e.name: registry.get(kind, e.name) for e in registry.entries(kind)}
        for cls in own:
            if issubclass(cls, base):
                plugins[kind].setdefault(cls.name, cls)
    return plugins


def _is_plugin(value: object) -> TypeGuard[type[Plugin]]:
    if not (isinstance(value, type) and issubclass(value, Plugin)):
        return False
    return isinstance(vars(value).get("name"), str)


def other_values(parameter: Parameter) -> Iterator[Any]:
    """Yield values that differ from the default; yield nothing for unknown types."""
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
