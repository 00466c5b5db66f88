"""Who is trained on, who chooses and who is tested: splits by speaker.

A split is drawn so that no speaker lies in two parts, each corpus's speakers are spread over
all parts, and each part holds its share of every class of every corpus.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from .allocation import Floats, Indices, apportion, balance
from .contracts import Clip
from .errors import ParameterError, SplitError

PARTS = ("train", "val", "test")
_MIN_FOLDS = 3  # one to test, one to validate, the rest to train


@dataclass(frozen=True)
class Split:
    """Which clips are for training, validation and test.

    Attributes
    ----------
    train, val, test : array of int64
        Indices of clips, sorted; disjoint.
    fold : int or None
        Index of the fold that is tested; None for a single split.
    speaker_independent : bool
        Whether no speaker lies in two parts by construction.
    """

    train: Indices
    val: Indices
    test: Indices
    fold: int | None
    speaker_independent: bool

    def digest(self, clips: Sequence[Clip]) -> str:
        """16 hex digits that depend on which clips are in which part, and on nothing else."""
        names = {
            part: sorted([clips[i].corpus, clips[i].name] for i in getattr(self, part))
            for part in PARTS
        }
        return hashlib.blake2b(json.dumps(names).encode(), digest_size=8).hexdigest()

    def describe(self, clips: Sequence[Clip]) -> dict[str, dict[str, int]]:
        """Part -> how many ``"clips"`` and ``"speakers"`` it holds."""
        return {
            part: {
                "clips": len(getattr(self, part)),
                "speakers": len({_speaker(clips[i]) for i in getattr(self, part)}),
            }
            for part in PARTS
        }


def make_splits(
    clips: Sequence[Clip],
    classes: Sequence[str],
    *,
    mode: Literal["speaker", "random"] = "speaker",
    folds: int | None = None,
    test_share: float = 0.2,
    val_share: float = 0.2,
    seed: int = 0,
) -> list[Split]:
    """Divide clips into train, validation and test, once or for cross-validation.

    Where the corpus prescribes a split (`Clip.split`) or folds (`Clip.fold`), mode
    ``"speaker"`` follows it; of the two, the folds if `folds` is given and the split if not. A
    prescribed split without validation gets it from the training speakers.

    Parameters
    ----------
    clips : sequence of Clip
        Labels are among `classes`.
    classes : sequence of str
        The classes of the run.
    mode : {"speaker", "random"}
        ``"speaker"``: no speaker lies in two parts; stratified by class and corpus.
        ``"random"``: clips are drawn whoever speaks, stratified by class and corpus, and what
        the corpus prescribes is ignored. Scores are then speaker-dependent.
    folds : int >= 3 or None
        Cross-validation: fold k is tested, fold (k + 1) % `folds` validates, the rest is for
        training; every clip is tested exactly once. None: one split, or as many as the corpus
        prescribes folds.
    test_share, val_share : float
        Shares of each corpus's speakers (of its clips where `mode` is ``"random"``), > 0, their
        sum < 1. Without meaning for folds.
    seed : int >= 0
        The same seed and clips give the same splits, in whatever order the clips come.

    Returns
    -------
    list of Split
        One, or one per fold.

    Raises
    ------
    SplitError
        If there are too few speakers; a prescribed part or fold has speakers of another or is
        known for some clips only; training lacks a class; or validation or test has fewer than
        two classes.
    ParameterError
        If a share is out of range.
    """
    if test_share <= 0 or val_share <= 0 or test_share + val_share >= 1:
        raise ParameterError(
            f"test_share={test_share} and val_share={val_share} must be above 0, "
            "and their sum below 1."
        )
    if folds is not None and folds < _MIN_FOLDS:
        raise SplitError(
            f"Cross-validation needs at least {_MIN_FOLDS} folds (one to test, one to validate, "
            f"the rest to train); {folds} were asked for."
        )
    order = sorted(range(len(clips)), key=lambda i: (clips[i].corpus, clips[i].name))
    ordered = [clips[i] for i in order]
    prescribed = _prescribed(ordered, folds) if mode == "speaker" else None
    if prescribed == "fold":
        assigned = _follow_folds(ordered, folds)
    elif prescribed == "split":
        assigned = _follow_split(ordered, val_share, seed)
    else:
        shares = _shares(folds, test_share, val_share)
        assigned = _draw(ordered, shares, mode, seed)
    cross = folds is not None or prescribed == "fold"
    positions = np.array(order, dtype=np.int64)
    splits = _splits(assigned, positions, cross, speaker_independent=mode == "speaker")
    for split in splits:
        check_classes(split, clips, classes)
    return splits


def _shares(folds: int | None, test_share: float, val_share: float) -> Floats:
    """Share of each fold, or of train, val and test."""
    if folds is None:
        return np.array([1 - test_share - val_share, val_share, test_share])
    return np.full(folds, 1 / folds)


def _splits(
    assigned: Indices, positions: Indices, cross: bool, *, speaker_independent: bool
) -> list[Split]:
    """Splits from the fold (`cross`) or the part of each clip, whose index is in `positions`."""

    def where(chosen: npt.NDArray[np.bool_]) -> Indices:
        return np.sort(positions[chosen])

    if not cross:
        train, val, test = (where(assigned == part) for part in range(len(PARTS)))
        return [Split(train, val, test, None, speaker_independent)]
    folds = int(assigned.max()) + 1
    splits = []
    for fold in range(folds):
        test, val = assigned == fold, assigned == (fold + 1) % folds
        parts = (where(~test & ~val), where(val), where(test))
        splits.append(Split(*parts, fold, speaker_independent))
    return splits


def _speaker(clip: Clip) -> tuple[str, str]:
    return clip.corpus, clip.speaker


# -- what the corpus prescribes ------------------------------------------------------


def _prescribed(clips: Sequence[Clip], folds: int | None) -> Literal["split", "fold"] | None:
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


def _follow_folds(clips: Sequence[Clip], folds: int | None) -> Indices:
    """Fold of each clip; folds are numbered in the order of their names."""
    names = sorted({str(clip.fold) for clip in clips}, key=_natural)
    if len(names) < _MIN_FOLDS or folds not in (None, len(names)):
        asked = f"{folds} were asked for" if folds else f"at least {_MIN_FOLDS} are needed"
        raise SplitError(
            f"The corpus prescribes {len(names)} folds ({', '.join(names[:12])}) and {asked}.",
            hint="Leave out --folds to follow the corpus."
            if len(names) >= _MIN_FOLDS
            else "Take the fold column out of the table to have a split drawn by speaker.",
        )
    assigned = [names.index(str(clip.fold)) for clip in clips]
    _check_speakers(clips, [str(clip.fold) for clip in clips], "fold")
    return np.array(assigned, dtype=np.int64)


def _natural(name: str) -> tuple[int, str]:
    """Sort key that puts fold 10 behind fold 9."""
    return (int(name) if name.isdecimal() else -1), name


def _follow_split(clips: Sequence[Clip], val_share: float, seed: int) -> Indices:
    """Part of each clip; a missing validation part is taken from the training speakers."""
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
    assigned = np.array([PARTS.index(part) for part in parts], dtype=np.int64)
    if not counts["val"]:
        train = np.flatnonzero(assigned == 0)
        if len({_speaker(clips[i]) for i in train.tolist()}) < 2:
            raise SplitError(
                "The prescribed split has no clips for val, and only one training speaker: "
                "none can be taken from training to validate.",
                hint="Name the clips that validate in the split column, or take the column out.",
            )
        shares = np.array([1 - val_share, val_share])
        assigned[train] = _draw([clips[i] for i in train.tolist()], shares, "speaker", seed)
    return assigned


def _check_speakers(clips: Sequence[Clip], parts: Sequence[str], column: str) -> None:
    """Raise SplitError if a speaker lies in two parts."""
    seen: dict[tuple[str, str], set[str]] = defaultdict(set)
    for clip, part in zip(clips, parts, strict=True):
        seen[_speaker(clip)].add(part)
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


# -- drawing a split -----------------------------------------------------------------


def _draw(clips: Sequence[Clip], shares: Floats, mode: str, seed: int) -> Indices:
    """Part of each clip, (n,); parts are numbered as in `shares`, (P,)."""
    rng = np.random.default_rng(seed)
    if mode == "random":
        _check_number(len(clips), "clip", len(shares))
        return _draw_clips(clips, shares, rng)
    _check_number(len({_speaker(clip) for clip in clips}), "speaker", len(shares))
    return _draw_speakers(clips, shares, rng)


def _check_number(given: int, unit: str, needed: int) -> None:
    """Raise SplitError if there are fewer speakers (or clips) than parts."""
    if given >= needed:
        return
    hint = f"Add recordings of more {unit}s"
    if given >= _MIN_FOLDS:  # so more folds than these were asked for
        hint = f"Use --folds {given} or fewer. {hint}"
    if unit == "speaker":
        hint += ", or use --split random, which mixes speakers: its scores are speaker-dependent"
    raise SplitError(
        f"{needed} parts that share no {unit} need at least {needed} {unit}s; there "
        f"{'is' if given == 1 else 'are'} {given}.",
        hint=f"{hint}.",
    )


def _draw_clips(clips: Sequence[Clip], shares: Floats, rng: np.random.Generator) -> Indices:
    """Deal out the clips of each class of each corpus: part of each clip, (n,)."""
    cells: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, clip in enumerate(clips):
        cells[clip.corpus, clip.label].append(i)
    part = np.zeros(len(clips), dtype=np.int64)
    counts = apportion({cell: len(members) for cell, members in cells.items()}, shares)
    for cell, members in cells.items():
        part[rng.permutation(members)] = np.repeat(np.arange(len(shares)), counts[cell])
    return part


def _draw_speakers(clips: Sequence[Clip], shares: Floats, rng: np.random.Generator) -> Indices:
    """Share out each corpus's speakers, classes in proportion: part of each clip, (n,)."""
    speakers = sorted({_speaker(clip) for clip in clips})
    number = {speaker: i for i, speaker in enumerate(speakers)}
    column = {label: i for i, label in enumerate(sorted({clip.label for clip in clips}))}
    histograms = np.zeros((len(speakers), len(column)))
    for clip in clips:
        histograms[number[_speaker(clip)], column[clip.label]] += 1
    corpora = np.array([corpus for corpus, _ in speakers])
    part = np.zeros(len(speakers), dtype=np.int64)
    for corpus, counts in apportion(Counter(corpora.tolist()), shares).items():
        members = np.flatnonzero(corpora == corpus)
        part[members] = balance(histograms[members], counts, rng)
    return part[[number[_speaker(clip)] for clip in clips]]


# -- what every split must hold ------------------------------------------------------


def check_classes(split: Split, clips: Sequence[Clip], classes: Sequence[str]) -> None:
    """Raise SplitError if training lacks a class, or validation or test has fewer than two."""
    for part in PARTS:
        held = {clips[i].label for i in getattr(split, part)}
        missing = [name for name in classes if name not in held]
        if (missing and part == "train") or len(classes) - len(missing) < 2:
            where = part if split.fold is None else f"{part} of fold {split.fold}"
            needs = "every class" if part == "train" else "at least two classes"
            raise SplitError(
                f"The part {where} needs clips of {needs}. It has clips of: "
                f"{', '.join(sorted(held)) or 'no class'}; of none of: {', '.join(missing)}.",
                hint="Too few speakers have these classes. Use fewer folds, another --seed, or "
                "--labels to leave classes out.",
            )
