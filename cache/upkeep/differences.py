"""Explanation of cache misses: which fingerprint field or which recording differs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from ..fingerprint import JSON, Fingerprint
from ..shards.catalogue import Catalogue
from ..store import FeatureCache

if TYPE_CHECKING:
    from ..remote.upstream import Upstream

Kind = Literal["found", "fingerprint", "content", "recording", "feature"]


class Absent(Enum):
    """Marker for a field that one of two fingerprints lacks; different from every value."""

    ABSENT = "absent"

    def __str__(self) -> str:
        return f"({self.value})"


ABSENT = Absent.ABSENT


@dataclass(frozen=True, slots=True)
class Difference:
    """One field on which two fingerprints disagree.

    Attributes
    ----------
    field : str
        Path of the field, e.g. ``"parameters.hop"`` or ``"libraries.librosa"``.
    stored, wanted : JSON value, or ABSENT
        Value of the stored array's fingerprint, and value of the requested fingerprint.
    """

    field: str
    stored: JSON | Absent
    wanted: JSON | Absent


@dataclass(frozen=True, slots=True)
class Answer:
    """Reason why an array is found or not found.

    Attributes
    ----------
    kind : str
        ``"found"``; ``"fingerprint"``: the recording has an array of another fingerprint (see
        `differences`); ``"content"``: the content of the file has changed since its array was
        computed; ``"recording"``: the feature is stored, but not for this recording; ``"feature"``:
        no array is stored under the feature's name.
    differences : tuple of Difference
        Differences to the nearest fingerprint: the fingerprint with the fewest differences.
        Fingerprints with an array of this recording take precedence.
    place : str
        The shard, or the folder of the nearest fingerprint.
    origin : str
        Location of the stored array's source.
    key : str
        Key of the stored array; differs from the requested key if the content has changed.
    url : str
        URL of the other machine's cache, if `place` is in that cache.
    """

    kind: Kind
    differences: tuple[Difference, ...] = ()
    place: str = ""
    origin: str = ""
    key: str = ""
    url: str = ""


class Explainer:
    """Explanation, for many recordings, of why an array of one feature is found or not.

    Parameters
    ----------
    cache : FeatureCache
        The cache to search. If the cache is a URL, the other machine's cache is searched for
        arrays that are not stored on this machine.
    fingerprint : Fingerprint
        The requested feature.
    """

    def __init__(self, cache: FeatureCache, fingerprint: Fingerprint) -> None:
        self._cache = cache
        self._wanted = fingerprint
        self._own = _Stored(fingerprint, cache.catalogue(fingerprint), ())

    def explain(self, key: str, origin: str = "") -> Answer:
        """Return whether an array is stored under `key`, and why; `origin` locates its source.

        Raises
        ------
        CacheError
            If the other machine's cache is needed and can't be read.
        """
        position = self._own.find(key)
        if position is not None:
            return self._own.answer("found", position)
        for stored in self._stored:
            position = stored.find(key)
            if position is not None:
                return stored.answer("fingerprint" if stored.differences else "found", position)
        for stored in self._stored if origin else ():
            position = stored.origins.get(origin)
            if position is not None:
                return stored.answer("content", position)
        if not self._stored:
            return Answer("feature")
        nearest = self._stored[0]
        if not nearest.differences:
            return Answer("recording")
        return Answer("recording", nearest.differences, nearest.folder, url=nearest.url)

    @cached_property
    def _stored(self) -> list[_Stored]:
        """Stored features of the requested name on both machines, nearest fingerprint first."""
        upstream = self._cache.upstream
        features = [self._own, *self._of_other_fingerprints(self._cache)]
        if upstream is not None:
            own = _Stored(self._wanted, upstream.catalogue(self._wanted), (), str(upstream))
            features += [own, *self._of_other_fingerprints(upstream, str(upstream))]
        features = [stored for stored in features if len(stored.catalogue)]
        return sorted(features, key=lambda stored: (len(stored.differences), stored.folder))

    def _of_other_fingerprints(
        self, place: FeatureCache | Upstream, url: str = ""
    ) -> Iterator[_Stored]:
        for other in place.features():
            if other.name == self._wanted.name and other != self._wanted:
                fields = differences(other, self._wanted)
                yield _Stored(other, place.catalogue(other), fields, url)


@dataclass(frozen=True)
class _Stored:
    """Stored feature in one cache, and its differences to the requested fingerprint."""

    fingerprint: Fingerprint
    catalogue: Catalogue
    differences: tuple[Difference, ...]
    url: str = ""

    @property
    def folder(self) -> str:
        return self.fingerprint.folder_name

    @cached_property
    def origins(self) -> Mapping[str, int]:
        """Position of an item, by the location of its source."""
        return {self.catalogue.label(at).origin: at for at in range(len(self.catalogue))}

    def find(self, key: str) -> int | None:
        position = int(self.catalogue.find([key])[0])
        return None if position < 0 else position

    def answer(self, kind: Kind, position: int) -> Answer:
        key, origin, _ = self.catalogue.label(position)
        place = f"{self.folder}/{self.catalogue.file_of(position).path.name}"
        return Answer(kind, self.differences, place, origin, key, self.url)


def differences(stored: Fingerprint, wanted: Fingerprint) -> tuple[Difference, ...]:
    """Return every field on which two fingerprints disagree, sorted by name."""
    first, second = (dict(_leaves(json.loads(f.canonical()))) for f in (stored, wanted))
    return tuple(
        Difference(field, first.get(field, ABSENT), second.get(field, ABSENT))
        for field in sorted({*first, *second})
        if field not in first or field not in second or not _is_equal(first[field], second[field])
    )


def _is_equal(a: JSON, b: JSON) -> bool:
    return json.dumps(a) == json.dumps(b)  # 1, 1.0 and true are three values


def _leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, JSON]]:
    for name, inner in value.items():
        if isinstance(inner, dict) and inner:
            yield from _leaves(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", inner
