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
    from .builder import BuildReport, build
    from .executors import Workers, open_workers
    from .export import export_feature
    from .fingerprint import Fingerprint, digest_many, digest_recording
    from .imports import ImportReport, import_feature
    from .shard import Entry
    from .store import FeatureCache
    from .work import Item

_HOME = {
    "BuildReport": "builder",
    "Entry": "shard",
    "FeatureArray": "array",
    "FeatureCache": "store",
    "Fingerprint": "fingerprint",
    "Item": "work",
    "ImportReport": "imports",
    "Workers": "executors",
    "build": "builder",
    "digest_many": "fingerprint",
    "digest_recording": "fingerprint",
    "export_feature": "export",
    "import_feature": "imports",
    "open_workers": "executors",
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
