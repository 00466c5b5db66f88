"""Coverage of the intervals, and false positives of the paired test, by simulation.

python benchmarks/interval_coverage.py [--trials 1000] [--seed 11]

Speakers are simulated with clips of 6 classes. The log-odds of a right answer vary by class, by
speaker, and by speaker and class; two models share the difficulty of each speaker. In each trial
new speakers are drawn. The table says how often 95 % intervals contain the true value: for the UAR
of one model, and for the difference between two models that are equal or not. "uneven": the number
of clips of a speaker varies by a factor of 2 around its mean (log-normal), "very uneven" by 3.5.

Intervals from a bootstrap over speakers are computed from the same trials, for comparison:
percentile, BCa (Efron 1987, Better bootstrap confidence intervals, JASA 82) and studentised
(Efron and Tibshirani 1993, An Introduction to the Bootstrap, ch. 12).
"""

from __future__ import annotations

import argparse
import itertools
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from fusion.core.toolkit.intervals import jackknife_interval, paired_comparison
from fusion.core.toolkit.metrics import uar

Array = npt.NDArray[Any]
Ends = tuple[float, float]

SPEAKERS = (3, 6, 10, 18, 30)
# Spread of the logarithm of a speaker's number of clips.
SIZES = {"balanced": 0.0, "uneven": math.log(2), "very uneven": math.log(3.5)}
CLASSES = 6
CLIPS = 7  # of each class and speaker, on average
BETTER = 0.4  # log-odds by which the second of two different models is better
RESAMPLES = 1000
POPULATION = 200_000


def simulate(rng: np.random.Generator, speakers: int, spread: float, better: float) -> Array:
    """Return confusion matrices of two models on the same clips, (2, S, C, C)."""
    chances = chance_of_each(rng, speakers, better)  # (2, S, C)
    sizes = np.exp(rng.normal(-(spread**2) / 2, spread, speakers))
    clips = np.maximum(1, np.round(CLIPS * sizes)).astype(np.int64)[:, None]  # (S, 1)
    hits = rng.binomial(clips, chances)
    tables = np.zeros((2, speakers, CLASSES, CLASSES), dtype=np.int64)
    for c in range(CLASSES):
        tables[:, :, c, c] = hits[:, :, c]
        tables[:, :, c, (c + 1) % CLASSES] = clips[:, 0] - hits[:, :, c]
    return tables


def chance_of_each(rng: np.random.Generator, speakers: int, better: float) -> Array:
    """Return the probability of a right answer by model, speaker and class, (2, S, C)."""
    by_class = np.linspace(-0.6, 1.4, CLASSES)
    speaker = rng.normal(0, 0.6, (1, speakers, 1))
    own = rng.normal(0, 0.3, (2, speakers, 1)) + rng.normal(0, 0.5, (2, speakers, CLASSES))
    log_odds = by_class + speaker + own + np.array([0.0, better])[:, None, None]
    return 1 / (1 + np.exp(-log_odds))


def truth(better: float) -> Array:
    """Return the UAR of both models over all speakers, (2,)."""
    return chance_of_each(np.random.default_rng(1), POPULATION, better).mean(axis=(1, 2))


# -- bootstraps, for comparison ------------------------------------------------------


def bootstraps(rng: np.random.Generator, score: Callable[[Array], Array], groups: int) -> Any:
    """Return the ends of each bootstrap's interval; `score` maps weights (R, S) to (R,)."""
    counts = rng.multinomial(groups, np.full(groups, 1 / groups), size=RESAMPLES)
    values = score(counts)
    value = float(score(np.ones((1, groups)))[0])
    without = score(1 - np.eye(groups))
    yield "percentile", tuple(np.quantile(values, [0.025, 0.975]))
    yield "BCa", bca(values, value, without)
    yield "studentised", studentised(counts, values, value, without, score)


def bca(values: Array, value: float, without: Array) -> Ends:
    share = (np.mean(values < value) + np.mean(values <= value)) / 2
    bias = ndtri(np.clip(share, 1e-4, 1 - 1e-4))
    pull = without.mean() - without
    squares = np.sum(pull**2)
    acceleration = np.sum(pull**3) / (6 * squares**1.5) if squares > 1e-12 else 0.0
    z = bias + ndtri(np.array([0.025, 0.975]))
    shares = ndtr(bias + z / np.maximum(1 - acceleration * z, 1e-6))
    low, high = np.quantile(values, np.clip(shares, 0, 1))
    return low, high


