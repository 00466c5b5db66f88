"""Search spaces: the values that ``fusion run --tune`` may try for a parameter.

A plugin declares a search space for its parameters::

    class Mine(Strategy):
        space = {"dropout": Uniform(0.0, 0.5), "hidden": LogInteger(8, 128)}
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NoReturn

Plain = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Space:
    """Set of values that a parameter may take."""

    value_type: ClassVar[type[Any] | None] = None  # None: values may have different types

    def contains(self, value: Any) -> bool:
        """Return whether `value` is in the set."""
        raise NotImplementedError

    def ends(self) -> tuple[Any, ...]:
        """Return the values to test a plugin with: both ends of a range, or every option."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serialisable description, which :func:`space_from_json` reads."""
        return {"kind": type(self).__name__, **asdict(self)}


@dataclass(frozen=True, slots=True)
class _Range(Space):
    low: Any
    high: Any

    def __post_init__(self) -> None:
        own = f"{type(self).__name__}({self.low!r}, {self.high!r})"
        whole = self.value_type is int
        for end in (self.low, self.high):
            if isinstance(end, bool) or not isinstance(end, int if whole else int | float):
                _refuse(f"{own}: {end!r} is not a {'whole number' if whole else 'number'}.")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            _refuse(f"{own}: the first must be below the second, and both finite.")

    def contains(self, value: Any) -> bool:
        number = isinstance(value, int if self.value_type is int else int | float)
        return number and not isinstance(value, bool) and bool(self.low <= value <= self.high)

    def ends(self) -> tuple[Any, ...]:
        return (self.low, self.high)

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True, slots=True)
class _LogRange(_Range):
    def __post_init__(self) -> None:
        # super() fails here: a dataclass with slots replaces the class that super() refers to.
        _Range.__post_init__(self)
        if self.low <= 0:
            _refuse(f"{type(self).__name__}({self.low!r}, {self.high!r}): both must be above 0.")

    def __str__(self) -> str:
        return f"{_Range.__str__(self)}, logarithmic"


@dataclass(frozen=True, slots=True)
class Uniform(_Range):
    """Numbers of an interval, drawn uniformly.

    Parameters
    ----------
    low, high : float
        The ends, included.
    """

    value_type = float


@dataclass(frozen=True, slots=True)
class LogUniform(_LogRange):
    """Numbers of an interval, drawn uniformly on a logarithmic scale, e.g. learning rates.

    Parameters
    ----------
    low, high : float
        The ends, included, > 0.
    """

    value_type = float


@dataclass(frozen=True, slots=True)
class Integer(_Range):
    """Whole numbers of a range, drawn uniformly.

    Parameters
    ----------
    low, high : int
        The ends, included.
    """

    value_type = int


@dataclass(frozen=True, slots=True)
class LogInteger(_LogRange):
    """Whole numbers of a range, drawn uniformly on a logarithmic scale, e.g. sizes.

    Parameters
    ----------
    low, high : int
        The ends, included, > 0.
    """

    value_type = int


@dataclass(frozen=True, slots=True, init=False)
class Choice(Space):
    """Set of unordered options.

    Parameters
    ----------
    *options : str, int, float, bool or None
        At least two different values.
    """

    options: tuple[Plain, ...]

    def __init__(self, *options: Plain) -> None:
        object.__setattr__(self, "options", options)
        plain = all(isinstance(option, Plain) for option in options)
        if not plain or len({(type(option), option) for option in options}) < max(2, len(options)):
            _refuse(f"{self!r}: Choice needs two or more different texts, numbers, bools or None.")

    def contains(self, value: Any) -> bool:
        """Return whether an option has the value and the type of `value`."""
        return any(type(value) is type(option) and value == option for option in self.options)

    def ends(self) -> tuple[Any, ...]:
        """Return all options."""
        return self.options

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serialisable description, which :func:`space_from_json` reads."""
        return {"kind": type(self).__name__, "options": list(self.options)}

    def __str__(self) -> str:
        return ", ".join(str(option) for option in self.options)


_KINDS = {kind.__name__: kind for kind in (Uniform, LogUniform, Integer, LogInteger)}


def space_from_json(data: Mapping[str, Any]) -> Space:
    """Build the search space that :meth:`Space.to_json` described.

    Raises
    ------
    ParameterError
        If `data` is not a description that :meth:`Space.to_json` returns.
    """
    kind = data.get("kind") if isinstance(data, Mapping) else None
    try:
        if kind == Choice.__name__:
            return Choice(*data["options"])
        return _KINDS[str(kind)](data["low"], data["high"])
    except (KeyError, TypeError):
        _refuse(f"{data!r} is not a range of a parameter.")


def _refuse(message: str) -> NoReturn:
    from .errors import ParameterError

    raise ParameterError(
        message, hint="For example: Uniform(0.0, 0.5), Integer(1, 8), Choice('sum', 'mean')"
    )
