"""Splits and folds that a corpus prescribes, with checks that they are complete and valid."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal, NoReturn

import numpy as np

from ..contracts import Clip
from ..contracts.errors import SplitError
from .split_modes import PARTS, Group, speaker_of
from .stratification import Indices

MIN_FOLDS = 3  # one fold for test, one fold for validation, at least one fold for training


def prescribed_column(clips: Sequence[Clip], folds: int | None) -> Literal["split", "fold"] | None:
    """Return the prescribed column to follow, ``"split"`` or ``"fold"``; None without either.

    If the corpus prescribes both, a given `folds` selects the folds.

    Raises
    ------
    SplitError
        If only some clips have a prescribed split or fold, or `folds` is given and the corpus
        prescribes only a split.
    """
    counts = {
        "split": sum(clip.split is not None for clip in clips),
        "fold": sum(clip.fold is not None for clip in clips),
    }
    for column, count in counts.items():
        if 0 < count < len(clips):
            missing = next(c for c in clips if getattr(c, column) is None)
            raise SplitError(
                f"{count} of {len(clips)} clips have a prescribed {column}; "
                f"{missing.corpus}/{missing.name} is the first without one.",
                hint=f"Give every clip a {column}, or none; corpora that prescribe a {column} "
                "can't be pooled with corpora that don't.",
            )
    if folds is not None and counts["split"] and not counts["fold"]:
        raise SplitError(
            f"{folds} folds were requested, but the corpus prescribes one train/val/test split.",
            hint="Leave out --folds, or remove the split column from the table.",
        )
    if counts["fold"] and (folds is not None or not counts["split"]):
        return "fold"
    return "split" if counts["split"] else None


def follow_folds(clips: Sequence[Clip], folds: int | None) -> Indices:
    """Return the prescribed fold of each clip, (n,), numbered from 0 in the order of fold names.

    Raises
    ------
    SplitError
        If there are fewer than 3 folds, or their number differs from `folds`.
    """
    names = sorted({str(clip.fold) for clip in clips}, key=_natural)
    if len(names) < MIN_FOLDS or folds not in (None, len(names)):
        needed = f"{folds} were requested" if folds else f"at least {MIN_FOLDS} are needed"
        raise SplitError(
            f"The corpus prescribes {len(names)} folds ({', '.join(names[:12])}), but {needed}.",
            hint="Leave out --folds to follow the corpus."
            if len(names) >= MIN_FOLDS
            else "Remove the fold column from the table: fusion then draws the folds.",
        )
    return np.array([names.index(str(clip.fold)) for clip in clips], dtype=np.int64)


def _natural(name: str) -> tuple[int, str]:
    """Return a sort key that puts fold 10 after fold 9."""
    return (int(name) if name.isdecimal() else -1), name


def follow_split(clips: Sequence[Clip]) -> Indices:
    """Return the prescribed part of each clip, (n,); the validation part may be empty.

    Raises
    ------
    SplitError
        If a part has an unknown name, or training or test is empty.
    """
    counts = Counter(clip.split for clip in clips)
    unknown = [str(part) for part in counts if part not in PARTS]
    if unknown:
        raise SplitError(
            f"The prescribed split {unknown[0]!r} is unknown. Known: {', '.join(PARTS)}."
        )
    for part in ("train", "test"):
        if not counts[part]:
            raise SplitError(
                f"The prescribed split has no clips for {part}.",
                hint="Remove the split column from the table: fusion then draws the split.",
            )
    return np.array([PARTS.index(str(clip.split)) for clip in clips], dtype=np.int64)


def check_prescribed(clips: Sequence[Clip]) -> None:
    """Raise SplitError if no clip has a prescribed split or fold."""
    if any(clip.split is not None or clip.fold is not None for clip in clips):
        return
    corpora = ", ".join(sorted({clip.corpus for clip in clips}))
    raise SplitError(
        f"--split published needs a split or folds that the corpus prescribes, but {corpora} "
        "prescribes neither.",
        hint="In a table, name the part (train, val or test) of each clip in a column split, or "
        "its test fold in a column fold. --split speaker draws a split.",
    )


def check_apart(
    clips: Sequence[Clip], column: Literal["split", "fold"], shared: Iterable[Sequence[int]]
) -> None:
    """Raise SplitError if a recording or a speaker is in two prescribed parts or folds.

    Parameters
    ----------
    shared : iterable of sequence of int
        Groups of clips that share a recording.
    """
    parts = [str(getattr(clip, column)) for clip in clips]
    for group in shared:
        if len({parts[i] for i in group}) > 1:
            _refuse_recording(clips, parts, group, column)
    parts_of: dict[Group, set[str]] = defaultdict(set)
    for clip, part in zip(clips, parts, strict=True):
        parts_of[speaker_of(clip)].add(part)
    apart = sorted(speaker for speaker, own_parts in parts_of.items() if len(own_parts) > 1)
    if not apart:
        return
    named = "; ".join(
        f"{corpus}/{speaker} in {', '.join(sorted(parts_of[corpus, speaker], key=_natural))}"
        for corpus, speaker in apart[:5]
    )
    more = f"; and {len(apart) - 5} more" if len(apart) > 5 else ""
    raise SplitError(
        f"{len(apart)} of {len(parts_of)} speakers are in more than one part of the prescribed "
        f"{column}: {named}{more}.",
        hint=_ways_out(column),
    )


def _refuse_recording(
    clips: Sequence[Clip], parts: Sequence[str], group: Sequence[int], column: str
) -> NoReturn:
    """Raise SplitError for clips that share a recording and are in two parts."""
    one = group[0]
    other = next(i for i in group if parts[i] != parts[one])
    raise SplitError(
        f"A recording is in more than one part of the prescribed {column}: "
        + " is or overlaps ".join(
            f"{clips[i].corpus}/{clips[i].name} ({clips[i].recording}), in {parts[i]},"
            for i in (one, other)
        ).removesuffix(",")
        + ".",
        hint=_ways_out(column),
    )


def _ways_out(column: str) -> str:
    return (
        f"Correct the {column} column, or follow it as it is with --split published: scores are "
        "then speaker-dependent. Without the column (--ignore-column NAME), fusion draws a split "
        "by speaker. --split random ignores the column and draws clips; its scores are "
        "speaker-dependent."
    )
