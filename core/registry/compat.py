"""Plugins of other times: calls that old signatures still fit, and versions of the contract."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from types import ModuleType
from typing import Any

from ..contracts.hooks import API_VERSION
from .loading import too_new
from .problems import BrokenPluginError


def call(function: Callable[..., Any], /, *given: Any, **available: Any) -> Any:
    """Call a plugin's hook or method with what its signature names of `available`.

    `given` are the arguments that it has had from the first version on.
    """
    if not available:
        return function(*given)
    names, rest = _arguments(getattr(function, "__func__", function))
    return function(*given, **{n: v for n, v in available.items() if rest or n in names})


@lru_cache(maxsize=1024)
def _arguments(function: Callable[..., Any]) -> tuple[frozenset[str], bool]:
    """Names that can be given by keyword, and whether every other name can."""
    found = inspect.signature(function).parameters.values()
    names = (p.name for p in found if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
    return frozenset(names), any(p.kind is p.VAR_KEYWORD for p in found)


def check_version(module: ModuleType) -> None:
    """Refuse a plugin that was written for a contract later than this one.

    Raises
    ------
    BrokenPluginError
        Naming both versions.
    """
    version = getattr(module, "api_version", 1)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise BrokenPluginError(
            f"its api_version is {version!r}, which is no version of the plugin contract.",
            remedy=f"Write api_version = {API_VERSION}.",
        )
    if version > API_VERSION:
        raise too_new(version)
