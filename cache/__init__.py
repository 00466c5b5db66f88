"""A feature cache that would be useful without the rest of fusion.

>>> from fusion.cache import FeatureCache, Fingerprint

Arrays are found by two things: a key (for recordings, the digest of their content) and the
fingerprint of what computed them. Names are loaded when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .array import FeatureArray
    from .builds.builder import build
    from .builds.executors import Workers, open_workers
    from .builds.progress import BuildReport
    from .builds.work import Item
    from .exchange.export import export_feature
    from .exchange.imports import ImportReport, import_feature
    from .fingerprint import Fingerprint, digest_many, digest_recording
    from .shards.shard import Entry
    from .store import FeatureCache

_HOME = {
    "BuildReport": "builds.progress",
    "Entry": "shards.shard",
    "FeatureArray": "array",
    "FeatureCache": "store",
    "Fingerprint": "fingerprint",
    "Item": "builds.work",
    "ImportReport": "exchange.imports",
    "Workers": "builds.executors",
    "build": "builds.builder",
    "digest_many": "fingerprint",
    "digest_recording": "fingerprint",
    "export_feature": "exchange.export",
    "import_feature": "exchange.imports",
    "open_workers": "builds.executors",
}

__all__ = [
    "BuildReport",
    "Entry",
    "FeatureArray",
    "FeatureCache",
    "Fingerprint",
    "ImportReport",
    "Item",
    "Workers",
    "build",
    "digest_many",
    "digest_recording",
    "export_feature",
    "import_feature",
    "open_workers",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value
