"""Parameters of plugins: read from annotated keyword arguments, bound from text.

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
from .provenance import name_of, told

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a plugin.

    Attributes
    ----------
    name : str
        The keyword argument.
    type : Any
        Its annotation, resolved.
    default : Any
        Its default.
    doc : str
        Its text in the *Parameters* section of the class's docstring; may be empty.
    """

    name: str
    type: Any
    default: Any
    doc: str

    @property
    def type_name(self) -> str:
        """The annotation as a person would write it."""
        return type_name(self.type)


def type_name(annotation: Any) -> str:
    """``int``, ``"fixed" | "adaptive"``, ``float | None``."""
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
    """The parameters of `cls`, in the order of its signature.

    Raises
    ------
    ParameterError
        If an argument with a default has no annotation: its type can't be known.
    """
    docs = parameter_docs(inspect.getdoc(cls) or "")
    found: dict[str, Parameter] = {}
    for argument in inspect.signature(cls, eval_str=True).parameters.values():
        name, default = argument.name, argument.default
        if default is argument.empty:
            continue
        if argument.annotation is argument.empty:
            raise ParameterError(
                f"{cls.__name__}.__init__ has an argument {name!r} without annotation.",
                hint=f"Write its type: {name}: float = {default!r}",
            )
        found[name] = Parameter(name, argument.annotation, default, docs.get(name, ""))
    return found


def bind(cls: type, given: Mapping[str, Any], *, owner: str) -> dict[str, Any]:
    """Check and convert `given` for the parameters of `cls`.

    Parameters
    ----------
    cls : type
        A plugin class, or any class with annotated keyword arguments.
    given : mapping
        Parameter name -> value, or the text a user typed for it.
    owner : str
        What users call `cls`; messages name it.

    Returns
    -------
    dict
        Every parameter of `cls`, given or default: what is stored with a run.

    Raises
    ------
    UnknownNameError
        For a name that is no parameter.
    ParameterError
        For a value that does not fit the annotation.
    """
    parameters = parameters_of(cls)
    for name in given:
        if name not in parameters:
            raise UnknownNameError(f"parameter of {owner}", name, parameters)
    replaced: Mapping[str, Mapping[str, str]] = getattr(cls, "replaced_values", {})
    return {
        name: convert(given[name], parameter.type, f"{owner}.{name}", replaced.get(name, {}))
        if name in given
        else parameter.default
        for name, parameter in parameters.items()
    }


def space_of(cls: type) -> dict[str, Space]:
    """The values that tuning may try for the parameters of `cls`, as the class declares them.

    Raises
    ------
    UnknownNameError
        For a name that is no parameter.
    ParameterError
        For what is no range, or a range of values that the parameter can't have.
    """
    space: Mapping[str, Space] = getattr(cls, "space", {})
    return check_space(cls, space, owner=f"{cls.__name__}.space") if space else {}


def check_space(cls: type, space: Mapping[str, Space], *, owner: str) -> dict[str, Space]:
    """`space`, where it fits the parameters of `cls`; raises as :func:`space_of` does."""
    parameters = parameters_of(cls)
    for name, values in space.items():
        label = f"{owner}[{name!r}]"
        if name not in parameters:
            raise UnknownNameError(
                f"parameter of {cls.__name__}", name, parameters, hint=f"{owner} names it."
            )
        if not isinstance(values, Space):
            raise ParameterError(
                f"{label} is {values!r}, which is no range.",
                hint="For example: Uniform(0.0, 0.5), Integer(1, 8), Choice('sum', 'mean')",
            )
        if not _can_have(parameters[name].type, values):
            raise ParameterError(
                f"{label} is {values!r}, and {name} is {parameters[name].type_name}.",
                hint="Uniform and LogUniform are for float, Integer and LogInteger for int, "
                "Choice for values that the annotation allows.",
            )
    return dict(space)


def _can_have(annotation: Any, values: Space) -> bool:
    if values.value_type is not None:
        return values.value_type in _alternatives(annotation)
    for option in values.ends():
        try:
            found = convert(option, annotation, "")
        except ParameterError:
            return False
        if type(found) is not type(option) or found != option:  # "8" is no int
            return False
    return True


