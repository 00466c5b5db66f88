"""The ground floor of core: hook specifications, base classes, small data types.

Import the names from here or from ``fusion``. Loading is lazy, because half of the
contracts need torch and half of the program does not.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .data import Clip, Corpus, Extractor, Modality, Plugin, Recording
    from .hooks import hookimpl, hookspec
    from .networks import Branch, Strategy, equal_dims
    from .tracking import Tracker
    from .training import Balancer, Gradients, ParameterGroup, Step

_HOME = {
    "Balancer": "training",
    "Branch": "networks",
    "Clip": "data",
    "Corpus": "data",
    "Extractor": "data",
    "Gradients": "training",
    "Modality": "data",
    "ParameterGroup": "training",
    "Plugin": "data",
    "Recording": "data",
    "Step": "training",
    "Strategy": "networks",
    "Tracker": "tracking",
    "equal_dims": "networks",
    "hookimpl": "hooks",
    "hookspec": "hooks",
}

__all__ = [
    "Balancer",
    "Branch",
    "Clip",
    "Corpus",
    "Extractor",
    "Gradients",
    "Modality",
    "ParameterGroup",
    "Plugin",
    "Recording",
    "Step",
    "Strategy",
    "Tracker",
    "equal_dims",
    "hookimpl",
    "hookspec",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value
