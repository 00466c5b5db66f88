"""Splits that a corpus prescribes: which column to follow, and whether it can be followed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Literal

import numpy as np

from ..contracts import Clip
from ..contracts.errors import SplitError
from .split_modes import PARTS, Group, speaker_of
from .stratification import Indices

MIN_FOLDS = 3  # one to test, one to validate, the rest to train


def prescribed_column(clips: Sequence[Clip], folds: int | None) -> Literal["split", "fold"] | None:
    """Which column to follow, after checking that it is complete."""
    counts = {
        "split": sum(clip.split is not None for clip in clips),
        "fold": sum(clip.fold is not None for clip in clips),
    }
    for column, count in counts.items():
        if 0 < count < len(clips):
            missing = next(c for c in clips if getattr(c, column) is None)
            raise SplitError(
                f"{count} of {len(clips)} clips have a prescribed {column}; "
                f"{missing.corpus}/{missing.name} is the first without.",
                hint=f"Give every clip a {column}, or none; corpora that prescribe a {column} "
                "can't be pooled with corpora that don't.",
            )
    if folds is not None and counts["split"] and not counts["fold"]:
        raise SplitError(
            f"{folds} folds were asked for, but the corpus prescribes one train/val/test split.",
            hint="Leave out --folds, or take the split column out of the table.",
        )
    if counts["fold"] and (folds is not None or not counts["split"]):
        return "fold"
    return "split" if counts["split"] else None


def follow_folds(clips: Sequence[Clip], folds: int | None) -> Indices:
    """Fold of each clip; folds are numbered in the order of their names."""
    names = sorted({str(clip.fold) for clip in clips}, key=_natural)
    if len(names) < MIN_FOLDS or folds not in (None, len(names)):
        asked = f"{folds} were asked for" if folds else f"at least {MIN_FOLDS} are needed"
        raise SplitError(
            f"The corpus prescribes {len(names)} folds ({', '.join(names[:12])}) and {asked}.",
            hint="Leave out --folds to follow the corpus."
            if len(names) >= MIN_FOLDS
            else "Take the fold column out of the table to have a split drawn by speaker.",
        )
    assigned = [names.index(str(clip.fold)) for clip in clips]
    _check_speakers(clips, [str(clip.fold) for clip in clips], "fold")
    return np.array(assigned, dtype=np.int64)


def _natural(name: str) -> tuple[int, str]:
    """Sort key that puts fold 10 behind fold 9."""
    return (int(name) if name.isdecimal() else -1), name


def follow_split(clips: Sequence[Clip]) -> Indices:
    """Part of each clip; none may be for validation."""
    counts = Counter(clip.split for clip in clips)
    unknown = [str(part) for part in counts if part not in PARTS]
    if unknown:
        raise SplitError(
            f"Prescribed split {unknown[0]!r} is unknown; possible are {', '.join(PARTS)}."
        )
    for part in ("train", "test"):
        if not counts[part]:
            raise SplitError(
                f"The prescribed split has no clips for {part}.",
                hint="Take the split column out of the table to have a split drawn by speaker.",
            )
    parts = [str(clip.split) for clip in clips]
    _check_speakers(clips, parts, "split")
    return np.array([PARTS.index(part) for part in parts], dtype=np.int64)


def _check_speakers(clips: Sequence[Clip], parts: Sequence[str], column: str) -> None:
    """Raise SplitError if a speaker lies in two parts."""
    seen: dict[Group, set[str]] = defaultdict(set)
    for clip, part in zip(clips, parts, strict=True):
        seen[speaker_of(clip)].add(part)
    shared = sorted(speaker for speaker, found in seen.items() if len(found) > 1)
    if not shared:
        return
    named = "; ".join(
        f"{corpus}/{speaker} in {', '.join(sorted(seen[corpus, speaker], key=_natural))}"
        for corpus, speaker in shared[:5]
    )
    more = f"; and {len(shared) - 5} more" if len(shared) > 5 else ""
    raise SplitError(
        f"In the prescribed {column}, {len(shared)} of {len(seen)} speakers lie in more than one "
        f"part: {named}{more}.",
        hint=f"Correct the {column} column, or take it out to have a split drawn by speaker. "
        "--split random ignores it and draws clips; its scores are speaker-dependent.",
    )