def make(cls: type[T], *args: Any, given: Mapping[str, Any], owner: str) -> T:
    """An instance of a plugin class, its parameters bound.

    Raises
    ------
    UserError
        For a parameter that does not exist or does not fit.
    PluginError
        If the class can't be made, naming it.
    """
    parameters = bind(cls, given, owner=owner)
    try:
        return cls(*args, **parameters)
    except FusionError:
        raise
    except Exception as error:
        raise PluginError(
            f"{owner}: {name_of(cls)} can't be made: {told(error)}",
            hint="Every argument of a plugin that fusion does not pass needs a default.",
        ) from error


def convert(
    value: Any, annotation: Any, label: str, replaced: Mapping[str, str] | None = None
) -> Any:
    """Turn `value`, often text from the command line, into what `annotation` asks for.

    `replaced` has values of earlier versions, each with a sentence on what replaced it.
    """
    for candidate in _alternatives(annotation):
        try:
            return _convert_one(value, candidate)
        except (TypeError, ValueError):
            continue
    raise ParameterError(
        f"{label} must be {type_name(annotation)}, and was given {value!r}.",
        hint=(replaced or {}).get(
            str(value), "fusion plugins show NAME lists a plugin's parameters with their types."
        ),
    )


def _alternatives(annotation: Any) -> Sequence[Any]:
    if get_origin(annotation) in (typing.Union, types.UnionType):
        # None first: the text "none" would otherwise be a fine str.
        return sorted(get_args(annotation), key=lambda part: part is not type(None))
    return [annotation]


_WORDS = {True: ("true", "yes", "on", "1"), False: ("false", "no", "off", "0")}


def _convert_one(value: Any, annotation: Any) -> Any:
    found: list[Any] = []  # what `value` may stand for, the first of which it does
    if get_origin(annotation) in (tuple, list):
        return _convert_sequence(value, annotation)
    if get_origin(annotation) is Literal:
        found = [o for o in get_args(annotation) if value == o or str(value) == str(o)]
    elif annotation is type(None):
        found = [None] if value is None or str(value).lower() in ("none", "") else []
    elif annotation is bool:
        found = [truth for truth, words in _WORDS.items() if str(value).lower() in words]
    elif annotation is int:
        whole = not isinstance(value, float) or value.is_integer()
        found = [int(value)] if whole and not isinstance(value, bool) else []
    elif annotation is float:
        number = math.nan if isinstance(value, bool) else float(value)
        found = [number] if math.isfinite(number) else []
    elif annotation is Any or isinstance(value, annotation):
        found = [value]
    if not found:
        raise ValueError
    return found[0]


def _convert_sequence(value: Any, annotation: Any) -> Any:
    parts = value.split(",") if isinstance(value, str) else list(value)
    inner = get_args(annotation)
    if get_origin(annotation) is tuple and not (len(inner) == 2 and inner[1] is Ellipsis):
        if len(parts) != len(inner):
            raise ValueError
        return tuple(_convert_one(part, one) for part, one in zip(parts, inner, strict=True))
    items = [
        _convert_one(part.strip() if isinstance(part, str) else part, inner[0])
        for part in parts
        if part != ""
    ]
    return tuple(items) if get_origin(annotation) is tuple else items


def parse_settings(settings: Sequence[str]) -> dict[str, dict[str, str]]:
    """``["gradscale.mode=fixed", ...]`` -> ``{"gradscale": {"mode": "fixed"}}``.

    The part before the last dot names the owner, so ``branch.mel.blocks=5`` belongs to
    ``branch.mel``.
    """
    found: dict[str, dict[str, str]] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        owner, dot, name = key.strip().rpartition(".")
        if not equals or not dot or not owner or not name:
            raise ParameterError(
                f"--set takes OWNER.PARAMETER=VALUE, and was given {setting!r}.",
                hint="For example: --set gradscale.mode=fixed or --set train.epochs=30",
            )
        found.setdefault(owner, {})[name] = value.strip()
    return found


def as_text(value: Any) -> str:
    """A value as one would type it after ``--set OWNER.PARAMETER=``."""
    if isinstance(value, list | tuple):
        return ",".join(as_text(part) for part in value)
    return "none" if value is None else str(value)
