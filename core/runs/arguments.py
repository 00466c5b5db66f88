"""Checks of the Python API's arguments, and their conversion to the command line's form."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..contracts.errors import ParameterError, UnknownNameError
from ..registry.parameters import as_text

if TYPE_CHECKING:
    from ..registry.registry import Registry

PathLike = str | Path


def refuse_unknown(unknown: Mapping[str, Any], function: Callable[..., Any]) -> None:
    """Raise UnknownNameError for the first unknown argument, with a hint on the right name."""
    for name in unknown:
        parameters = [k for k in function.__annotations__ if k not in ("unknown", "return")]
        raise UnknownNameError(f"argument of fusion.{function.__name__}()", name, parameters,
                               hint=INSTEAD.get(name))  # fmt: skip


# Hints for options of `fusion run` that have another name or form in the Python API, and for
# wrong names that are too far from the right name for a spelling suggestion.
INSTEAD = {
    "resume": "To resume a run: fusion.resume(RUN)",
    "no_report": "To write no report: report=False",
    "require_gain": "Check the result instead: result.gain < 0",
    "json": "For plain values: result.results.to_json()",
    "trace_hooks": "In a program: with fusion.core.registry.trace.tracing() as trace: ...",
    "balancers": "The argument is called balance, as on the command line.",
    "settings": 'The argument is called set, as on the command line: set={"train.dim": 32}',
    "p": 'The argument is called plugins: plugins=["./my.py"]',
}


def shortened(value: Any) -> str:
    """Return the representation of a value for a message, at most 60 characters long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def check_whole_or_none(least: int, **values: int | None) -> None:
    """Raise ParameterError unless every value is None or a whole number of at least `least`."""
    check_whole(least, **{name: value for name, value in values.items() if value is not None})


def check_whole(least: int, **values: int) -> None:
    """Raise ParameterError unless every value is a whole number of at least `least`."""
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ParameterError(
                f"{name} must be a whole number of {least} or more, and is {value!r}."
            )


def check_one_of(name: str, value: str, possible: Sequence[str]) -> None:
    """Raise UnknownNameError unless `value` is one of the `possible` values."""
    if value not in possible:
        raise UnknownNameError(f"choice for {name}", str(value), possible)


def texts(name: str, value: PathLike | Iterable[PathLike]) -> tuple[str, ...]:
    """Return one or several texts as a tuple, as the command line passes a repeatable option."""
    if isinstance(value, str | Path) or not isinstance(value, Iterable):
        values: tuple[Any, ...] = (value,)
    else:
        values = tuple(value)
    for item in values:
        if not isinstance(item, str | Path):
            raise ParameterError(
                f"{name} must be one or several texts or paths, and {item!r} is neither."
            )
    return tuple(str(item) for item in values if str(item))


def pairs(name: str, value: str | Mapping[str, str] | None) -> tuple[str, ...]:
    """Return a mapping ``{"mel": "crnn"}`` as ``("mel=crnn",)``, and texts as :func:`texts`."""
    if isinstance(value, Mapping):
        return tuple(f"{key}={item}" for key, item in value.items())
    return texts(name, value or ())


def text_mapping(name: str, value: Mapping[str, str] | None) -> dict[str, str]:
    """Return a mapping of texts to texts; None means an empty mapping."""
    if not isinstance(value, Mapping | None) or not all(
        isinstance(text, str) for pair in (value or {}).items() for text in pair
    ):
        raise ParameterError(f"{name} must map texts to texts, and is {value!r}.")
    return dict(value or {})


def settings_texts(parameters: Mapping[str, Any]) -> list[str]:
    """Return parameters as texts, in the form that a user types after ``--set``."""
    for name, value in parameters.items():
        if isinstance(value, Mapping) or "." not in str(name):
            inner = next(iter(value), "NAME") if isinstance(value, Mapping) else name
            owner = name if isinstance(value, Mapping) else "OWNER"
            raise ParameterError(
                f"set must map 'OWNER.PARAMETER' to a value, and maps {name!r} to {value!r}.",
                hint=f'For example: set={{"{owner}.{inner}": ...}}; owners are train, '
                "branch.MODALITY and plugins.",
            )
    return [f"{name}={as_text(value)}" for name, value in parameters.items()]


def registry_with_warnings(plugins: Sequence[str], strict: bool) -> Registry:
    """Return the registry of plugins; broken and deprecated plugins give Python warnings."""
    from ..registry.registry import Registry

    registry = Registry(plugins, strict=strict)
    for problem in registry.problems:
        warnings.warn(f"{problem}\n{problem.remedy}", stacklevel=3)
    for deprecation in registry.deprecations:
        warnings.warn(str(deprecation), DeprecationWarning, stacklevel=3)
    return registry
