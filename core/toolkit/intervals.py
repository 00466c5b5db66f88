"""Confidence intervals and paired tests of scores, with speakers as the units.

Clips of one speaker resemble each other, so the number of independent observations is the
number of speakers. The intervals and tests of this module leave out or permute whole speakers, with
two consequences:

* Few speakers prove little, even with many clips. A comparison of two models on S speakers can't
  have a p-value below 2 / 2**S: four speakers never give p < 0.125, and six are the fewest that
  can give p < 0.05.
* The intervals and p-values hold for the models as they were trained. Intervals and p-values cover
  the random choice of test speakers, but not the random seed of the training. In cross-validation,
  models of different folds also share training data. Leaving out test speakers does not cover that
  dependence.

``benchmarks/interval_coverage.py`` simulates how often the intervals contain the true value. The
tests compare the p-values with ``scipy.stats.permutation_test``. The scipy function itself is not
used, because its random numbers differ, and because its tolerance for rounding errors is relative,
and is therefore 0 for an observed difference of 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .metrics import Floats, uar

Statistic = Callable[[npt.NDArray[Any]], Floats]

# With at most this many groups, all swaps are tried.
_EXACT_GROUPS = 14
_RANDOM_SWAPS = 10_000
# Swaps computed at once, which bounds the memory for many groups.
_BLOCK = 1024
# Equal differences may deviate by rounding errors. Unequal differences are never this close.
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Interval:
    """Score with a confidence interval over speakers.

    Attributes
    ----------
    value : float
        The statistic over all groups; NaN if undefined.
    low, high : float
        Ends of the interval; NaN with fewer than two groups.
    level : float
        Nominal coverage, in (0, 1).
    groups : int
        Number of groups (speakers).
    """

    value: float
    low: float
    high: float
    level: float
    groups: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Difference between two models on the same clips.

    Attributes
    ----------
    difference : float
        Statistic of the first model minus statistic of the second.
    low, high : float
        Ends of the interval of `difference`; NaN with fewer than two groups. The interval contains
        0 whenever the p-value is at least 1 - `level`.
    p_value : float
        Two-sided p-value, in (0, 1]; NaN if the difference is undefined.
    groups : int
        Number of groups (speakers).
    level : float
        Nominal coverage of the interval, in (0, 1).
    """

    difference: float
    low: float
    high: float
    p_value: float
    groups: int
    level: float


def jackknife_interval(
    confusions: npt.NDArray[np.integer], statistic: Statistic = uar, *, level: float = 0.95
) -> Interval:
    """Return the jackknife interval of a score, leaving out one group at a time.

    The standard error is that of the delete-one-group jackknife (Efron and Stein 1981, *The
    jackknife estimate of variance*, Annals of Statistics 9). The error is computed for the
    log-odds of the score, which keeps the interval within [0, 1]. The quantile is that of Student's
    t. The degrees of freedom are the harmonic mean of S - 1 and E - 1, at least 1, where E is the
    effective number of groups, (sum of w)**2 / sum of w**2 for w clips in a group (Kish 1965,
    *Survey Sampling*). Groups of very different sizes thus give a wider interval.

    Parameters
    ----------
    confusions : array of int [shape=(S, ..., C, C)]
        One confusion matrix per group, as
        :func:`~fusion.core.toolkit.metrics.confusion_by_group` returns them.
    statistic : callable
        Function from confusion matrices (R, ..., C, C) to scores (R,) in [0, 1], e.g.
        :func:`~fusion.core.toolkit.metrics.uar`.
    level : float
        Nominal coverage, in (0, 1).

    Returns
    -------
    Interval
        The ends are NaN if the score is undefined without one of the groups.

    Notes
    -----
    A score of 0 or 1 counts as half a clip more or less. For simulated speakers, intervals of 95 %
    contain the true UAR in 93 to 97 % of trials with 3 to 30 speakers
    (docs/concepts/rules-of-evidence.md).
    """
    confusions = _with_clips(confusions)
    groups, clips = len(confusions), _clips(confusions)
    total = confusions.sum(axis=0)
    value = float(statistic(total[None])[0])
    half_a_clip = 0.5 / max(1.0, clips.sum())

    def log_odds(scores: Floats) -> Floats:
        inside = np.clip(scores, half_a_clip, 1 - half_a_clip)
        odds: Floats = np.log(inside / (1 - inside))
        return odds

    without = log_odds(statistic(total - confusions))  # (S,)
    half = _half_width(without, clips, level)
    middle = float(log_odds(np.array(value)))
    low, high = (1 / (1 + np.exp(-(middle + sign * half))) for sign in (-1, 1))
    if np.isnan(half):
        return Interval(value, float("nan"), float("nan"), level, groups)
    return Interval(value, min(float(low), value), max(float(high), value), level, groups)


