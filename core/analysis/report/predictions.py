"""What the models answered on test: confusions, disagreements, speakers, corpora, calibration."""

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
from .run_data import Answers, ReadRun

_ALL_PATTERNS = 3  # modalities up to which every pattern of who is right is a row
BINS = 15
ENDS = 30  # of more than twice as many speakers


class Pattern(NamedTuple):
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


def oracle_uar(said: SavedPredictions, modalities: Sequence[str]) -> float:
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


def uar_by_speaker(said: SavedPredictions, model: str) -> Floats:
    """UAR over each speaker's own clips, (S,), speakers in sorted order."""
    return uar(said.confusions(model))


def uar_by_corpus(answers: Answers, model: str) -> dict[str, float]:
    """UAR over each corpus's clips."""
    said = answers.said
    speakers = np.unique(said.speakers)
    home = np.array([speaker.partition("/")[0] for speaker in speakers.tolist()])
    counts = said.confusions(model)  # (S, C, C)
    return {str(c): float(uar(counts[home == c].sum(axis=0))) for c in np.unique(home)}


# -- figures -------------------------------------------------------------------------


def stands_for_chosen(run: ReadRun) -> str:
    """Return the model that validation chose in every fold; empty where folds differ."""
    chosen = {fold.chosen for fold in run.selection.folds} if run.selection else set()
    return chosen.pop() if len(chosen) == 1 else ""


def disagreements(run: ReadRun, answers: Answers) -> list[list[str]]:
    """Return rows of who is right where the modalities disagree, and about all clips."""
    models, total = (FUSED, ENSEMBLE, CHOSEN), len(answers.said.targets)
    every = Pattern("all clips", total, {m: int(answers.right(m).sum()) for m in models})
    return [
        [name, str(clips), percent(clips / total)]
        + [f"{right[m]} ({percent(right[m] / clips)} %)" if clips else "" for m in models]
        for name, clips, right in (*who_is_right(answers, run.modalities, models), every)
    ]


def gains(run: ReadRun, answers: Answers) -> Floats:
    """Return what each speaker gains by fusion, (S,) UAR, speakers in sorted order."""
    single, fused = (uar_by_speaker(answers.said, m) for m in (run.results.best_single, FUSED))
    return fused - single


def speakers(run: ReadRun, answers: Answers) -> Markup:
    """Draw the scores of each speaker, who gains most on top; of many those at either end."""
    names = np.unique(answers.said.speakers)
    shown = np.argsort(-gains(run, answers), kind="stable")
    if len(shown) > 2 * ENDS:
        shown = np.concatenate([shown[:ENDS], shown[-ENDS:]])
    several = len(set(answers.corpora.tolist())) > 1
    return dot_rows(
        [str(n) if several else str(n).partition("/")[2] for n in names[shown]],
        [(m, mark, uar_by_speaker(answers.said, m)[shown]) for m, mark in speaker_marks(run)],
        label="UAR of each speaker",
        x="UAR of the speaker's clips (%)",
    )


def speaker_marks(run: ReadRun) -> list[tuple[str, Mark]]:
    """Return the legend of :func:`speakers`."""
    return [(m, dot_of(m, run.modalities)) for m in (run.results.best_single, FUSED)]


def corpora(run: ReadRun, answers: Answers) -> list[list[str]]:
    """Return rows of corpora: how many clips each has, and the models' scores on them."""
    by_model = [uar_by_corpus(answers, m) for m in run.models]
    clips = Counter(answers.corpora.tolist())
    return [[c, str(clips[c]), *(percent(uar[c]) for uar in by_model)] for c in by_model[0]]


def calibrated(run: ReadRun, answers: Answers) -> dict[str, float]:
    """Return the models whose calibration is shown, with their expected calibration errors."""
    chosen = [] if stands_for_chosen(run) else [CHOSEN]
    return {
        m: float(expected_calibration_error(answers.probabilities[m], answers.said.targets, BINS))
        for m in (run.results.best_single, FUSED, ENSEMBLE, *chosen)
    }


def calibration(run: ReadRun, answers: Answers) -> list[list[str]]:
    """Return rows of models: ECE, mean confidence, share of right answers, log loss."""
    rows = []
    for m, error in calibrated(run, answers).items():
        given = answers.probabilities[m]
        shares = (error, given.max(axis=1).mean(), answers.right(m).mean())
        rows.append([m, *map(percent, shares), f"{nll(given, answers.said.targets):.3f}"])
    return rows


def diagrams(run: ReadRun, answers: Answers) -> list[Figure]:
    """Draw the reliability of each model."""
    figures = []
    for m, error in calibrated(run, answers).items():
        drawn = reliability(
            calibration_bins(answers.probabilities[m], answers.said.targets),
            colour=colour_of(m, run.modalities),
            label=f"Reliability of {m}: calibration error {percent(error)} per cent",
        )
        figures.append(Figure(f"{m}: ECE {percent(error)} %", drawn))
    return figures
