"""Calls of plugin methods whose signatures follow an older version of the contract."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def call(method: Callable[..., Any], /, *args: Any, **available: Any) -> Any:
    """Call a plugin's method with the arguments in `available` that its signature names.

    `args` are the arguments that the method has had since the first version of the contract. Plugin
    hooks do not need this function, because pluggy passes only the arguments that a hook names.
    """
    if available:
        named = inspect.signature(method).parameters.values()
        if not any(p.kind is p.VAR_KEYWORD for p in named):
            names = {p.name for p in named if p.kind is not p.POSITIONAL_ONLY}
            available = {name: value for name, value in available.items() if name in names}
    return method(*args, **available)