def paired_comparison(
    a: npt.NDArray[np.integer],
    b: npt.NDArray[np.integer],
    statistic: Statistic = uar,
    *,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Compare two models on the same clips of the same groups.

    The interval is that of :func:`jackknife_interval` for the difference of the scores, without
    log-odds: both models lose the same group. The p-value is that of a permutation test. If the
    models are equally good, the predictions of the two models can be swapped in any group without
    changing the distribution of the difference. All 2**S swaps are tried for up to 14 groups, and
    10,000 random swaps for more (Good 2005, *Permutation, Parametric and Bootstrap Tests of
    Hypotheses*, ch. 3). The original labelling counts as one of the random swaps, because a
    permutation p-value is never zero (Phipson and Smyth 2010, *Statistical Applications in Genetics
    and Molecular Biology* 9(1):39).

    Parameters
    ----------
    a, b : array of int [shape=(S, C, C)]
        Confusion matrices of the two models, groups in the same order.
    statistic : callable
        Function from confusion matrices (R, C, C) to scores (R,).
    level : float
        Nominal coverage of the interval, in (0, 1).
    seed : int >= 0
        Seed of the random swaps; the same seed gives the same result.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        If `a` and `b` are not of the same clips, that is, if their row sums differ.

    Notes
    -----
    The smallest possible p-value with S groups is 2 / 2**S, because a swap of all groups negates
    the difference and is equally extreme. With fewer than six groups p < 0.05 is impossible.

    The p-value decides. If it is at least 1 - `level`, an interval without 0 is extended to 0.
    If it is below, the interval may contain 0: the permutation test assumes equal models, and the
    interval does not. In simulations without a difference this occurs in at most 2 % of trials.
    """
    if a.shape != b.shape or not np.array_equal(a.sum(axis=-1), b.sum(axis=-1)):
        raise ValueError(
            "A paired comparison needs both models' predictions for the same clips of the same "
            "groups; the number of clips by group and class differs."
        )
    difference = float((statistic(a.sum(axis=0)[None]) - statistic(b.sum(axis=0)[None]))[0])
    p_value = _permutation_p(a, b, statistic, difference, seed)
    one, other = _with_clips(a), _with_clips(b)
    without = statistic(one.sum(axis=0) - one) - statistic(other.sum(axis=0) - other)  # (S,)
    half = _half_width(without, _clips(one), level)
    low, high = max(-1.0, difference - half), min(1.0, difference + half)
    if p_value >= 1 - level:
        low, high = min(low, 0.0), max(high, 0.0)
    if np.isnan(half):
        low = high = float("nan")
    return Comparison(difference, low, high, p_value, len(a), level)


def holm(p_values: Sequence[float] | Floats) -> Floats:
    """Adjust p-values for multiple comparisons by the method of Holm.

    If every hypothesis whose adjusted value is below a level is rejected, the probability of any
    false rejection is below that level. The tests may depend on each other in any way (Holm 1979,
    *A simple sequentially rejective multiple test procedure*, Scandinavian Journal of Statistics
    6).

    Parameters
    ----------
    p_values : sequence of float [shape=(m,)]
        P-values in [0, 1]. NaN stays NaN and still counts as a test.

    Returns
    -------
    array of float64 [shape=(m,)]
        Adjusted values in the given order, at most 1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)  # nan last
    steps = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


# -- the jackknife -------------------------------------------------------------------


def _with_clips(confusions: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """Return the groups that have clips."""
    return confusions[_clips(confusions) > 0]


def _clips(confusions: npt.NDArray[np.integer]) -> Floats:
    """Return the number of clips of each group, (S,)."""
    summed: Floats = confusions.sum(axis=tuple(range(1, confusions.ndim)), dtype=np.float64)
    return summed


def _half_width(without: Floats, clips: Floats, level: float) -> float:
    """Return half the width of the interval: quantile times standard error; NaN if undefined.

    Parameters
    ----------
    without : array of float64 [shape=(S,)]
        The statistic without each group.
    clips : array of float64 [shape=(S,)]
        Number of clips of each group.
    """
    from scipy.special import stdtrit  # lazy: commands that print no interval need no scipy

    groups = len(without)
    if groups < 2 or np.isnan(without).any():
        return float("nan")
    deviations = without - without.mean()
    error = np.sqrt((groups - 1) / groups * np.sum(deviations**2))
    if error < _ROUNDING:  # equal for all groups
        return 0.0
    effective = clips.sum() ** 2 / np.sum(clips**2)
    # The harmonic mean of groups - 1 and effective - 1, which may be 0.
    freedom = 2 * (groups - 1) * (effective - 1) / (groups + effective - 2)
    return float(stdtrit(max(1.0, freedom), (1 + level) / 2) * error)


# -- the permutation test ------------------------------------------------------------


def _permutation_p(
    a: npt.NDArray[np.integer],
    b: npt.NDArray[np.integer],
    statistic: Statistic,
    difference: float,
    seed: int,
) -> float:
    """Return the two-sided p-value of the permutation test."""
    if np.isnan(difference):
        return float("nan")
    exact = len(a) <= _EXACT_GROUPS
    together = (a + b).sum(axis=0)  # (C, C): independent of the swaps
    extreme = total = 0
    for swapped in _all_swaps(len(a)) if exact else _random_swaps(len(a), seed):
        # float64 products are fast, and exact for integers below 2**53.
        change = np.tensordot(swapped.astype(np.float64), (b - a).astype(np.float64), axes=1)
        first = a.sum(axis=0) + change  # (R, C, C)
        differences = statistic(first) - statistic(together - first)
        extreme += int(np.sum(np.abs(differences) >= abs(difference) - _ROUNDING))
        total += len(swapped)
    return extreme / total if exact else (1 + extreme) / (1 + total)


def _all_swaps(groups: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield all rows of zeros and ones in blocks (R, S); 1 means that the group is swapped."""
    for start in range(0, 2**groups, _BLOCK):
        numbers = np.arange(start, min(start + _BLOCK, 2**groups))
        yield numbers[:, None] >> np.arange(groups) & 1


def _random_swaps(groups: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield random rows of zeros and ones in blocks (R, S)."""
    rng = np.random.default_rng(seed)
    for start in range(0, _RANDOM_SWAPS, _BLOCK):
        yield rng.integers(0, 2, size=(min(_BLOCK, _RANDOM_SWAPS - start), groups))
