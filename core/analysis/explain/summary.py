"""Figures of an explanation: Shapley values, drops, and sums of gradients."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...data.dataset import RunData
from ...runs.outcome.results import finite
from ...runs.outcome.selection import uar_of
from ...toolkit.intervals import Comparison, Interval, jackknife_interval, paired_comparison
from ...toolkit.metrics import confusion_by_group, nll, uar
from ...toolkit.shapley import shapley_values
from .evidence import Evidence
from .groups import Group

Floats = npt.NDArray[np.floating]
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and sample standard deviation over permutations; the deviation of one value is NaN."""

    mean: float
    deviation: float


@dataclass(frozen=True, slots=True)
class Contribution:
    """Contribution of one group of input values, measured in three ways.

    Attributes
    ----------
    group : Group
        A modality, a part of a modality, or several parts pooled.
    uar_drop : Comparison
        UAR on the unchanged clips minus UAR with the group at its training mean; the interval
        resamples speakers. A positive drop means that the model is better with the group.
    log_probability_drop : float
        Drop of the mean log-probability of the true class, in nats, with the group at its mean.
    permuted_uar_drop, permuted_log_probability_drop : Spread
        The two drops if the group's values are permuted over the clips of a fold (Breiman 2001).
    signed : float
        Integrated gradients of the predicted class's log-probability, in nats, summed over the
        group and averaged over clips.
    absolute : float
        Absolute values of the integrated gradients, summed over the group and averaged over clips.
    share : float
        `absolute` as a share of the sum over all modalities, in [0, 1]; NaN if the sum is 0.
    """

    group: Group
    uar_drop: Comparison
    log_probability_drop: float
    permuted_uar_drop: Spread
    permuted_log_probability_drop: Spread
    signed: float
    absolute: float
    share: float


@dataclass(frozen=True, slots=True)
class Shares:
    """Shapley values of the modalities for the probability of one class per clip.

    Attributes
    ----------
    all, none : float
        Mean probability when the strategy sees all modalities, and when it sees none. The Shapley
        values sum to `all` minus `none`.
    values : dict
        Mean Shapley value over clips, by modality.
    by_class : dict
        Mean Shapley value over the clips of a class, by class and modality; a class without clips
        is left out.
    """

    all: float
    none: float
    values: dict[str, float]
    by_class: dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True)
class ClipRow:
    """Figures of one clip: Shapley values of two probabilities, and gradients by group title."""

    name: str
    corpus: str
    speaker: str
    fold: int
    label: str
    predicted: str
    probability_true: float
    probability_predicted: float
    shapley_true: dict[str, float]
    shapley_predicted: dict[str, float]
    gradients: dict[str, float]


