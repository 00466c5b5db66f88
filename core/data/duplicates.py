"""Duplicate recordings, for extractors that look recordings up by path instead of content."""

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
    """Return the items; with a ``by_place`` extractor, clips of equal content share one item.

    The cache identifies a recording by its content. An extractor that looks recordings up by path
    (``by_place``) may have an array for only one of two files with the same content. In this case
    all clips with that content get the item of the file with an array.

    Parameters
    ----------
    clips, items
        Clips, and the items of the clips in the same order.

    Raises
    ------
    CorpusError
        If the extractor makes different arrays of recordings with the same content.
    """
    if not extractor.by_place:
        return list(items)
    chosen = {
        key: _known_item(extractor, together) for key, together in _by_key(clips, items).items()
    }
    return [chosen.get(item.key, item) for item in items]


def _by_key(clips: Sequence[Clip], items: Sequence[Item]) -> Mapping[str, list[tuple[Clip, Item]]]:
    """Group clips and items by key, one per path; leave out the keys with a single path."""
    by_key: dict[str, dict[str, tuple[Clip, Item]]] = {}
    for clip, item in zip(clips, items, strict=True):
        by_key.setdefault(item.key, {}).setdefault(origin_of(clip.recording), (clip, item))
    return {key: list(places.values()) for key, places in by_key.items() if len(places) > 1}


def _known_item(extractor: Extractor, together: Sequence[tuple[Clip, Item]]) -> Item:
    arrays = extract_all(extractor, [clip.recording for clip, _ in together])
    placed = list(zip(together, arrays, strict=True))
    having = [(*pair, array) for pair, array in placed if not isinstance(array, Exception)]
    if not having:
        # Prefer a recording that fails over a recording that lacks the modality, so that a build
        # reports the failure.
        failed = [pair for pair, error in placed if not isinstance(error, MissingModalityError)]
        _, item = (failed or together)[0]
        return item
    (clip, item, array), *rest = having
    for other, _, another in rest:
        if not np.array_equal(array, another):
            raise CorpusError(
                f"{clip.name} and {other.name} have the same content, and "
                f"{extractor.name} makes different arrays of them.",
                hint="The cache stores one array for each content: correct the wrong array, or "
                "leave one of the two recordings out of the corpus.",
            )
    return item
