"""Declaration of plugin parameters as annotated arguments, and binding to values or text.

One mechanism serves every kind of plugin and the training settings: an argument of
``__init__`` that has an annotation and a default is a parameter.
"""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin

from ..contracts.errors import FusionError, ParameterError, PluginError, UnknownNameError
from ..contracts.space import Space
from .docstrings import parameter_docs as parameter_docs
from .provenance import message_of, name_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a plugin.

    Attributes
    ----------
    name : str
        Name of the keyword argument.
    type : Any
        Resolved annotation of the argument.
    default : Any
        Default value.
    doc : str
        Text in the *Parameters* section of the class's docstring; may be empty.
    """

    name: str
    type: Any
    default: Any
    doc: str

    @property
    def type_name(self) -> str:
        """The annotation as it is written in source code."""
        return type_name(self.type)


def type_name(annotation: Any) -> str:
    """Return an annotation as text: ``int``, ``'fixed' | 'adaptive'``, ``float | None``."""
    if get_origin(annotation) is Literal:
        return " | ".join(repr(value) for value in get_args(annotation))
    if get_origin(annotation) in (typing.Union, types.UnionType):
        return " | ".join(type_name(part) for part in get_args(annotation))
    if annotation is type(None):
        return "None"
    if get_origin(annotation) is not None:
        return str(annotation).replace("typing.", "")
    return getattr(annotation, "__name__", str(annotation))


def parameters_of(cls: type) -> dict[str, Parameter]:
    """Return the parameters of `cls` by name, in the order of its signature.

    Raises
    ------
    ParameterError
        If an argument has a default but no annotation, so that its type is unknown.
    """
    docs = parameter_docs(inspect.getdoc(cls) or "")
    parameters: dict[str, Parameter] = {}
    for argument in inspect.signature(cls, eval_str=True).parameters.values():
        name, default = argument.name, argument.default
        if default is argument.empty:
            continue
        if argument.annotation is argument.empty:
            raise ParameterError(
                f"{cls.__name__}.__init__ has an argument {name!r} without annotation.",
                hint=f"Write its type: {name}: float = {default!r}",
            )
        parameters[name] = Parameter(name, argument.annotation, default, docs.get(name, ""))
    return parameters


def bind(cls: type, settings: Mapping[str, Any], *, owner: str) -> dict[str, Any]:
    """Check and convert the `settings` for parameters of `cls`, and add the defaults.

    Parameters
    ----------
    cls : type
        A plugin class, or any class with annotated keyword arguments.
    settings : mapping
        Parameter name -> value, or the text that a user typed for the value.
    owner : str
        Name of `cls` in messages.

    Returns
    -------
    dict
        The values of all parameters of `cls`, as they are stored with a run.

    Raises
    ------
    UnknownNameError
        If a name in `settings` is not a parameter.
    ParameterError
        If a value does not fit the annotation.
    """
    parameters = parameters_of(cls)
    for name in settings:
        if name not in parameters:
            raise UnknownNameError(f"parameter of {owner}", name, parameters)
    replaced: Mapping[str, Mapping[str, str]] = getattr(cls, "replaced_values", {})
    return {
        name: convert(settings[name], parameter.type, f"{owner}.{name}", replaced.get(name, {}))
        if name in settings
        else parameter.default
        for name, parameter in parameters.items()
    }


def space_of(cls: type) -> dict[str, Space]:
    """Return the search space for tuning that `cls` declares for its parameters.

    Raises
    ------
    UnknownNameError
        If a name in the space is not a parameter.
    ParameterError
        If a value in the space is not a range, or the parameter can't have the values of the range.
    """
    space: Mapping[str, Space] = getattr(cls, "space", {})
    return check_space(cls, space, owner=f"{cls.__name__}.space") if space else {}


def check_space(cls: type, space: Mapping[str, Space], *, owner: str) -> dict[str, Space]:
    """Return a copy of `space` if it fits the parameters of `cls`.

    Raises the same errors as :func:`space_of`.
    """
    parameters = parameters_of(cls)
    for name, values in space.items():
        label = f"{owner}[{name!r}]"
        if name not in parameters:
            raise UnknownNameError(
                f"parameter of {cls.__name__}", name, parameters, hint=f"{owner} names it."
            )
        if not isinstance(values, Space):
            raise ParameterError(
                f"{label} is {values!r}, which is not a range.",
                hint="For example: Uniform(0.0, 0.5), Integer(1, 8), Choice('sum', 'mean')",
            )
        if not _can_have(parameters[name].type, values):
            raise ParameterError(
                f"{label} is {values!r}, but {name} is {parameters[name].type_name}.",
                hint="Uniform and LogUniform are for float, Integer and LogInteger for int, "
                "Choice for values that the annotation allows.",
            )
    return dict(space)


def _can_have(annotation: Any, values: Space) -> bool:
    if values.value_type is not None:
        return values.value_type in _alternatives(annotation)
    for option in values.ends():
        try:
            value = convert(option, annotation, "")
        except ParameterError:
            return False
        if type(value) is not type(option) or value != option:  # such as "8" for an int
            return False
    return True


def make(cls: type[T], *args: Any, settings: Mapping[str, Any], owner: str) -> T:
    """Return an instance of a plugin class with `settings`; other parameters have their defaults.

    Raises
    ------
    UserError
        If a parameter does not exist, or a value does not fit.
    PluginError
        If the class can't be instantiated. The message names the class.
    """
    parameters = bind(cls, settings, owner=owner)
    try:
        return cls(*args, **parameters)
    except FusionError:
        raise
    except Exception as error:
        raise PluginError(
            f"{owner}: {name_of(cls)} can't be created: {message_of(error)}",
            hint="Give a default to every argument of the plugin that fusion does not pass.",
        ) from error


def convert(
    value: Any, annotation: Any, label: str, replaced: Mapping[str, str] | None = None
) -> Any:
    """Convert `value`, often text from the command line, to the type of `annotation`.

    `replaced` maps each value that only earlier versions accepted to a hint about its replacement.

    Raises
    ------
    ParameterError
        If the value does not fit the annotation. The message calls the parameter `label`.
    """
    for candidate in _alternatives(annotation):
        try:
            return _convert_one(value, candidate)
        except (TypeError, ValueError):
            continue
    raise ParameterError(
        f"{label} must be {type_name(annotation)}, and is {value!r}.",
        hint=(replaced or {}).get(
            str(value), "fusion plugins show NAME lists a plugin's parameters with their types."
        ),
    )


def _alternatives(annotation: Any) -> Sequence[Any]:
    if get_origin(annotation) in (typing.Union, types.UnionType):
        # Try None first: otherwise the text "none" would be accepted as a str.
        return sorted(get_args(annotation), key=lambda part: part is not type(None))
    return [annotation]


_WORDS = {True: ("true", "yes", "on", "1"), False: ("false", "no", "off", "0")}


def _convert_one(value: Any, annotation: Any) -> Any:
    matches: list[Any] = []  # possible values; the first value is returned
    if get_origin(annotation) in (tuple, list):
        return _convert_sequence(value, annotation)
    if get_origin(annotation) is Literal:
        matches = [o for o in get_args(annotation) if value == o or str(value) == str(o)]
    elif annotation is type(None):
        matches = [None] if value is None or str(value).lower() in ("none", "") else []
    elif annotation is bool:
        matches = [truth for truth, words in _WORDS.items() if str(value).lower() in words]
    elif annotation is int:
        whole = not isinstance(value, float) or value.is_integer()
        matches = [int(value)] if whole and not isinstance(value, bool) else []
    elif annotation is float:
        number = math.nan if isinstance(value, bool) else float(value)
        matches = [number] if math.isfinite(number) else []
    elif annotation is Any or isinstance(value, annotation):
        matches = [value]
    if not matches:
        raise ValueError
    return matches[0]


def _convert_sequence(value: Any, annotation: Any) -> Any:
    parts = value.split(",") if isinstance(value, str) else list(value)
    inner = get_args(annotation)
    if get_origin(annotation) is tuple and not (len(inner) == 2 and inner[1] is Ellipsis):
        if len(parts) != len(inner):
            raise ValueError
        return tuple(_convert_one(part, type_) for part, type_ in zip(parts, inner, strict=True))
    items = [
        _convert_one(part.strip() if isinstance(part, str) else part, inner[0])
        for part in parts
        if part != ""
    ]
    return tuple(items) if get_origin(annotation) is tuple else items


def parse_settings(settings: Sequence[str]) -> dict[str, dict[str, str]]:
    """Parse the values of ``--set`` into a nested dict: owner, parameter, text.

    ``["gradscale.mode=fixed"]`` gives ``{"gradscale": {"mode": "fixed"}}``. The part before the
    last dot names the owner, so ``branch.mel.blocks=5`` belongs to ``branch.mel``.

    Raises
    ------
    ParameterError
        If a text does not have the form OWNER.PARAMETER=VALUE.
    """
    parsed: dict[str, dict[str, str]] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        owner, dot, name = key.strip().rpartition(".")
        if not equals or not dot or not owner or not name:
            raise ParameterError(
                f"--set must be OWNER.PARAMETER=VALUE, and is {setting!r}.",
                hint="For example: --set gradscale.mode=fixed or --set train.epochs=30",
            )
        parsed.setdefault(owner, {})[name] = value.strip()
    return parsed


def as_text(value: Any) -> str:
    """Return a value as text that ``--set OWNER.PARAMETER=TEXT`` accepts."""
    if isinstance(value, list | tuple):
        return ",".join(as_text(part) for part in value)
    return "none" if value is None else str(value)
