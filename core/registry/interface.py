"""Methods that a plugin contract defines, and those methods that a plugin overrides."""

from __future__ import annotations

import inspect
from typing import Any

from ..contracts.data import Plugin
from .collecting import base_of

_CONTRACTS = Plugin.__module__.rpartition(".")[0]


def methods_of(kind: str) -> dict[str, Any]:
    """Return the methods and properties of a kind's contract by name, in order.

    ``__init__`` is included if the contract defines it.
    """
    return {
        name: value
        for cls in contract_of(kind)
        for name, value in vars(cls).items()
        if (not name.startswith("_") or name == "__init__") and _is_method(value)
    }


def own_methods(cls: type[Plugin], kind: str) -> list[str]:
    """Return the names of the contract's methods that a plugin class overrides."""
    return [name for name in methods_of(kind) if name != "__init__" and holder(cls, name)]


def holder(cls: type, name: str) -> type | None:
    """Return the class that defines the method `name` of `cls`; None if the contract defines it."""
    base = next(base for base in cls.__mro__ if name in vars(base))
    return None if base is object or base.__module__.startswith(_CONTRACTS) else base


def contract_of(kind: str) -> list[type]:
    """Return the classes that make up a kind's contract, the most general first."""
    bases = base_of(kind).__mro__
    return [cls for cls in reversed(bases) if cls.__module__.startswith(_CONTRACTS)]


def _is_method(value: Any) -> bool:
    return inspect.isfunction(value) or isinstance(value, classmethod | staticmethod | property)
