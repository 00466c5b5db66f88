"""Other values that a parameter may have, by its type."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from ...registry.parameters import Parameter


def other_values(parameter: Parameter) -> Iterator[Any]:
    """Values unlike the default, likely ones first; none of a type that can't be guessed."""
    for value in _of(parameter.type, parameter.default):
        if value != parameter.default:
            yield value


def _of(annotation: Any, default: Any) -> Iterator[Any]:
    if get_origin(annotation) in (typing.Union, types.UnionType):
        for part in get_args(annotation):
            yield from _of(part, default)
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
