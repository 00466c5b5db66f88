"""Recordings of the same content, and extractors that look them up by where they lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...cache.builds.work import Item
from ..contracts import Clip, Extractor
from ..contracts.errors import CorpusError, MissingModalityError
from .extraction import extract_all, origin_of


def items_by_place(
    extractor: Extractor, clips: Sequence[Clip], items: Sequence[Item]
) -> list[Item]:
    """Items such that one array for each key is right for all clips that have it.

    The cache knows a recording by its content. An extractor that looks it up by its place
    (``by_place``) may know only one of two files of the same content: that one is asked for.

    Parameters
    ----------
    clips, items
        In the same order.

    Raises
    ------
    CorpusError
        If it makes different arrays of the same content.
    """
    if not extractor.by_place:
        return list(items)
    known = {key: _one_of(extractor, together) for key, together in _together(clips, items).items()}
    return [known.get(item.key, item) for item in items]


def _together(
    clips: Sequence[Clip], items: Sequence[Item]
) -> Mapping[str, list[tuple[Clip, Item]]]:
    """By key, the clips of each place; only where there are several."""
    found: dict[str, dict[str, tuple[Clip, Item]]] = {}
    for clip, item in zip(clips, items, strict=True):
        found.setdefault(item.key, {}).setdefault(origin_of(clip.recording), (clip, item))
    return {key: list(places.values()) for key, places in found.items() if len(places) > 1}


def _one_of(extractor: Extractor, together: Sequence[tuple[Clip, Item]]) -> Item:
    found = extract_all(extractor, [clip.recording for clip, _ in together])
    placed = list(zip(together, found, strict=True))
    having = [(*one, array) for one, array in placed if not isinstance(array, Exception)]
    if not having:
        # What a build reports should be that it failed, where only some lack the modality.
        failed = [one for one, error in placed if not isinstance(error, MissingModalityError)]
        _, item = (failed or together)[0]
        return item
    (clip, item, array), *others = having
    for other, _, another in others:
        if not np.array_equal(array, another):
            raise CorpusError(
                f"{clip.name} and {other.name} are the same recording, and "
                f"{extractor.name} says something else of each.",
                hint="Features are kept by the content of a recording, so it has one array of "
                "each: mend the wrong one, or leave one of the two out of the corpus.",
            )
    return item
