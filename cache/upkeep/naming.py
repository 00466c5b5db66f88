"""Lookup of a feature by name, or by name and the first digits of its fingerprint id."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import CacheError
from ..fingerprint import Fingerprint
from ..store import FeatureCache
from .differences import differences

_DIGITS = 8  # this many digits of an id distinguish the features of a cache


def find_feature(cache: FeatureCache, text: str) -> Fingerprint:
    """Return the feature named ``NAME`` or ``NAME-ID``; the first digits of ID suffice.

    Raises
    ------
    CacheError
        If no feature or several features have this name. The message lists the features and their
        differences.
    """
    features = cache.features()
    matches = [f for f in features if f.name == text]
    matches = matches or [f for f in features if _matches(f, text)]
    # Prefer features with items: a build that is killed early leaves an empty feature.
    filled = [f for f in matches if len(cache.catalogue(f))]
    matches = filled or matches
    if len(matches) == 1:
        return matches[0]
    if matches:
        listed = "\n".join(_descriptions(cache, matches))
        raise CacheError(
            f"The cache in {cache.root} holds {len(matches)} features named {text!r}:\n{listed}",
            hint=f"Name one of them, for example {_short(matches[0])}",
        )
    available = ", ".join(sorted({f.name for f in features})) or "none"
    raise CacheError(f"The cache in {cache.root} holds no feature {text!r}. It has: {available}.")


def _matches(fingerprint: Fingerprint, text: str) -> bool:
    prefix = f"{fingerprint.name}-"
    return (
        text.startswith(prefix) and text != prefix and f"{prefix}{fingerprint.id}".startswith(text)
    )


def _short(fingerprint: Fingerprint) -> str:
    return f"{fingerprint.name}-{fingerprint.id[:_DIGITS]}"


def _descriptions(cache: FeatureCache, features: Sequence[Fingerprint]) -> list[str]:
    differing = [differences(features[0], other) for other in features]
    first = {d.field: d.stored for ds in differing for d in ds}
    lines = []
    for feature, ds in zip(features, differing, strict=True):
        fields = {**first, **{d.field: d.wanted for d in ds}}
        description = ", ".join(f"{field}={value}" for field, value in sorted(fields.items()))
        count = len(cache.catalogue(feature).unique)
        lines.append(f"  {_short(feature)}  {count} item{'' if count == 1 else 's'}, {description}")
    return lines
