"""Splits into training, validation and test: by speaker, sentence or corpus, or at random.

A split is drawn so that no group (speaker, sentence or corpus) is in two parts. Each corpus's
groups are spread over all parts, and each part holds its share of every class of every corpus.
The split mode defines the groups: :mod:`fusion.core.data.split_modes`.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..contracts import Clip
from ..contracts.errors import ParameterError, SplitError
from .published_splits import follow_folds, follow_split, prescribed_column
from .split_modes import (
    MODES,
    PARTS,
    Group,
    Mode,
    ModeName,
    check_known,
    count_groups,
    mode_of,
    speaker_of,
)
from .stratification import Floats, Indices, apportion, balance

_TRAIN, _VAL, _TEST = range(len(PARTS))


@dataclass(frozen=True)
class Split:
    """Assignment of clips to the training, validation and test parts.

    Attributes
    ----------
    train, val, test : array of int64
        Indices of clips, sorted; disjoint.
    fold : int or None
        Index of the test fold; None for a single split.
    speaker_independent : bool
        Whether the split mode ensures that no test speaker is in training.
    """

    train: Indices
    val: Indices
    test: Indices
    fold: int | None
    speaker_independent: bool

    def digest(self, clips: Sequence[Clip]) -> str:
        """Return a digest, 16 hexadecimal digits, of the assignment of clips to parts."""
        names = {
            part: sorted([clips[i].corpus, clips[i].name] for i in getattr(self, part))
            for part in PARTS
        }
        return hashlib.blake2b(json.dumps(names).encode(), digest_size=8).hexdigest()

    def restricted_to(self, usable: npt.NDArray[np.bool_]) -> Split:
        """Return the split without the clips that are False in the mask `usable`, (n,)."""
        return replace(
            self, **{part: getattr(self, part)[usable[getattr(self, part)]] for part in PARTS}
        )

    def describe(self, clips: Sequence[Clip]) -> dict[str, dict[str, int]]:
        """Return the numbers of ``"clips"`` and ``"speakers"`` of each part, by part."""
        return {
            part: {
                "clips": len(getattr(self, part)),
                "speakers": len({speaker_of(clips[i]) for i in getattr(self, part)}),
            }
            for part in PARTS
        }


def make_splits(
    clips: Sequence[Clip],
    classes: Sequence[str],
    *,
    mode: ModeName = "speaker",
    folds: int | None = None,
    test_share: float = 0.2,
    val_share: float = 0.2,
    seed: int = 0,
) -> list[Split]:
    """Divide clips into training, validation and test, once or for cross-validation.

    Mode ``"speaker"`` follows the split (`Clip.split`) or the folds (`Clip.fold`) that the corpus
    prescribes. If the corpus prescribes both, a given `folds` selects the folds; otherwise the
    split is followed. The modes other than ``"speaker"`` ignore prescribed splits and folds.

    If no group is left for validation, some training speakers become the validation part. No group
    is left in a prescribed split without validation, in mode ``"corpus"``, and in mode
    ``"sentence"`` with only two sentences or folds. Training and validation then have no speaker in
    common, but may share sentences and corpora. The test part still shares no group with training
    or validation.

    Parameters
    ----------
    clips : sequence of Clip
        The clips; each label is one of `classes`.
    classes : sequence of str
        The classes of the run.
    mode : {"speaker", "sentence", "corpus", "random"}
        ``"speaker"``: no speaker is in two parts. ``"sentence"``: no sentence (the attribute
        ``sentence`` of a clip) is in two parts, but speakers may be. ``"corpus"``: the test part
        is a corpus that is held out of training. ``"random"``: clips are drawn regardless of the
        speaker. All modes are stratified by class, and all but ``"corpus"`` by corpus. With
        ``"sentence"`` and ``"random"``, scores are speaker-dependent.
    folds : int or None
        Number of folds, K. Fold k is the test part, fold (k + 1) % K the validation part, and
        the other folds are the training part; every clip is tested exactly once. K is at least 3,
        or at least 2 for ``"sentence"`` and ``"corpus"``, in which training speakers may become
        the validation part. None: one split, or as many folds as the corpus prescribes.
    test_share, val_share : float
        Shares of each corpus's groups, > 0; their sum is < 1. The shares are ignored with folds,
        and with ``"corpus"``, where one corpus is the test part. If training speakers become the
        validation part, `val_share` is a share of the training speakers.
    seed : int >= 0
        The same seed and clips give the same splits, in any order of the clips.

    Returns
    -------
    list of Split
        One split, or one per fold.

    Raises
    ------
    SplitError
        If there are too few groups; if the sentence of a clip is unknown; if a speaker is in two
        prescribed parts or folds; if only some clips have a prescribed part or fold; if training
        lacks a class; or if validation or test has fewer than two classes.
    ParameterError
        If a share is out of range.
    """
    kind = mode_of(mode)
    _check_request(kind, folds, test_share, val_share)
    check_known(clips, kind)
    order = sorted(range(len(clips)), key=lambda i: (clips[i].corpus, clips[i].name))
    ordered = [clips[i] for i in order]
    prescribed = prescribed_column(ordered, folds) if mode == "speaker" else None
    if prescribed == "fold":
        drawn = _rotate(follow_folds(ordered, folds), validate=True)
    elif prescribed == "split":
        drawn = [follow_split(ordered)]
    elif folds is not None:
        drawn = _draw_folds(ordered, kind, folds, seed)
    else:
        drawn = [_draw_parts(ordered, kind, test_share, val_share, seed)]
    cross = folds is not None or prescribed == "fold"
    positions = np.array(order, dtype=np.int64)
    splits: list[Split] = []
    for fold, parts in enumerate(drawn):
        _add_validation(parts, ordered, val_share, seed)
        train, val, test = (np.sort(positions[parts == part]) for part in range(len(PARTS)))
        splits.append(Split(train, val, test, fold if cross else None, kind.speaker_independent))
    for split in splits:
        check_classes(split, clips, classes, units=kind.units)
    return splits


def _check_request(mode: Mode, folds: int | None, test_share: float, val_share: float) -> None:
    if test_share <= 0 or val_share <= 0 or test_share + val_share >= 1:
        raise ParameterError(
            f"test_share={test_share} and val_share={val_share} must be above 0, "
            "and their sum below 1."
        )
    if folds is not None and folds < mode.min_folds:
        needs = "one to test, one to validate, the rest to train"
        if mode.min_folds == 2:
            needs = "one to test, the rest to train"
        raise SplitError(
            f"Cross-validation needs at least {mode.min_folds} folds ({needs}); "
            f"{folds} were requested."
        )


# -- parts: arrays (n,) with each clip's index into PARTS, 0, 1 or 2 -------------------


def _rotate(assigned: Indices, *, validate: bool) -> list[Indices]:
    """Return the clips' parts for each test fold; with `validate`, the next fold is for validation.

    `assigned` holds the fold of each clip, (n,).
    """
    folds = int(assigned.max()) + 1
    parts_by_fold: list[Indices] = []
    for fold in range(folds):
        parts = np.full(len(assigned), _TRAIN, dtype=np.int64)
        if validate:
            parts[assigned == (fold + 1) % folds] = _VAL
        parts[assigned == fold] = _TEST
        parts_by_fold.append(parts)
    return parts_by_fold


def _draw_folds(clips: Sequence[Clip], mode: Mode, folds: int, seed: int) -> list[Indices]:
    """Draw folds, and return the clips' parts for each test fold."""
    assigned = _draw(clips, np.full(folds, 1 / folds), mode, seed)
    return _rotate(assigned, validate=mode.group_validates and folds >= len(PARTS))


