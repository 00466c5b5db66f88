"""Sections on test predictions: disagreements, speakers, corpora and calibration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from ...runs.outcome.results import CHOSEN
from ...runs.outcome.selection import ENSEMBLE
from ...runs.outcome.test_predictions import SavedPredictions
from ...runs.trainings import FUSED
from ...toolkit.metrics import Floats, confidence_bins, expected_calibration_error, nll, uar
from .charts import dot_rows, reliability
from .drawing import Mark, colour_of, dot_of
from .page import Figure, percent
from .run_data import ModelPredictions, ReadRun

_ALL_PATTERNS = 3  # with at most this many modalities, every combination is a row
BINS = 15  # bins of the calibration error
ENDS = 30  # speakers shown at either end if the run has more than twice this number


class Pattern(NamedTuple):
    """Clips that the same modalities classify correctly.

    Attributes
    ----------
    name : str
        The correct modalities, such as ``"only mel"`` or ``"none"``. With more than three
        modalities, the number of correct modalities.
    clips : int
        Number of clips.
    correct : dict
        Number of the pattern's clips that a model classifies correctly, by model.
    """

    name: str
    clips: int
    correct: dict[str, int]


def correct_patterns(
    predicted: ModelPredictions, modalities: Sequence[str], models: Sequence[str]
) -> list[Pattern]:
    """Count clips by the set of modalities whose own models classify them correctly.

    With up to three modalities every combination is a row, from all to none. With more
    modalities, the rows are the number of correct modalities.
    """
    right = np.stack([predicted.correct(m) for m in modalities])  # (M, n)
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
        Pattern(name, int(rows.sum()), {m: int(predicted.correct(m)[rows].sum()) for m in models})
        for name, rows in groups
    ]


def _pattern_name(right: Sequence[bool], modalities: Sequence[str]) -> str:
    """Return the name of a combination of correct modalities."""
    correct = [m for m, is_right in zip(modalities, right, strict=True) if is_right]
    if not correct:
        return "none"
    if len(correct) == len(modalities):
        return correct[0] if len(correct) == 1 else "both" if len(correct) == 2 else "all"
    return f"only {' and '.join(correct)}"


def oracle_uar(per_clip: SavedPredictions, modalities: Sequence[str]) -> float:
    """Return the oracle UAR: a clip counts as correct if any modality alone is correct."""
    return float(uar(per_clip.oracle(modalities).sum(axis=0)))


def calibration_bins(
    probabilities: Floats, targets: np.ndarray[tuple[int, ...], np.dtype[np.int64]]
) -> Floats:
    """Return the non-empty bins of the expected calibration error.

    Returns
    -------
    array of float64 [shape=(B, 3)]
        Mean confidence, accuracy, and share of all clips, in order of rising confidence.
    """
    confidence, right, index = confidence_bins(probabilities, targets, BINS)
    count = np.bincount(index, minlength=BINS)
    filled = count > 0
    means = [
        np.bincount(index, weights=values, minlength=BINS)[filled] / count[filled]
        for values in (confidence, right.astype(np.float64))
    ]
    return np.stack([*means, count[filled] / len(targets)], axis=1)


def uar_by_speaker(per_clip: SavedPredictions, model: str) -> Floats:
    """Return the UAR of each speaker's clips, (S,), with speakers in sorted order."""
    return uar(per_clip.confusions(model))


def uar_by_corpus(predicted: ModelPredictions, model: str) -> dict[str, float]:
    """Return the UAR on the clips of each corpus, by corpus."""
    per_clip = predicted.per_clip
    speakers = np.unique(per_clip.speakers)
    corpus = np.array([speaker.partition("/")[0] for speaker in speakers.tolist()])
    counts = per_clip.confusions(model)  # (S, C, C)
    return {str(c): float(uar(counts[corpus == c].sum(axis=0))) for c in np.unique(corpus)}


# -- figures -------------------------------------------------------------------------


