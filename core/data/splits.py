"""Who is trained on, who chooses and who is tested: splits by speaker, and others for comparison.

A split is drawn so that no group (no speaker, no sentence, no corpus) lies in two parts, each
corpus's groups are spread over all parts, and each part holds its share of every class of every
corpus. What a group is, the mode says: :mod:`fusion.core.data.split_modes`.
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

    def where(self, kept: npt.NDArray[np.bool_]) -> Split:
        """The split without the clips that are False in `kept`, (n,)."""
        return replace(
            self, **{part: getattr(self, part)[kept[getattr(self, part)]] for part in PARTS}
        )

    def describe(self, clips: Sequence[Clip]) -> dict[str, dict[str, int]]:
        """Part -> how many ``"clips"`` and ``"speakers"`` it holds."""
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
    """Divide clips into train, validation and test, once or for cross-validation.

    Where the corpus prescribes a split (`Clip.split`) or folds (`Clip.fold`), mode
    ``"speaker"`` follows it; of the two, the folds if `folds` is given and the split if not.
    The other modes ignore what is prescribed.

    Where no group is left to validate, speakers are taken out of the training clips for it: in
    a prescribed split without validation, by corpus, and by sentence where there are only two
    sentences or folds. Training and validation then share no speaker, but sentences and
    corpora; test shares with neither what the mode keeps apart.

    Parameters
    ----------
    clips : sequence of Clip
        Labels are among `classes`.
    classes : sequence of str
        The classes of the run.
    mode : {"speaker", "sentence", "corpus", "random"}
        ``"speaker"``: no speaker lies in two parts. ``"sentence"``: no sentence does (the
        attribute ``sentence`` of every clip), and speakers may. ``"corpus"``: one corpus is
        tested by models that never heard it. These are stratified by class, and all but
        ``"corpus"`` by corpus. ``"random"``: clips are drawn whoever speaks, stratified by
        class and corpus. By sentence and at random, scores are speaker-dependent.
    folds : int or None
        Cross-validation: fold k is tested, fold (k + 1) % `folds` validates, the rest is for
        training; every clip is tested exactly once. At least 3; by sentence or corpus at least
        2, since speakers may validate. None: one split, or as many as the corpus prescribes
        folds.
    test_share, val_share : float
        Shares of each corpus's groups, > 0, their sum < 1. Without meaning for folds, and by
        corpus, where one is tested; `val_share` then is a share of training speakers.
    seed : int >= 0
        The same seed and clips give the same splits, in whatever order the clips come.

    Returns
    -------
    list of Split
        One, or one per fold.

    Raises
    ------
    SplitError
        If there are too few groups, or clips whose sentence is not known; a prescribed part or
        fold has speakers of another or is known for some clips only; training lacks a class; or
        validation or test has fewer than two classes.
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
            f"{folds} were asked for."
        )


# -- parts: (n,) for each clip 0, 1 or 2, the index into PARTS ------------------------


def _rotate(assigned: Indices, *, validate: bool) -> list[Indices]:
    """Parts of each fold, from the fold of each clip; the next fold may validate."""
    folds = int(assigned.max()) + 1
    found: list[Indices] = []
    for fold in range(folds):
        parts = np.full(len(assigned), _TRAIN, dtype=np.int64)
        if validate:
            parts[assigned == (fold + 1) % folds] = _VAL
        parts[assigned == fold] = _TEST
        found.append(parts)
    return found


def _draw_folds(clips: Sequence[Clip], mode: Mode, folds: int, seed: int) -> list[Indices]:
    """Parts of each fold."""
    assigned = _draw(clips, np.full(folds, 1 / folds), mode, seed)
    return _rotate(assigned, validate=mode.group_validates and folds >= len(PARTS))


def _draw_parts(
    clips: Sequence[Clip], mode: Mode, test_share: float, val_share: float, seed: int
) -> Indices:
    """Parts of one split; none validates where groups are too few, or are whole corpora."""
    groups = count_groups(clips, mode)
    if not mode.group_validates:  # one group is tested, by the seed
        _check_number(groups, mode, mode.min_folds)
        names = sorted({mode.group(clip) for clip in clips})
        tested = names[np.random.default_rng(seed).integers(groups)]
        chosen = np.array([mode.group(clip) == tested for clip in clips])
        return np.where(chosen, _TEST, _TRAIN)
    if groups < len(PARTS) and mode.min_folds < len(PARTS):
        return np.where(_draw(clips, np.array([0.5, 0.5]), mode, seed) == 0, _TRAIN, _TEST)
    return _draw(clips, np.array([1 - test_share - val_share, val_share, test_share]), mode, seed)


def _add_validation(parts: Indices, clips: Sequence[Clip], val_share: float, seed: int) -> None:
    """Where no clip validates, take speakers out of training for it, in place."""
    if (parts == _VAL).any():
        return
    train = np.flatnonzero(parts == _TRAIN)
    heard = [clips[i] for i in train.tolist()]
    if count_groups(heard, MODES["speaker"]) < 2:
        raise SplitError(
            "There are no clips for validation, and only one training speaker: none can be taken "
            "from training to validate.",
            hint="Add recordings of more speakers; a table's column split may name the clips that "
            "validate.",
        )
    shares = np.array([1 - val_share, val_share])
    parts[train] = _draw(heard, shares, MODES["speaker"], seed)


# -- drawing a split -----------------------------------------------------------------


def _draw(clips: Sequence[Clip], shares: Floats, mode: Mode, seed: int) -> Indices:
    """Part of each clip, (n,); parts are numbered as in `shares`, (P,)."""
    rng = np.random.default_rng(seed)
    _check_number(count_groups(clips, mode), mode, len(shares))
    if mode.name == "random":
        return _draw_clips(clips, shares, rng)
    return _draw_groups(clips, mode.group, shares, rng)


def _check_number(given: int, mode: Mode, needed: int) -> None:
    """Raise SplitError if there are fewer groups than parts."""
    if given >= needed:
        return
    fewer = ""
    if given >= mode.min_folds:  # so more folds than these were asked for
        fewer = f"Use --folds {given}{' or fewer' if given > mode.min_folds else ''}. "
    raise SplitError(
        f"{needed} parts that share no {mode.unit} need at least {needed} {mode.units}; there "
        f"{'is' if given == 1 else 'are'} {given}.",
        hint=f"{fewer}{mode.more}",
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


def _draw_groups(
    clips: Sequence[Clip],
    group: Callable[[Clip], Group],
    shares: Floats,
    rng: np.random.Generator,
) -> Indices:
    """Share out the groups of each kind, classes in proportion: part of each clip, (n,)."""
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


# -- what every split must hold ------------------------------------------------------


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
        held = {clips[i].label for i in getattr(split, part)}
        missing = [name for name in classes if name not in held]
        if (missing and part == "train") or len(classes) - len(missing) < 2:
            where = part if split.fold is None else f"{part} of fold {split.fold}"
            needs = "every class" if part == "train" else "at least two classes"
            raise SplitError(
                f"The part {where} needs clips of {needs}. It has clips of: "
                f"{', '.join(sorted(held)) or 'no class'}; of none of: {', '.join(missing)}.",
                hint=f"Too few {units} have these classes. Use fewer folds, another --seed, or "
                "--labels to leave classes out.",
            )
