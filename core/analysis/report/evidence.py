"""Numbers that the report computes from what the models said; no drawing here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from ...runs.outcome.test_predictions import Said
from ...toolkit.metrics import Floats, confidence_bins, uar
from .run_data import Answers

_ALL_PATTERNS = 3  # modalities up to which every pattern of who is right is a row
BINS = 15


@dataclass(frozen=True, slots=True)
class Pattern:
    """The clips on which the same modalities are right.

    Attributes
    ----------
    name : str
        Who is right: ``"only mel"``, ``"none"``; of many modalities how many.
    clips : int
        How many clips there are.
    right : dict
        Model -> on how many of them it is right.
    """

    name: str
    clips: int
    right: dict[str, int]


def who_is_right(
    answers: Answers, modalities: Sequence[str], models: Sequence[str]
) -> list[Pattern]:
    """Count the clips by which modalities, each trained alone, are right about them.

    Up to three modalities every combination has a row, from all to none; of more the rows say
    how many are right.
    """
    right = np.stack([answers.right(m) for m in modalities])  # (M, n)
    if len(modalities) <= _ALL_PATTERNS:
        combinations = list(product([True, False], repeat=len(modalities)))
        combinations.sort(key=lambda c: -sum(c))
        groups = [
            (_pattern_name(c, modalities), (right == np.array(c)[:, None]).all(axis=0))
            for c in combinations
        ]
    else:
        total = len(modalities)
        number = right.sum(axis=0)
        groups = [(f"{k} of {total}", number == k) for k in range(total, -1, -1)]
    return [
        Pattern(name, int(there.sum()), {m: int(answers.right(m)[there].sum()) for m in models})
        for name, there in groups
    ]


def _pattern_name(right: Sequence[bool], modalities: Sequence[str]) -> str:
    who = [m for m, is_right in zip(modalities, right, strict=True) if is_right]
    if not who:
        return "none"
    if len(who) == len(modalities):
        return "it" if len(who) == 1 else "both" if len(who) == 2 else "all"
    return f"only {' and '.join(who)}"


def oracle_uar(said: Said, modalities: Sequence[str]) -> float:
    """UAR where a clip counts as right as soon as one modality alone is right about it."""
    return float(uar(said.oracle(modalities).sum(axis=0)))


def calibration_bins(
    probabilities: Floats, targets: np.ndarray[tuple[int, ...], np.dtype[np.int64]]
) -> Floats:
    """The bins of :func:`~fusion.core.toolkit.metrics.expected_calibration_error` that hold clips.

    Returns
    -------
    array of float64 [shape=(B, 3)]
        Mean confidence, share of right answers, share of all clips; by rising confidence.
    """
    confidence, right, index = confidence_bins(probabilities, targets, BINS)
    count = np.bincount(index, minlength=BINS)
    there = count > 0
    means = [
        np.bincount(index, weights=values, minlength=BINS)[there] / count[there]
        for values in (confidence, right.astype(np.float64))
    ]
    return np.stack([*means, count[there] / len(targets)], axis=1)


def uar_by_speaker(said: Said, model: str) -> Floats:
    """UAR over each speaker's own clips, (S,), speakers in sorted order."""
    return uar(said.confusions(model))


def uar_by_corpus(answers: Answers, model: str) -> dict[str, float]:
    """UAR over each corpus's clips."""
    said = answers.said
    speakers = np.unique(said.speakers)
    home = np.array([speaker.partition("/")[0] for speaker in speakers.tolist()])
    counts = said.confusions(model)  # (S, C, C)
    return {str(c): float(uar(counts[home == c].sum(axis=0))) for c in np.unique(home)}
