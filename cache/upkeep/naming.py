"""Features as people name them: by name, or by name and the first digits of the fingerprint."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import CacheError
from ..fingerprint import Fingerprint
from ..store import FeatureCache
from .differences import differences

_DIGITS = 8  # of an id, enough to tell features of one cache apart


def find_feature(cache: FeatureCache, text: str) -> Fingerprint:
    """The feature that is meant by ``NAME`` or ``NAME-ID``, where ID may be cut short.

    Raises
    ------
    CacheError
        If there is none, or several: then the message lists them with what differs.
    """
    features = cache.features()
    found = [f for f in features if f.name == text]
    found = found or [f for f in features if _fits(f, text)]
    # What a build that was killed early left behind is not what anybody means.
    filled = [f for f in found if len(cache.catalogue(f))]
    found = filled or found
    if len(found) == 1:
        return found[0]
    if found:
        listed = "\n".join(_listed(cache, found))
        raise CacheError(
            f"The cache in {cache.root} holds {len(found)} features {text!r}:\n{listed}",
            hint=f"Say which, for example {_short(found[0])}",
        )
    known = ", ".join(sorted({f.name for f in features})) or "none"
    raise CacheError(f"The cache in {cache.root} holds no feature {text!r}. It has: {known}.")


def _fits(fingerprint: Fingerprint, text: str) -> bool:
    prefix = f"{fingerprint.name}-"
    return (
        text.startswith(prefix) and text != prefix and f"{prefix}{fingerprint.id}".startswith(text)
    )


def _short(fingerprint: Fingerprint) -> str:
    return f"{fingerprint.name}-{fingerprint.id[:_DIGITS]}"


def _listed(cache: FeatureCache, features: Sequence[Fingerprint]) -> list[str]:
    found = [differences(features[0], other) for other in features]
    first = {d.field: d.stored for ds in found for d in ds}
    lines = []
    for feature, ds in zip(features, found, strict=True):
        fields = {**first, **{d.field: d.wanted for d in ds}}
        said = ", ".join(f"{field}={value}" for field, value in sorted(fields.items()))
        count = len(cache.catalogue(feature).unique)
        lines.append(f"  {_short(feature)}  {count} item{'' if count == 1 else 's'}, {said}")
    return lines
