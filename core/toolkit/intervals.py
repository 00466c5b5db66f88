"""How sure a score is: intervals and tests that take speakers, not clips, as the units.

Clips of one speaker resemble each other, so the number of independent observations is the
number of speakers. Everything here resamples or permutes whole speakers. Two things follow:

* With few speakers little can be shown, however many clips there are. Two models compared on
  S speakers can't reach a p-value below 2 / 2**S: four speakers never give p < 0.125, six are
  the fewest that can give p < 0.05.
* The figures hold for the models as they were trained. They cover which speakers happened to
  be tested, not the luck of the training's seed; and in cross-validation the models of
  different folds share training data, which no resampling of the test speakers shows.

``scipy.stats.bootstrap`` and ``permutation_test`` are what the tests compare with, and don't serve
here: resamples in which a class is missing would make their interval nan, they draw other random
numbers, and they take differences as unequal that differ by rounding alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .metrics import Floats, uar

Statistic = Callable[[npt.NDArray[Any]], Floats]

# Up to this many groups, every way to swap is tried.
_EXACT_GROUPS = 14
_RANDOM_SWAPS = 10_000
# Swaps done at once: bounds memory where groups are many.
_BLOCK = 1024
# Equal differences come out unequal by rounding; real ones are never this close.
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Interval:
    """A score and where it may lie for other speakers.

    Attributes
    ----------
    value : float
        The statistic over all groups; nan where it is undefined.
    low, high : float
        Ends of the interval; nan with fewer than two groups.
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
    """The difference between two models on the same clips.

    Attributes
    ----------
    difference : float
        Statistic of the first model minus statistic of the second.
    low, high : float
        Ends of its bootstrap interval; nan with fewer than two groups.
    p_value : float
        Two-sided, in (0, 1]; nan where the difference is undefined.
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
    """Percentile interval of a statistic, resampling groups with replacement.

    The percentile method is that of Efron and Tibshirani (1993), *An Introduction to the
    Bootstrap*, ch. 13; resampling whole clusters is studied by Field and Welsh (2007),
    *Bootstrapping clustered data*, JRSS B 69.

    Parameters
    ----------
    confusions : array of int [shape=(S, C, C)]
        One confusion matrix per group, as
        :func:`~fusion.core.toolkit.metrics.confusion_by_group` makes them.
    statistic : callable
        (R, C, C) -> (R,), e.g. :func:`~fusion.core.toolkit.metrics.uar`. Resamples in which it is
        nan are ignored.
    level : float
        Nominal coverage, in (0, 1).
    resamples : int > 0
        Number of resamples, R.
    seed : int >= 0
        Same seed, same interval.

    Returns
    -------
    Interval

    Notes
    -----
    With few groups the interval is too narrow. For simulated speakers with 42 clips of 6 classes
    each, an interval of nominal 95 % held the true UAR in 82 % of trials with 4 speakers, 85 %
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

    The interval is the percentile interval of :func:`bootstrap_interval` for the difference,
    with the same resamples for both models. The p-value is that of a permutation test: if the
    models are equally good, then for each group it is a coin's toss which one's predictions are
    called `a`. All 2**S ways to swap them are tried for S <= 14 groups, and 10,000 random ones
    for more. (Good 2005, *Permutation, Parametric and Bootstrap Tests of Hypotheses*, ch. 3.
    With random swaps the actual labelling is counted as one of them, since a permutation p-value
    is never zero: Phipson and Smyth 2010, *Statistical Applications in Genetics and Molecular
    Biology* 9(1):39.)

    Parameters
    ----------
    a, b : array of int [shape=(S, C, C)]
        Confusion matrices of the two models, groups in the same order.
    statistic : callable
        (R, C, C) -> (R,).
    level : float
        Nominal coverage of the interval, in (0, 1).
    resamples : int > 0
        Number of bootstrap resamples.
    seed : int >= 0
        Same seed, same result.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        If `a` and `b` are not about the same clips: their row sums differ.

    Notes
    -----
    The smallest p-value that S groups can give is 2 / 2**S, because a swap of all groups turns
    the difference around and is as extreme. Below six groups p < 0.05 is out of reach.
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
    """Adjust p-values for having made several comparisons.

    Rejecting where the adjusted value is below a level keeps the chance of any false rejection
    below that level, whatever the dependence between the tests (Holm 1979, *A simple
    sequentially rejective multiple test procedure*, Scandinavian Journal of Statistics 6).

    Parameters
    ----------
    p_values : sequence of float [shape=(m,)]
        In [0, 1]; a nan stays nan and still counts as a test.

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
    """How often each group was drawn in each resample, (R, S)."""
    if groups == 0:
        return np.zeros((resamples, 0), dtype=np.int64)
    rng = np.random.default_rng(seed)
    return rng.multinomial(groups, np.full(groups, 1.0 / groups), size=resamples)


def _resampled(confusions: npt.NDArray[np.integer], counts: npt.NDArray[np.int64]) -> Floats:
    """Sum of the drawn groups' matrices: (S, C, C), (R, S) -> (R, C, C)."""
    # Products of float64 are fast and, for whole numbers below 2**53, exact.
    summed: Floats = np.tensordot(counts.astype(np.float64), confusions.astype(np.float64), axes=1)
    return summed


def _ends(values: Floats, level: float, groups: int) -> tuple[float, float]:
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
    if np.isnan(difference):
        return float("nan")
    exact = len(a) <= _EXACT_GROUPS
    together = (a + b).sum(axis=0)  # (C, C): the same whatever is swapped
    extreme = total = 0
    for swapped in _all_swaps(len(a)) if exact else _random_swaps(len(a), seed):
        first = a.sum(axis=0) + _resampled(b - a, swapped)  # (R, C, C)
        differences = statistic(first) - statistic(together - first)
        extreme += int(np.sum(np.abs(differences) >= abs(difference) - _ROUNDING))
        total += len(swapped)
    return extreme / total if exact else (1 + extreme) / (1 + total)


def _all_swaps(groups: int) -> Iterator[npt.NDArray[np.int64]]:
    """Every row of `groups` zeros and ones, in blocks (R, S); 1 swaps the group."""
    for start in range(0, 2**groups, _BLOCK):
        numbers = np.arange(start, min(start + _BLOCK, 2**groups))
        yield numbers[:, None] >> np.arange(groups) & 1


def _random_swaps(groups: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    for start in range(0, _RANDOM_SWAPS, _BLOCK):
        yield rng.integers(0, 2, size=(min(_BLOCK, _RANDOM_SWAPS - start), groups))
