"""Arguments of the Python API, checked and written as the command line has them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..contracts.errors import ParameterError, UnknownNameError
from ..registry.parameters import as_text

PathLike = str | Path


def refuse_unknown(unknown: Mapping[str, Any], function: Callable[..., Any]) -> None:
    """Say which argument was meant, and what the option of the command line is called here."""
    for name in unknown:
        known = [k for k in function.__annotations__ if k not in ("unknown", "return")]
        raise UnknownNameError(f"argument of fusion.{function.__name__}()", name, known,
                               hint=INSTEAD.get(name))  # fmt: skip


# Options of `fusion run` that are something else here, and near misses that no spelling finds.
INSTEAD = {
    "resume": "To go on with a run: fusion.resume(RUN)",
    "no_report": "Without a report: report=False",
    "require_gain": "The result says it: result.gain < 0",
    "json": "As plain values: result.results.to_json()",
    "trace_hooks": "In a program: with fusion.core.registry.trace.tracing() as trace: ...",
    "balancers": "It is called balance, as on the command line.",
    "settings": 'It is called set, as on the command line: set={"train.dim": 32}',
    "p": 'Plugins are given by name: plugins=["./my.py"]',
}


def check_whole_or_none(least: int, **given: int | None) -> None:
    check_whole(least, **{name: value for name, value in given.items() if value is not None})


def check_whole(least: int, **given: int) -> None:
    for name, value in given.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ParameterError(
                f"{name} must be a whole number of {least} or more, and was given {value!r}."
            )


def check_one_of(name: str, value: str, possible: Sequence[str]) -> None:
    if value not in possible:
        raise UnknownNameError(f"choice for {name}", str(value), possible)


def texts(name: str, given: PathLike | Iterable[PathLike]) -> tuple[str, ...]:
    """One text, or several, as an option that may be repeated has them."""
    if isinstance(given, str | Path) or not isinstance(given, Iterable):
        several: tuple[Any, ...] = (given,)
    else:
        several = tuple(given)
    for one in several:
        if not isinstance(one, str | Path):
            raise ParameterError(
                f"{name} takes text or a path, or several of them, and was given {one!r}."
            )
    return tuple(str(one) for one in several if str(one))


def pairs(name: str, given: str | Mapping[str, str] | None) -> tuple[str, ...]:
    """``{"mel": "crnn"}`` -> ``("mel=crnn",)``."""
    if isinstance(given, Mapping):
        return tuple(f"{key}={value}" for key, value in given.items())
    return texts(name, given or ())


def settings_texts(given: Mapping[str, Any]) -> list[str]:
    """Parameters as one would type them after ``--set``."""
    for name, value in given.items():
        if isinstance(value, Mapping) or "." not in str(name):
            inner = next(iter(value), "NAME") if isinstance(value, Mapping) else name
            owner = name if isinstance(value, Mapping) else "OWNER"
            raise ParameterError(
                f"set takes 'OWNER.PARAMETER' -> value, and was given {name!r} -> {value!r}.",
                hint=f'For example: set={{"{owner}.{inner}": ...}}; owners are train, '
                "branch.MODALITY and plugins.",
            )
    return [f"{name}={as_text(value)}" for name, value in given.items()]
