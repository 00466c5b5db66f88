"""What there is to say of a cache's contents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .fingerprint import Fingerprint


@dataclass(frozen=True, slots=True)
class Problem:
    """A file of the cache that was left aside; what it held counts as missing.

    Attributes
    ----------
    path : Path
        The file.
    reason : str
        What is wrong with it, and what to do.
    """

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class FeatureInfo:
    """What the cache holds of one feature.

    Attributes
    ----------
    fingerprint : Fingerprint
        Name, version, parameters, shape, dtype and libraries.
    items : int
        Different keys.
    groups : mapping of str to int
        Different keys by what they belong to (corpora, say); "" where nothing was said.
    shards : int
        Readable files.
    packed : int
        Those of them whose arrays are compressed.
    bytes : int
        Of these files.
    seconds : float
        What computing the items took, on one core.
    debris : int
        Temporary files and claims that a killed process left.
    """

    fingerprint: Fingerprint
    items: int
    groups: Mapping[str, int]
    shards: int
    packed: int
    bytes: int
    seconds: float
    debris: int
