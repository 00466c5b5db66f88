"""Speakers as people: the spellings of one name, and the speakers of one recording, are merged.

A test score on held-out speakers is wrong if the same person is in training under another name.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..contracts.data import Clip
from ..contracts.errors import CorpusError, SplitError
from .labels import folded
from .shared_recordings import join

_SHOWN = 5  # people, and names of one person, in a line
# Zeros before a number, also within a name; and the decimals of a whole number, as a table writes
# integers if the column has gaps.
_LEADING_ZEROS = re.compile(r"(?<![\d.])0+(?=\d)")
_NO_DECIMALS = re.compile(r"(\d+)\.0+")

Merged = Mapping[str, tuple[tuple[str, ...], ...]]

_UNKNOWN = "unknown speaker of "


def is_unknown(clip: Clip) -> bool:
    """Return whether the speaker of a clip is unknown."""
    return clip.speaker.startswith(_UNKNOWN)


def with_unknown_speakers(clips: Sequence[Clip]) -> list[Clip]:
    """Return the clips; each clip with an empty speaker gets a speaker of its own.

    :func:`is_unknown` recognises these clips. Scores are then averaged and compared over clips, and
    only splits that need no speakers are possible.
    """
    return [c if c.speaker else replace(c, speaker=f"{_UNKNOWN}{c.name}") for c in clips]


def check_speakers_known(clips: Sequence[Clip], split: str) -> None:
    """Raise SplitError if the speaker of a clip is unknown."""
    unknown = [clip for clip in clips if is_unknown(clip)]
    if unknown:
        raise SplitError(
            f"The speakers of {len(unknown)} of {len(clips)} clips are unknown, but "
            f"--split {split} needs them all. First: {unknown[0].corpus}/{unknown[0].name}.",
            hint="Scores are only valid on held-out speakers. Name the column of the speakers "
            "(--column speaker=NAME), or give a regular expression that finds the speaker in the "
            f"path (--set {unknown[0].corpus}.speaker='spk(\\d+)'). --split random needs no "
            "speakers: its scores are speaker-dependent.",
        )


def spelling_key(name: str) -> str:
    """Return a text that is equal for all spellings of one speaker's name.

    Spellings may differ in upper and lower case, in the Unicode form of a letter, in blanks around
    and between words, in zeros before a number (``1``, ``01``), and in decimals (``1.0``).
    """
    text = " ".join(folded(name).split())
    if whole := _NO_DECIMALS.fullmatch(text):
        text = whole[1]
    return _LEADING_ZEROS.sub("", text)


def merge_speakers(
    clips: Sequence[Clip], shared: Sequence[Sequence[int]]
) -> tuple[list[Clip], Merged]:
    """Give one name to each person within a corpus.

    Speakers of one corpus are one person if their names are spellings of one name
    (:func:`spelling_key`), or if they share a recording. The person gets the first of the names in
    sorted order.

    Parameters
    ----------
    clips : sequence of Clip
        Clips of one or several corpora.
    shared : sequence of sequence of int
        Groups of clips that share a recording, each within one corpus.

    Returns
    -------
    clips : list of Clip
        The clips in the same order, with one name per person.
    merged : mapping of str to tuple of tuple of str
        By corpus, the sorted names of each person that had several names.
    """
    keys: dict[tuple[str, str], tuple[str, str]] = {}  # one key per name, shared by its clips
    for clip in clips:
        if (clip.corpus, clip.speaker) not in keys:
            keys[clip.corpus, clip.speaker] = (clip.corpus, _key_of(clip))
    people = join([keys[clip.corpus, clip.speaker] for clip in clips], shared)
    names: dict[tuple[str, str], set[str]] = defaultdict(set)
    for clip, person in zip(clips, people, strict=True):
        names[person].add(clip.speaker)
    first = {
        person: min(own, key=lambda n: (n.startswith(_UNKNOWN), n)) for person, own in names.items()
    }
    merged: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for (corpus, _), spellings in names.items():
        own = [name for name in spellings if not name.startswith(_UNKNOWN)]
        if len(own) > 1:
            merged[corpus].append(tuple(sorted(own)))
    renamed = [
        clip if clip.speaker == first[person] else replace(clip, speaker=first[person])
        for clip, person in zip(clips, people, strict=True)
    ]
    return renamed, {corpus: tuple(sorted(merged[corpus])) for corpus in sorted(merged)}


def _key_of(clip: Clip) -> str:
    # The name of an unknown speaker is that of a clip, which has no other spellings.
    return clip.speaker if is_unknown(clip) else spelling_key(clip.speaker)


def merged_text(merged: Merged) -> str:
    """Return a line with the first five people that had several names; empty without merges."""
    people = [
        (f"{corpus}/" if len(merged) > 1 else "", names)
        for corpus, each in merged.items()
        for names in each
    ]
    if not people:
        return ""
    shown = [
        prefix
        + " = ".join(names[:_SHOWN])
        + (f" (and {len(names) - _SHOWN} more names)" if len(names) > _SHOWN else "")
        for prefix, names in people[:_SHOWN]
    ]
    more = [f"and {len(people) - _SHOWN} more"] if len(people) > _SHOWN else []
    return f"speakers that are one person: {'; '.join([*shown, *more])}"


def check_corpora_apart(clips: Sequence[Clip], shared: Sequence[Sequence[int]]) -> None:
    """Raise CorpusError if two corpora share a recording.

    A speaker is identified by corpus and name, so one person would be two speakers.
    """
    pairs: dict[tuple[str, str], tuple[Clip, Clip]] = {}
    counts: Counter[tuple[str, str]] = Counter()
    for group in shared:
        first = {clips[i].corpus: clips[i] for i in reversed(group)}
        corpora = sorted(first)
        for one, other in itertools.pairwise(corpora):
            pairs.setdefault((one, other), (first[one], first[other]))
            counts[one, other] += 1
    if not pairs:
        return
    (one, other), (clip, copy) = next(iter(pairs.items()))
    number = counts[one, other]
    raise CorpusError(
        f"The corpora {one!r} and {other!r} share {number} recording{'s' * (number > 1)}, so that "
        f"one person would be two speakers. First: {one}/{clip.name} ({clip.recording}) is "
        f"{other}/{copy.name} ({copy.recording}).",
        hint=f"Name each recording in one corpus only: leave out --data of {one} or of {other}, or "
        "remove the copies from one of them.",
    )