def studentised(
    counts: Array, values: Array, value: float, without: Array, score: Callable[[Array], Array]
) -> Ends:
    """Return the interval of the bootstrap's t-statistic, with jackknife errors."""
    groups = counts.shape[1]

    left_out = np.stack(
        [score(np.maximum(counts - (np.arange(groups) == g), 0)) for g in range(groups)], axis=-1
    )  # (R, S): without one draw of each group
    errors = np.sqrt(
        (groups - 1) / groups * np.sum(counts * (left_out - values[:, None]) ** 2, axis=1)
    )
    t = (values - value)[errors > 0] / errors[errors > 0]
    if not t.size:
        return value, value
    low, high = np.quantile(t, [0.025, 0.975])
    error = math.sqrt((groups - 1) * without.var())  # of the jackknife
    return value - high * error, value - low * error


# -- trials --------------------------------------------------------------------------


def cell(seed: int, speakers: int, spread: float, trials: int) -> dict[str, float]:
    """Return shares of trials: coverage by method, and outcomes of the paired test."""
    counts: dict[str, int] = {}

    def count(name: str, is_so: bool) -> None:
        counts[name] = counts.get(name, 0) + bool(is_so)

    for better in (0.0, BETTER):
        true = truth(better)
        rng = np.random.default_rng([seed, speakers, round(100 * spread), round(10 * better)])
        name = "equal" if not better else "different"
        for _ in range(trials):
            a, b = simulate(rng, speakers, spread, better)
            compared = paired_comparison(a, b)
            gap = true[0] - true[1] if better else 0.0
            count(name, compared.low <= gap <= compared.high)
            if not better:
                count("p < 0.05", compared.p_value < 0.05)
                inside = compared.low <= 0 <= compared.high
                count("p < 0.05, 0 inside", compared.p_value < 0.05 and inside)
                count("p >= 0.05, 0 outside", compared.p_value >= 0.05 and not inside)
                continue
            interval = jackknife_interval(a)
            count("score", interval.low <= true[0] <= interval.high)
            for method, (low, high) in bootstraps(rng, scores_of(a), speakers):
                count(f"score, {method}", low <= true[0] <= high)
            for method, (low, high) in bootstraps(rng, scores_of(a, b), speakers):
                count(f"different, {method}", low <= gap <= high)
    return {name: number / trials for name, number in counts.items()}


def scores_of(a: Array, b: Array | None = None) -> Callable[[Array], Array]:
    """Return the function from weights of speakers, (R, S), to UARs or their differences, (R,)."""
    if b is None:
        return lambda weights: uar(np.tensordot(weights, a, axes=1))
    return lambda weights: (
        uar(np.tensordot(weights, a, axes=1)) - uar(np.tensordot(weights, b, axes=1))
    )


def rows(seed: int, trials: int) -> Iterator[str]:
    """Yield both tables in Markdown; the figures are percentages."""
    cells: dict[tuple[str, int], dict[str, float]] = {}
    yield "| clips | speakers | score | difference | difference of equal models | p < 0.05 | " \
          "p < 0.05, 0 inside | p >= 0.05, 0 outside |"  # fmt: skip
    yield "|---|---|---|---|---|---|---|---|"
    figures = ("score", "different", "equal", "p < 0.05", "p < 0.05, 0 inside",
               "p >= 0.05, 0 outside")  # fmt: skip
    for size, s in itertools.product(SIZES, SPEAKERS):
        shares = cells[size, s] = cell(seed, s, SIZES[size], trials)
        yield f"| {size} | {s} | " + " | ".join(f"{100 * shares[f]:.1f}" for f in figures) + " |"
    yield ""
    methods = ("percentile", "BCa", "studentised")
    yield (
        "| clips | speakers | "
        + " | ".join(f"score, {m} | difference, {m}" for m in methods)
        + " |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for (size, s), shares in cells.items():
        pairs = (f"{100 * shares[f'{kind}, {m}']:.1f}" for m in methods for kind in
                 ("score", "different"))  # fmt: skip
        yield f"| {size} | {s} | " + " | ".join(pairs) + " |"
    error = 100 * math.sqrt(0.05 * 0.95 / trials)
    yield f"\n{trials} trials for each figure: standard error of 95 % {error:.1f} points"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args()
    warnings.simplefilter("ignore", RuntimeWarning)  # resamples without clips of a class
    for row in rows(options.seed, options.trials):
        print(row, flush=True)


if __name__ == "__main__":
    main()
