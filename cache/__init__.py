"""Feature cache: computed arrays on disk, found by content and by fingerprint.

>>> from fusion.cache import FeatureCache, Fingerprint

The cache is usable without the rest of fusion. Two things identify an array: a key (for
recordings, the digest of their content) and the fingerprint of the computation. Names of this
package are imported when they are first used.
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
