"""From a model's answers to figures: Shapley values, drops, and sums of gradients."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...data.dataset import RunData
from ...runs.outcome.results import finite
from ...runs.outcome.selection import uar_of
from ...toolkit.intervals import Comparison, Interval, bootstrap_interval, paired_comparison
from ...toolkit.metrics import confusion_by_group, nll, uar
from ...toolkit.shapley import shapley_values
from .evidence import Evidence
from .groups import Group

Floats = npt.NDArray[np.floating]
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and standard deviation over permutations; the latter is nan with one of them."""

    mean: float
    deviation: float


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one group of input values brings, in three ways.

    Attributes
    ----------
    group : Group
        A modality, a part of it, or several parts together.
    uar_drop : Comparison
        UAR of the clips as they are minus UAR with the group at its training mean; the interval
        resamples speakers. Positive: the model is better with the group.
    log_probability_drop : float
        The same of the mean log-probability of the true class, in nats.
    permuted_uar_drop, permuted_log_probability_drop : Spread
        The same with the group taken from another clip of the part (Breiman 2001).
    signed : float
        Integrated gradients of the predicted class's log-probability, in nats, summed over the
        group, averaged over clips.
    absolute : float
        The same, summed without their signs.
    share : float
        `absolute` as a share of the sum over all modalities, in [0, 1]; nan where that is 0.
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
        Mean probability when the strategy sees all modalities, and when it sees none: the
        values sum to their difference.
    values : dict
        Modality -> mean over clips.
    by_class : dict
        Class -> modality -> mean over the clips of which it is that class; a class that no clip
        has is left out.
    """

    all: float
    none: float
    values: dict[str, float]
    by_class: dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True)
class ClipRow:
    """One clip: Shapley values for two probabilities, and gradients by group (their titles)."""

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
    """What the modalities and their parts bring to a run's models.

    Attributes
    ----------
    run, model, part : str
        The run directory; ``"fused"`` or a modality; ``"val"`` or ``"test"``.
    folds, speakers, permutations : int
        How many.
    classes, modalities : tuple of str
        Names.
    uar : Interval
        Of the clips as they are; its interval resamples speakers.
    log_probability : float
        Mean of the true class, in nats.
    uar_shapley : dict
        Modality -> Shapley value for the UAR; they sum to the UAR minus chance.
    true, predicted : Shares
        Shapley values for the probability of the true and of the most probable class.
    contributions : tuple of Contribution
        Each modality, followed by its parts.
    difference, gap, worst_gap : float
        Mean log-probability of the predicted class minus that of inputs at their training mean;
        mean and largest amount by which the integrated gradients of a clip miss it.
    notes : tuple of str
        What a reader has to know about these figures.
    clips : tuple of ClipRow
        Every clip, fold by fold.
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
        """Plain values; an undefined figure is None."""
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
    """Figures over the clips of all folds together.

    Parameters
    ----------
    evidence : sequence of Evidence
        One per fold.
    named : dict
        ``run``, ``model``, ``part`` and ``notes`` of the :class:`Explanation`.
    """
    indices = np.concatenate([e.indices for e in evidence])
    targets = data.targets[indices]
    speakers = np.array([f"{data.clips[i].corpus}/{data.clips[i].speaker}" for i in indices])
    said = np.concatenate([e.said for e in evidence])  # (n, C)
    predictions = said.argmax(axis=1)
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
        uar=bootstrap_interval(confusion, uar),
        log_probability=-nll(np.exp(said), targets),
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
    """Value of each set of modalities, as `runs.outcome.attribution` has it; of none, chance."""

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
    """Shapley value of each modality for the probability of each clip's own class, (n,)."""

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
    """Means over clips, and each clip's own values."""
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
    num_classes = confusion.shape[-1]
    said = np.concatenate([e.said for e in evidence])
    left = np.concatenate([e.left_out for e in evidence], axis=1)  # (G, n, C)
    permuted = np.concatenate([e.permuted for e in evidence], axis=2)  # (G, R, n, C)
    signed = np.concatenate([e.signed for e in evidence], axis=1).mean(axis=1)  # (G,)
    absolute = np.concatenate([e.absolute for e in evidence], axis=1).mean(axis=1)
    total = sum(a for a, group in zip(absolute, groups, strict=True) if group.axis is None)
    score, likelihood = uar_of(said, targets, num_classes), _likelihood(said, targets)
    found: list[Contribution] = []
    for g, group in enumerate(groups):
        without = confusion_by_group(targets, left[g].argmax(axis=1), speakers, num_classes)
        found.append(
            Contribution(
                group,
                paired_comparison(confusion, without),
                likelihood - _likelihood(left[g], targets),
                _spread([score - uar_of(rows, targets, num_classes) for rows in permuted[g]]),
                _spread([likelihood - _likelihood(rows, targets) for rows in permuted[g]]),
                float(signed[g]),
                float(absolute[g]),
                float(absolute[g] / total) if total else float("nan"),
            )
        )
    return found


def _likelihood(said: Floats, targets: npt.NDArray[np.int64]) -> float:
    """Mean log-probability of the true class."""
    return float(said[np.arange(len(targets)), targets].mean())


def _spread(values: Sequence[float]) -> Spread:
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
    rows: list[ClipRow] = []
    for fold, answers in enumerate(evidence):
        for i, index in enumerate(answers.indices):
            clip, target = data.clips[index], data.targets[index]
            best = int(answers.said[i].argmax())
            rows.append(
                ClipRow(
                    clip.name,
                    clip.corpus,
                    clip.speaker,
                    fold,
                    clip.label,
                    data.classes[best],
                    float(np.exp(answers.said[i, target])),
                    float(np.exp(answers.said[i, best])),
                    {m: float(v[len(rows)]) for m, v in true.items()},
                    {m: float(v[len(rows)]) for m, v in predicted.items()},
                    {g.title: float(answers.signed[k, i]) for k, g in enumerate(groups)},
                )
            )
    return rows