@dataclass(frozen=True)
class Explanation:
    """Contributions of the modalities and their parts to the predictions of a run's models.

    Attributes
    ----------
    run, model, part : str
        The run directory; ``"fused"`` or the name of a modality; ``"val"`` or ``"test"``.
    folds, speakers, permutations : int
        Number of folds, of speakers in the explained clips, and of permutations.
    classes, modalities : tuple of str
        Names of the classes and modalities.
    uar : Interval
        UAR of the unchanged clips (0 to 1); the interval resamples speakers.
    log_probability : float
        Mean log-probability of the true class, in nats.
    uar_shapley : dict
        Shapley value for the UAR, by modality; the values sum to the UAR minus chance.
    true, predicted : Shares
        Shapley values for the probability of the true and of the most probable class.
    contributions : tuple of Contribution
        Each modality, followed by its parts.
    difference, gap, worst_gap : float
        Mean log-probability of the predicted class minus its value with all inputs at their
        training mean; mean and largest absolute error of the integrated gradients' sum.
    notes : tuple of str
        Caveats on the figures of the explanation.
    clips : tuple of ClipRow
        Rows of all clips, fold by fold.
    """

    run: str
    model: str
    part: str
    folds: int
    speakers: int
    permutations: int
    classes: tuple[str, ...]
    modalities: tuple[str, ...]
    uar: Interval
    log_probability: float
    uar_shapley: dict[str, float]
    true: Shares
    predicted: Shares
    contributions: tuple[Contribution, ...]
    difference: float
    gap: float
    worst_gap: float
    notes: tuple[str, ...]
    clips: tuple[ClipRow, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the contents of ``explain.json``; an undefined figure is None."""
        plain: dict[str, Any] = finite(asdict(self))
        for row, contribution in zip(plain["contributions"], self.contributions, strict=True):
            row["group"] = contribution.group.to_json()
        return {"format": FORMAT, **plain}


def summarise(
    data: RunData,
    evidence: Sequence[Evidence],
    groups: Sequence[Group],
    modalities: Sequence[str],
    **named: Any,
) -> Explanation:
    """Compute the figures of an explanation over the clips of all folds together.

    Parameters
    ----------
    data : RunData
        Clips, classes and targets of the run.
    evidence : sequence of Evidence
        One item per fold.
    groups : sequence of Group
        Groups in the order of the evidence.
    modalities : sequence of str
        Modalities of the explained model.
    named : dict
        Fields ``run``, ``model``, ``part`` and ``notes`` of the :class:`Explanation`.
    """
    indices = np.concatenate([e.indices for e in evidence])
    targets = data.targets[indices]
    speakers = np.array([f"{data.clips[i].corpus}/{data.clips[i].speaker}" for i in indices])
    log_probs = np.concatenate([e.log_probabilities for e in evidence])  # (n, C)
    predictions = log_probs.argmax(axis=1)
    confusion = confusion_by_group(targets, predictions, speakers, len(data.classes))
    true, per_clip_true = _shares(evidence, targets, modalities, data.classes)
    predicted, per_clip_predicted = _shares(evidence, predictions, modalities, data.classes)
    gap = np.abs(np.concatenate([e.gap for e in evidence]))
    return Explanation(
        folds=len(evidence),
        speakers=len(confusion),
        permutations=evidence[0].permuted.shape[1],
        classes=data.classes,
        modalities=tuple(modalities),
        uar=jackknife_interval(confusion, uar),
        log_probability=-nll(np.exp(log_probs), targets),
        uar_shapley=_uar_shapley(evidence, targets, modalities, len(data.classes)),
        true=true,
        predicted=predicted,
        contributions=tuple(_contributions(evidence, groups, targets, speakers, confusion)),
        difference=float(np.concatenate([e.difference for e in evidence]).mean()),
        gap=float(gap.mean()),
        worst_gap=float(gap.max()),
        clips=tuple(_rows(data, evidence, groups, per_clip_true, per_clip_predicted)),
        **named,
    )


# -- Shapley values of modalities ----------------------------------------------------


def _uar_shapley(
    evidence: Sequence[Evidence],
    targets: npt.NDArray[np.int64],
    modalities: Sequence[str],
    num_classes: int,
) -> dict[str, float]:
    """Return Shapley values for the UAR; the UAR of the empty set of modalities is chance."""

    def worth(members: Collection[str]) -> float:
        if not members:
            return 1.0 / num_classes
        rows = np.concatenate([e.subsets[frozenset(members)] for e in evidence])
        return uar_of(rows, targets, num_classes)

    return shapley_values(worth, modalities)


def probability_shapley(
    subsets: Mapping[frozenset[str], Floats],
    classes: npt.NDArray[np.integer],
    modalities: Sequence[str],
) -> dict[str, Floats]:
    """Return Shapley values (n,), by modality, for the probability of one class per clip."""

    def worth(members: Collection[str]) -> Floats:
        rows: Floats = subsets[frozenset(members)][np.arange(len(classes)), classes]
        return rows

    return shapley_values(worth, modalities)


def _shares(
    evidence: Sequence[Evidence],
    classes: npt.NDArray[np.integer],
    modalities: Sequence[str],
    names: Sequence[str],
) -> tuple[Shares, dict[str, Floats]]:
    """Return the mean Shapley values over clips, and the values of each clip."""
    subsets = {s: np.concatenate([e.subsets[s] for e in evidence]) for s in evidence[0].subsets}
    per_clip = probability_shapley(subsets, classes, modalities)
    rows = np.arange(len(classes))
    ends = [
        float(subsets[frozenset(s)][rows, classes].mean()) for s in (modalities, ())
    ]  # all, none
    by_class = {
        name: {m: float(v[classes == c].mean()) for m, v in per_clip.items()}
        for c, name in enumerate(names)
        if (classes == c).any()
    }
    values = {m: float(v.mean()) for m, v in per_clip.items()}
    return Shares(ends[0], ends[1], values, by_class), per_clip


# -- groups --------------------------------------------------------------------------


def _contributions(
    evidence: Sequence[Evidence],
    groups: Sequence[Group],
    targets: npt.NDArray[np.int64],
    speakers: npt.NDArray[Any],
    confusion: npt.NDArray[np.int64],
) -> list[Contribution]:
    """Return the contribution of each group."""
    num_classes = confusion.shape[-1]
    log_probs = np.concatenate([e.log_probabilities for e in evidence])
    left_out = np.concatenate([e.left_out for e in evidence], axis=1)  # (G, n, C)
    permuted = np.concatenate([e.permuted for e in evidence], axis=2)  # (G, R, n, C)
    signed = np.concatenate([e.signed for e in evidence], axis=1).mean(axis=1)  # (G,)
    absolute = np.concatenate([e.absolute for e in evidence], axis=1).mean(axis=1)
    total = sum(a for a, group in zip(absolute, groups, strict=True) if group.axis is None)
    score, likelihood = uar_of(log_probs, targets, num_classes), _likelihood(log_probs, targets)
    contributions: list[Contribution] = []
    for g, group in enumerate(groups):
        without = confusion_by_group(targets, left_out[g].argmax(axis=1), speakers, num_classes)
        contributions.append(
            Contribution(
                group,
                paired_comparison(confusion, without),
                likelihood - _likelihood(left_out[g], targets),
                _spread([score - uar_of(rows, targets, num_classes) for rows in permuted[g]]),
                _spread([likelihood - _likelihood(rows, targets) for rows in permuted[g]]),
                float(signed[g]),
                float(absolute[g]),
                float(absolute[g] / total) if total else float("nan"),
            )
        )
    return contributions


def _likelihood(log_probs: Floats, targets: npt.NDArray[np.int64]) -> float:
    """Return the mean log-probability of the true class, in nats."""
    return float(log_probs[np.arange(len(targets)), targets].mean())


def _spread(values: Sequence[float]) -> Spread:
    """Return mean and sample standard deviation of the values of all permutations."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    return Spread(float(np.mean(values)), deviation)


# -- clips ---------------------------------------------------------------------------


def _rows(
    data: RunData,
    evidence: Sequence[Evidence],
    groups: Sequence[Group],
    true: Mapping[str, Floats],
    predicted: Mapping[str, Floats],
) -> list[ClipRow]:
    """Return one row per clip, fold by fold."""
    rows: list[ClipRow] = []
    for fold, e in enumerate(evidence):
        for i, index in enumerate(e.indices):
            clip, target = data.clips[index], data.targets[index]
            best = int(e.log_probabilities[i].argmax())
            rows.append(
                ClipRow(
                    clip.name,
                    clip.corpus,
                    clip.speaker,
                    fold,
                    clip.label,
                    data.classes[best],
                    float(np.exp(e.log_probabilities[i, target])),
                    float(np.exp(e.log_probabilities[i, best])),
                    {m: float(v[len(rows)]) for m, v in true.items()},
                    {m: float(v[len(rows)]) for m, v in predicted.items()},
                    {g.title: float(e.signed[k, i]) for k, g in enumerate(groups)},
                )
            )
    return rows
