"""Why an array is not found: which field of which fingerprint, or the recording itself, differs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .catalogue import Catalogue
from .fingerprint import JSON, Fingerprint
from .store import FeatureCache

Kind = Literal["found", "fingerprint", "content", "recording", "feature"]

ABSENT = "nothing"  # the value of a field that one of two fingerprints does not have


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that two fingerprints disagree on.

    Attributes
    ----------
    field : str
        Where it stands, e.g. ``"parameters.hop"`` or ``"libraries.librosa"``.
    stored, wanted : JSON value
        What the array in the cache was made with, and what is asked for.
    """

    field: str
    stored: JSON
    wanted: JSON


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
    """

    kind: Kind
    differences: tuple[Difference, ...] = ()
    place: str = ""
    origin: str = ""
    key: str = ""


class Explainer:
    """Answers for one feature of many recordings.

    Parameters
    ----------
    cache : FeatureCache
        Where to look.
    fingerprint : Fingerprint
        What is asked for.
    """

    def __init__(self, cache: FeatureCache, fingerprint: Fingerprint) -> None:
        self._own = cache.catalogue(fingerprint)
        others = [
            (differences(other, fingerprint), cache.folder(other).name, cache.catalogue(other))
            for other in cache.features()
            if other.name == fingerprint.name and other != fingerprint
        ]
        others = [other for other in others if len(other[2])]
        self._others = sorted(others, key=lambda other: (len(other[0]), other[1]))

    def explain(self, key: str, origin: str = "") -> Answer:
        """Why there is, or is no, array under `key`, whose source lies at `origin`."""
        position = int(self._own.find([key])[0])
        if position >= 0:
            return self._answer("found", self._own, position)
        for found, _, catalogue in self._others:
            position = int(catalogue.find([key])[0])
            if position >= 0:
                return self._answer("fingerprint", catalogue, position, found)
        if origin:
            for found, _, catalogue in [((), "", self._own), *self._others]:
                here = catalogue.from_origin(origin)
                if len(here):
                    return self._answer("content", catalogue, int(here[0]), found)
        if len(self._own):
            return Answer("recording")
        if self._others:
            found, name, _ = self._others[0]
            return Answer("recording", found, name)
        return Answer("feature")

    def _answer(
        self,
        kind: Kind,
        catalogue: Catalogue,
        position: int,
        found: tuple[Difference, ...] = (),
    ) -> Answer:
        path = catalogue.file_of(position).path
        return Answer(
            kind,
            found,
            f"{path.parent.name}/{path.name}",
            catalogue.origin(position),
            catalogue.keys[position].decode("ascii"),
        )


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
