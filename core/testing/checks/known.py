"""The plugins that a plugin under test may name: those installed, and those of its own module."""

from __future__ import annotations

import sys
from typing import Any, TypeGuard

from ... import contracts
from ...registry.registry import Registry


def known(beside: type, *kinds: str) -> dict[str, dict[str, type[Any]]]:
    """Kind -> name -> class of the plugins of `kinds`; `beside` is the class under test.

    A plugin given as a file is not installed, and may name others of the same file.
    """
    registry = Registry()
    own = [value for value in vars(sys.modules[beside.__module__]).values() if _is_plugin(value)]
    found: dict[str, dict[str, type[Any]]] = {}
    for kind in kinds:
        base: type = getattr(contracts, kind.capitalize())
        found[kind] = {e.name: registry.get(kind, e.name) for e in registry.entries(kind)}
        for cls in own:
            if issubclass(cls, base):
                found[kind].setdefault(cls.name, cls)
    return found


def _is_plugin(value: object) -> TypeGuard[type[contracts.Plugin]]:
    if not (isinstance(value, type) and issubclass(value, contracts.Plugin)):
        return False
    return isinstance(vars(value).get("name"), str)
