"""Splits into training, validation and test: by speaker, sentence or corpus, or at random.

A split is drawn so that no group (speaker, sentence or corpus) and no recording is in two parts.
Each corpus's groups are spread over all parts, and each part holds its share of every class of
every corpus. The split mode defines the groups: :mod:`fusion.core.data.split_modes`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..contracts import Clip
from ..contracts.errors import ParameterError, SplitError
from .published_splits import (
    check_apart,
    check_prescribed,
    follow_folds,
    follow_split,
    prescribed_column,
)
from .shared_recordings import shared_recordings
from .speakers import check_speakers_known, is_unknown
from .split_drawing import Pool, check_number, draw
from .split_modes import (
    MODES,
    PARTS,
    Mode,
    ModeName,
    check_known,
    mode_of,
    speaker_of,
)
from .stratification import Indices

_WITHOUT_SPEAKERS = ("random", "published")  # modes that need no speakers
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
        Whether no test speaker is in training or validation, in this and every other fold.
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
                "speakers": len(
                    {speaker_of(clips[i]) for i in getattr(self, part) if not is_unknown(clips[i])}
                ),
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
    shared: Sequence[Sequence[int]] | None = None,
) -> list[Split]:
    """Divide clips into training, validation and test, once or for cross-validation.

    Modes ``"speaker"`` and ``"published"`` follow the split (`Clip.split`) or the folds
    (`Clip.fold`) that the corpus prescribes. If the corpus prescribes both, a given `folds` selects
    the folds; otherwise the split is followed. ``"speaker"`` refuses a prescribed split that shares
    speakers or recordings, and draws a split if none is prescribed. The other modes ignore
    prescribed splits and folds.

    Clips that share a recording (overlapping segments, identical files) are in one part in every
    mode but ``"published"``. Groups that share a recording are therefore drawn as one group.

    If no group is left for validation, some training speakers become the validation part. No group
    is left in a prescribed split without validation, in mode ``"corpus"``, and in mode
    ``"sentence"`` with only two sentences or folds. Training and validation then have no speaker in
    common, but may share sentences and corpora. The test part still shares no group with training
    or validation. In a published split with a single training speaker, clips are moved instead.

    Parameters
    ----------
    clips : sequence of Clip
        The clips; each label is one of `classes`.
    classes : sequence of str
        The classes of the run.
    mode : {"speaker", "sentence", "corpus", "random", "published"}
        ``"speaker"``: no speaker is in two parts. ``"sentence"``: no sentence (the attribute
        ``sentence`` of a clip) is in two parts, but speakers may be. ``"corpus"``: the test part
        is a corpus that is held out of training. ``"random"``: clips are drawn regardless of the
        speaker. ``"published"``: the split or the folds that the corpus prescribes, even if parts
        share speakers. All drawn modes are stratified by class, and all but ``"corpus"`` by corpus.
        With ``"sentence"`` and ``"random"``, scores are speaker-dependent; with ``"published"``,
        if a test speaker is in training or validation.
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
    shared : sequence of sequence of int, optional
        Indices of the clips of each group that shares a recording. By default the files are
        compared (:func:`~fusion.core.data.shared_recordings.shared_recordings`).

    Returns
    -------
    list of Split
        One split, or one per fold.

    Raises
    ------
    SplitError
        If there are too few groups; if the sentence of a clip is unknown; if a speaker or a
        recording is in two prescribed parts or folds, except for ``"published"``; if only some
        clips have a prescribed part or fold, or none for ``"published"``; if training lacks a
        class; or if validation or test has fewer than two classes.
    ParameterError
        If a share is out of range.
    """
    kind = mode_of(mode)
    _check_request(kind, folds, test_share, val_share)
    check_known(clips, kind)
    if kind.name not in _WITHOUT_SPEAKERS:
        check_speakers_known(clips, kind.name)
    order = sorted(range(len(clips)), key=lambda i: (clips[i].corpus, clips[i].name))
    pool = Pool(clips, shared_recordings(clips) if shared is None else shared).only(order)
    prescribed = _prescribed(pool, kind, folds)
    if prescribed == "fold":
        drawn = _rotate(follow_folds(pool.clips, folds), validate=True)
    elif prescribed == "split":
        drawn = [follow_split(pool.clips)]
    elif folds is not None:
        drawn = _draw_folds(pool, kind, folds, seed)
    else:
        drawn = [_draw_parts(pool, kind, test_share, val_share, seed)]
    if prescribed and kind.name != "published":
        check_apart(pool.clips, prescribed, pool.shared)
    cross = folds is not None or prescribed == "fold"
    positions = np.array(order, dtype=np.int64)
    splits: list[Split] = []
    for fold, parts in enumerate(drawn):
        _add_validation(parts, pool, kind, val_share, seed)
        train, val, test = (np.sort(positions[parts == part]) for part in range(len(PARTS)))
        splits.append(Split(train, val, test, fold if cross else None, kind.speaker_independent))
    for split in splits:
        check_classes(split, clips, classes, units=kind.units)
    if kind.name == "published":
        apart = not any(_shares_test_speakers(split, clips) for split in splits)
        splits = [replace(split, speaker_independent=apart) for split in splits]
    return splits


def _prescribed(pool: Pool, mode: Mode, folds: int | None) -> Literal["split", "fold"] | None:
    """Return the prescribed column that the mode follows; None if the mode draws a split."""
    if mode.name == "published":
        check_prescribed(pool.clips)
    elif mode.name != "speaker":
        return None
    return prescribed_column(pool.clips, folds)


def _shares_test_speakers(split: Split, clips: Sequence[Clip]) -> bool:
    """Return True if a test speaker is in training or validation, or a speaker is unknown."""
    if any(is_unknown(clip) for clip in clips):
        return True
    train, val, test = ({speaker_of(clips[i]) for i in getattr(split, p)} for p in PARTS)
    return bool(test & (train | val))


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


def divided_recordings(
    splits: Sequence[Split], shared: Sequence[Sequence[int]]
) -> list[Sequence[int]]:
    """Return the groups of clips that share a recording and are in two parts of one of the splits.

    Parameters
    ----------
    shared : sequence of sequence of int
        Indices of the clips of each group that shares a recording.

    Returns
    -------
    list of sequence of int
        The divided groups. The first two clips of each group are in two parts.
    """
    divided: dict[int, Sequence[int]] = {}
    for split in splits:
        part = {i: name for name in PARTS for i in getattr(split, name).tolist()}
        for number, group in enumerate(shared):
            other = next((i for i in group if part.get(i) != part.get(group[0])), None)
            if other is not None:
                rest = [i for i in group[1:] if i != other]
                divided.setdefault(number, [group[0], other, *rest])
    return list(divided.values())


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


def _draw_folds(pool: Pool, mode: Mode, folds: int, seed: int) -> list[Indices]:
    """Draw folds, and return the clips' parts for each test fold."""
    assigned = draw(pool, np.full(folds, 1 / folds), mode, seed)
    return _rotate(assigned, validate=mode.group_validates and folds >= len(PARTS))