def _draw_parts(
    clips: Sequence[Clip], mode: Mode, test_share: float, val_share: float, seed: int
) -> Indices:
    """Draw one split, and return the part of each clip.

    The validation part is empty if there are too few groups, or if the groups are corpora.
    """
    groups = count_groups(clips, mode)
    if not mode.group_validates:  # the seed chooses one group as the test part
        _check_number(groups, mode, mode.min_folds)
        names = sorted({mode.group(clip) for clip in clips})
        tested = names[np.random.default_rng(seed).integers(groups)]
        chosen = np.array([mode.group(clip) == tested for clip in clips])
        return np.where(chosen, _TEST, _TRAIN)
    if groups < len(PARTS) and mode.min_folds < len(PARTS):
        return np.where(_draw(clips, np.array([0.5, 0.5]), mode, seed) == 0, _TRAIN, _TEST)
    return _draw(clips, np.array([1 - test_share - val_share, val_share, test_share]), mode, seed)


def _add_validation(parts: Indices, clips: Sequence[Clip], val_share: float, seed: int) -> None:
    """Move training speakers to an empty validation part, in place.

    Raises
    ------
    SplitError
        If there are fewer than two training speakers.
    """
    if (parts == _VAL).any():
        return
    train = np.flatnonzero(parts == _TRAIN)
    training_clips = [clips[i] for i in train.tolist()]
    if count_groups(training_clips, MODES["speaker"]) < 2:
        raise SplitError(
            "There are no clips for validation, and only one training speaker, who can't be moved "
            "to validation.",
            hint="Add recordings of more speakers, or mark clips for validation in a table's "
            "column split.",
        )
    shares = np.array([1 - val_share, val_share])
    parts[train] = _draw(training_clips, shares, MODES["speaker"], seed)


