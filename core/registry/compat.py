"""Methods of plugins of other times: calls that old signatures still fit."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def call(method: Callable[..., Any], /, *given: Any, **available: Any) -> Any:
    """Call a plugin's method with what its signature names of `available`.

    `given` are the arguments that it has had from the first version on. What hooks may name is
    pluggy's business.
    """
    if available:
        named = inspect.signature(method).parameters.values()
        if not any(p.kind is p.VAR_KEYWORD for p in named):
            names = {p.name for p in named if p.kind is not p.POSITIONAL_ONLY}
            available = {name: value for name, value in available.items() if name in names}
    return method(*given, **available)
