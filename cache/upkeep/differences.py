"""Why an array is not found: which field of which fingerprint, or the recording itself, differs."""

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
    """Stands where one of two fingerprints does not have a field; no value equals it."""

    ABSENT = "absent"

    def __str__(self) -> str:
        return f"({self.value})"


ABSENT = Absent.ABSENT


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that two fingerprints disagree on.

    Attributes
    ----------
    field : str
        Where it stands, e.g. ``"parameters.hop"`` or ``"libraries.librosa"``.
    stored, wanted : JSON value, or ABSENT
        What the array in the cache was made with, and what is asked for.
    """

    field: str
    stored: JSON | Absent
    wanted: JSON | Absent


@dataclass(frozen=True, slots=True)
class Answer:
    """Why one array is found or not.

    Attributes
    ----------
    kind : str
        ``"found"``; ``"fingerprint"``: the recording is there, made another way, see
        `differences`; ``"content"``: what lay at this place had another content then;
        ``"recording"``: the feature is there, but never of this recording; ``"feature"``: nothing
        of this name is stored.
    differences : tuple of Difference
        From the nearest fingerprint, the one with the fewest differences. Of those that hold
        the recording, if any does.
    place : str
        The shard, or the nearest feature's folder.
    origin : str
        Where the stored array's source was found.
    key : str
        Of the stored array; another than the one asked for if the content has changed.
    url : str
        Of the other machine's cache, if `place` is there.
    """

    kind: Kind
    differences: tuple[Difference, ...] = ()
    place: str = ""
    origin: str = ""
    key: str = ""
    url: str = ""


class Explainer:
    """Answers for one feature of many recordings.

    Parameters
    ----------
    cache : FeatureCache
        Where to look. The other machine's, if there is one, is asked about what is not here.
    fingerprint : Fingerprint
        What is asked for.
    """

    def __init__(self, cache: FeatureCache, fingerprint: Fingerprint) -> None:
        self._cache = cache
        self._wanted = fingerprint
        self._own = _Stored(fingerprint, cache.catalogue(fingerprint), ())

    def explain(self, key: str, origin: str = "") -> Answer:
        """Why there is, or is no, array under `key`, whose source lies at `origin`.

        Raises
        ------
        CacheError
            If the other machine has to be asked, and can't be.
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
        """All that has this name, here and on the other machine, the nearest first."""
        there = self._cache.upstream
        found = [self._own, *self._others(self._cache)]
        if there is not None:
            own = _Stored(self._wanted, there.catalogue(self._wanted), (), str(there))
            found += [own, *self._others(there, str(there))]
        found = [stored for stored in found if len(stored.catalogue)]
        return sorted(found, key=lambda stored: (len(stored.differences), stored.folder))

    def _others(self, place: FeatureCache | Upstream, url: str = "") -> Iterator[_Stored]:
        for other in place.features():
            if other.name == self._wanted.name and other != self._wanted:
                found = differences(other, self._wanted)
                yield _Stored(other, place.catalogue(other), found, url)


@dataclass(frozen=True)
class _Stored:
    """A feature in one place, and how it differs from what is asked for."""

    fingerprint: Fingerprint
    catalogue: Catalogue
    differences: tuple[Difference, ...]
    url: str = ""

    @property
    def folder(self) -> str:
        return self.fingerprint.folder_name

    @cached_property
    def origins(self) -> Mapping[str, int]:
        """Position of an item by where its source was found."""
        return {self.catalogue.label(at).origin: at for at in range(len(self.catalogue))}

    def find(self, key: str) -> int | None:
        position = int(self.catalogue.find([key])[0])
        return None if position < 0 else position

    def answer(self, kind: Kind, position: int) -> Answer:
        key, origin, _ = self.catalogue.label(position)
        place = f"{self.folder}/{self.catalogue.file_of(position).path.name}"
        return Answer(kind, self.differences, place, origin, key, self.url)


def differences(stored: Fingerprint, wanted: Fingerprint) -> tuple[Difference, ...]:
    """Every field on which two fingerprints disagree, sorted by name."""
    one, two = (dict(_leaves(json.loads(f.canonical()))) for f in (stored, wanted))
    return tuple(
        Difference(field, one.get(field, ABSENT), two.get(field, ABSENT))
        for field in sorted({*one, *two})
        if field not in one or field not in two or not _same(one[field], two[field])
    )


def _same(a: JSON, b: JSON) -> bool:
    return json.dumps(a) == json.dumps(b)  # 1, 1.0 and true are three values


def _leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, JSON]]:
    for name, inner in value.items():
        if isinstance(inner, dict) and inner:
            yield from _leaves(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", inner