# -- drawing a split -----------------------------------------------------------------


def _draw(clips: Sequence[Clip], shares: Floats, mode: Mode, seed: int) -> Indices:
    """Draw the part of each clip, (n,); parts are numbered as in `shares`, (P,)."""
    rng = np.random.default_rng(seed)
    _check_number(count_groups(clips, mode), mode, len(shares))
    if mode.name == "random":
        return _draw_clips(clips, shares, rng)
    return _draw_groups(clips, mode.group, shares, rng)


def _check_number(count: int, mode: Mode, needed: int) -> None:
    """Raise SplitError if there are fewer groups than parts."""
    if count >= needed:
        return
    fewer = ""
    if count >= mode.min_folds:  # fewer folds are possible
        fewer = f"Use --folds {count}{' or fewer' if count > mode.min_folds else ''}. "
    raise SplitError(
        f"{needed} parts that share no {mode.unit} need at least {needed} {mode.units}; there "
        f"{'is' if count == 1 else 'are'} {count}.",
        hint=f"{fewer}{mode.more}",
    )


def _draw_clips(clips: Sequence[Clip], shares: Floats, rng: np.random.Generator) -> Indices:
    """Draw the part of each clip, (n,), stratified by corpus and class."""
    cells: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, clip in enumerate(clips):
        cells[clip.corpus, clip.label].append(i)
    part = np.zeros(len(clips), dtype=np.int64)
    counts = apportion({cell: len(members) for cell, members in cells.items()}, shares)
    for cell, members in cells.items():
        part[rng.permutation(members)] = np.repeat(np.arange(len(shares)), counts[cell])
    return part


def _draw_groups(
    clips: Sequence[Clip],
    group: Callable[[Clip], Group],
    shares: Floats,
    rng: np.random.Generator,
) -> Indices:
    """Draw the part of each group, with balanced classes, and return the part of each clip, (n,).

    A group is a pair of kind and name. The groups of each kind are spread over all parts.
    """
    groups = sorted({group(clip) for clip in clips})
    number = {name: i for i, name in enumerate(groups)}
    column = {label: i for i, label in enumerate(sorted({clip.label for clip in clips}))}
    histograms = np.zeros((len(groups), len(column)))
    for clip in clips:
        histograms[number[group(clip)], column[clip.label]] += 1
    kinds = np.array([kind for kind, _ in groups])
    part = np.zeros(len(groups), dtype=np.int64)
    for kind, counts in apportion(Counter(kinds.tolist()), shares).items():
        members = np.flatnonzero(kinds == kind)
        part[members] = balance(histograms[members], counts, rng)
    return part[[number[group(clip)] for clip in clips]]


# -- classes that every split must have ----------------------------------------------


def check_classes(
    split: Split,
    clips: Sequence[Clip],
    classes: Sequence[str],
    *,
    units: str = "speakers",
    parts: Sequence[str] = PARTS,
) -> None:
    """Raise SplitError if training lacks a class, or validation or test has fewer than two."""
    for part in parts:
        present = {clips[i].label for i in getattr(split, part)}
        missing = [name for name in classes if name not in present]
        if (missing and part == "train") or len(classes) - len(missing) < 2:
            location = part if split.fold is None else f"{part} of fold {split.fold}"
            needs = "every class" if part == "train" else "at least two classes"
            raise SplitError(
                f"The part {location} needs clips of {needs}. The part has clips of: "
                f"{', '.join(sorted(present)) or 'no class'}, and none of: {', '.join(missing)}.",
                hint=f"Too few {units} have these classes. Use fewer folds, another --seed, or "
                "--labels to leave classes out.",
            )