def chosen_everywhere(run: ReadRun) -> str:
    """Return the model chosen in every fold; empty if folds differ."""
    chosen = {fold.chosen for fold in run.selection.folds} if run.selection else set()
    return chosen.pop() if len(chosen) == 1 else ""


def disagreements(run: ReadRun, predicted: ModelPredictions) -> list[list[str]]:
    """Return rows of :func:`correct_patterns`, and a row for all clips."""
    models, total = (FUSED, ENSEMBLE, CHOSEN), len(predicted.per_clip.targets)
    every = Pattern("all clips", total, {m: int(predicted.correct(m).sum()) for m in models})
    return [
        [name, str(clips), percent(clips / total)]
        + [f"{right[m]} ({percent(right[m] / clips)} %)" if clips else "" for m in models]
        for name, clips, right in (*correct_patterns(predicted, run.modalities, models), every)
    ]


def gains(run: ReadRun, predicted: ModelPredictions) -> Floats:
    """Return each speaker's UAR of the fused minus the best single model, (S,), by speaker."""
    single, fused = (
        uar_by_speaker(predicted.per_clip, m) for m in (run.results.best_single, FUSED)
    )
    return fused - single


def speakers(run: ReadRun, predicted: ModelPredictions) -> Markup:
    """Draw the scores of each speaker, sorted by gain; of many speakers, only the extremes."""
    names = np.unique(predicted.per_clip.speakers)
    shown = np.argsort(-gains(run, predicted), kind="stable")
    if len(shown) > 2 * ENDS:
        shown = np.concatenate([shown[:ENDS], shown[-ENDS:]])
    several = len(set(predicted.corpora.tolist())) > 1
    return dot_rows(
        [str(n) if several else str(n).partition("/")[2] for n in names[shown]],
        [(m, mark, uar_by_speaker(predicted.per_clip, m)[shown]) for m, mark in speaker_marks(run)],
        label="UAR of each speaker",
        x="UAR of the speaker's clips (%)",
    )


def speaker_marks(run: ReadRun) -> list[tuple[str, Mark]]:
    """Return the legend of :func:`speakers`."""
    return [(m, dot_of(m, run.modalities)) for m in (run.results.best_single, FUSED)]


def corpora(run: ReadRun, predicted: ModelPredictions) -> list[list[str]]:
    """Return one row per corpus: number of clips, and UAR of each model in per cent."""
    by_model = [uar_by_corpus(predicted, m) for m in run.models]
    clips = Counter(predicted.corpora.tolist())
    return [[c, str(clips[c]), *(percent(uar[c]) for uar in by_model)] for c in by_model[0]]


def calibrated(run: ReadRun, predicted: ModelPredictions) -> dict[str, float]:
    """Return the expected calibration errors, by model, of the models in the calibration plot."""
    chosen = [] if chosen_everywhere(run) else [CHOSEN]
    return {
        m: float(
            expected_calibration_error(predicted.probabilities[m], predicted.per_clip.targets, BINS)
        )
        for m in (run.results.best_single, FUSED, ENSEMBLE, *chosen)
    }


def calibration(run: ReadRun, predicted: ModelPredictions) -> list[list[str]]:
    """Return one row per model: ECE, mean confidence, accuracy and log loss."""
    rows = []
    for m, error in calibrated(run, predicted).items():
        probabilities = predicted.probabilities[m]
        shares = (error, probabilities.max(axis=1).mean(), predicted.correct(m).mean())
        rows.append(
            [m, *map(percent, shares), f"{nll(probabilities, predicted.per_clip.targets):.3f}"]
        )
    return rows


def diagrams(run: ReadRun, predicted: ModelPredictions) -> list[Figure]:
    """Draw the reliability diagram of each model."""
    figures = []
    for m, error in calibrated(run, predicted).items():
        drawn = reliability(
            calibration_bins(predicted.probabilities[m], predicted.per_clip.targets),
            colour=colour_of(m, run.modalities),
            label=f"Reliability diagram of {m}: calibration error {percent(error)} per cent",
        )
        figures.append(Figure(f"{m}: ECE {percent(error)} %", drawn))
    return figures
