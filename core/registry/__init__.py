"""Discovery, loading, checking and timing of plugins, and the parameters of plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .registry import Registry

__all__ = ["Registry"]


def __getattr__(name: str) -> Any:
    if name != "Registry":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .registry import Registry

    return Registry
