"""Confidence intervals and paired tests of scores, with speakers as the units.

Clips of one speaker resemble each other, so the number of independent observations is the
number of speakers. The intervals and tests of this module resample or permute
whole speakers, with two consequences:

* Few speakers prove little, even with many clips. A comparison of two models on S speakers can't
  have a p-value below 2 / 2**S: four speakers never give p < 0.125, and six are the fewest that
  can give p < 0.05.
* The intervals and p-values hold for the models as they were trained. Intervals and p-values cover
  the random choice of test speakers, but not the random seed of the training. In cross-validation,
  models of different folds also share training data. Resampling test speakers does not cover that
  dependence.

The tests compare this module with ``scipy.stats.bootstrap`` and ``permutation_test``. The scipy
functions themselves are not used, for three reasons. Resamples without a class make the interval of
scipy NaN. The random numbers of scipy differ. The tolerance of scipy for rounding errors is
relative, and is therefore 0 for an observed difference of 0.
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
        Ends of the bootstrap interval of `difference`; NaN with fewer than two groups.
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


def bootstrap_interval(
    confusions: npt.NDArray[np.integer],
    statistic: Statistic = uar,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return the percentile interval of a statistic, resampling groups with replacement.

    The percentile method is that of Efron and Tibshirani (1993), *An Introduction to the
    Bootstrap*, ch. 13. Field and Welsh (2007), *Bootstrapping clustered data*, JRSS B 69, studied
    resampling of whole clusters.

    Parameters
    ----------
    confusions : array of int [shape=(S, C, C)]
        One confusion matrix per group, as
        :func:`~fusion.core.toolkit.metrics.confusion_by_group` returns them.
    statistic : callable
        Function from confusion matrices (R, C, C) to scores (R,), e.g.
        :func:`~fusion.core.toolkit.metrics.uar`. Resamples whose score is NaN are ignored.
    level : float
        Nominal coverage, in (0, 1).
    resamples : int > 0
        Number of resamples, R.
    seed : int >= 0
        Seed of the resamples; the same seed gives the same interval.

    Returns
    -------
    Interval

    Notes
    -----
    With few groups the interval is too narrow. For simulated speakers with 42 clips of 6 classes
    each, an interval of nominal 95 % contained the true UAR in 82 % of trials with 4 speakers, 85 %
    with 6, 91 % with 10 and 93 to 94 % with 18 to 50.
    """
    groups = len(confusions)
    value = float(statistic(confusions.sum(axis=0)[None])[0])
    values = statistic(_resampled(confusions, _counts(groups, resamples, seed)))
    low, high = _ends(values, level, groups)
    return Interval(value, low, high, level, groups)


def paired_comparison(
    a: npt.NDArray[np.integer],
    b: npt.NDArray[np.integer],
    statistic: Statistic = uar,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compare two models on the same clips of the same groups.

    The interval is the percentile interval of :func:`bootstrap_interval` for the difference, with
    the same resamples for both models. The p-value is that of a permutation test. If the models are
    equally good, the predictions of the two models can be swapped in any group without changing the
    distribution of the difference. All 2**S swaps are tried for up to 14 groups, and 10,000 random
    swaps for more (Good 2005, *Permutation, Parametric and Bootstrap Tests of Hypotheses*, ch. 3).
    The original labelling counts as one of the random swaps, because a permutation p-value is never
    zero (Phipson and Smyth 2010, *Statistical Applications in Genetics and Molecular Biology*
    9(1):39).

    Parameters
    ----------
    a, b : array of int [shape=(S, C, C)]
        Confusion matrices of the two models, groups in the same order.
    statistic : callable
        Function from confusion matrices (R, C, C) to scores (R,).
    level : float
        Nominal coverage of the interval, in (0, 1).
    resamples : int > 0
        Number of bootstrap resamples.
    seed : int >= 0
        Seed of resamples and swaps; the same seed gives the same result.

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
    """
    if a.shape != b.shape or not np.array_equal(a.sum(axis=-1), b.sum(axis=-1)):
        raise ValueError(
            "A paired comparison needs both models' predictions for the same clips of the same "
            "groups; the number of clips by group and class differs."
        )
    groups = len(a)
    difference = float((statistic(a.sum(axis=0)[None]) - statistic(b.sum(axis=0)[None]))[0])
    counts = _counts(groups, resamples, seed)
    values = statistic(_resampled(a, counts)) - statistic(_resampled(b, counts))
    low, high = _ends(values, level, groups)
    p_value = _permutation_p(a, b, statistic, difference, seed)
    return Comparison(difference, low, high, p_value, groups, level)


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


# -- the bootstrap -------------------------------------------------------------------


def _counts(groups: int, resamples: int, seed: int) -> npt.NDArray[np.int64]:
    """Return how often each group is drawn in each resample, (R, S)."""
    if groups == 0:
        return np.zeros((resamples, 0), dtype=np.int64)
    rng = np.random.default_rng(seed)
    return rng.multinomial(groups, np.full(groups, 1.0 / groups), size=resamples)


def _resampled(confusions: npt.NDArray[np.integer], counts: npt.NDArray[np.int64]) -> Floats:
    """Return the sum of the matrices, (S, C, C), weighted by `counts`, (R, S): (R, C, C)."""
    # float64 products are fast, and exact for integers below 2**53.
    summed: Floats = np.tensordot(counts.astype(np.float64), confusions.astype(np.float64), axes=1)
    return summed


def _ends(values: Floats, level: float, groups: int) -> tuple[float, float]:
    """Return the ends of the percentile interval, NaN if undefined."""
    defined = values[~np.isnan(values)]
    if groups < 2 or not defined.size:
        return float("nan"), float("nan")
    tail = (1 - level) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)


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
        first = a.sum(axis=0) + _resampled(b - a, swapped)  # (R, C, C)
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