def _draw_parts(pool: Pool, mode: Mode, test_share: float, val_share: float, seed: int) -> Indices:
    """Draw one split, and return the part of each clip.

    The validation part is empty if there are too few groups, or if the groups are corpora.
    """
    groups = pool.groups(mode)
    names = sorted(set(groups))
    if not mode.group_validates:  # the seed chooses one group as the test part
        check_number(len(names), mode, mode.min_folds)
        tested = names[np.random.default_rng(seed).integers(len(names))]
        return np.where(np.array([group == tested for group in groups]), _TEST, _TRAIN)
    if len(names) < len(PARTS) and mode.min_folds < len(PARTS):
        return np.where(draw(pool, np.array([0.5, 0.5]), mode, seed) == 0, _TRAIN, _TEST)
    return draw(pool, np.array([1 - test_share - val_share, val_share, test_share]), mode, seed)


def _add_validation(parts: Indices, pool: Pool, mode: Mode, val_share: float, seed: int) -> None:
    """Move training speakers to an empty validation part, in place.

    In a published split with a single training speaker, training clips are moved.

    Raises
    ------
    SplitError
        If there are fewer than two training speakers, and speakers may not be shared.
    """
    if (parts == _VAL).any():
        return
    train = np.flatnonzero(parts == _TRAIN)
    training = pool.only(train.tolist())
    unit = MODES["speaker"]
    if len(set(training.groups(unit))) < 2:
        if mode.name != "published":
            raise SplitError(
                "There are no clips for validation, and only one training speaker, who can't be "
                "moved to validation.",
                hint="Add recordings of more speakers, or mark clips for validation in a table's "
                "column split.",
            )
        unit = MODES["random"]
    parts[train] = draw(training, np.array([1 - val_share, val_share]), unit, seed)


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
