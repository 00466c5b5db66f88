"""Statistics of persistence diagrams: 26 numbers for a diagram of any number of bars."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ._compiled import compiled

LONGEST = 8  # bars whose lengths are listed one by one

STATISTICS = (
    "number of bars",
    "total persistence",
    "L2 norm of persistence",
    "persistent entropy",
    "mean persistence",
    "deviation of persistence",
    "mean midlife",
    "deviation of midlife",
    "weighted mean birth",
    "weighted mean death",
    "weighted mean midlife",
    "25th percentile of persistence",
    "50th percentile of persistence",
    "75th percentile of persistence",
    "90th percentile of persistence",
    "10th percentile of midlife",
    "50th percentile of midlife",
    "90th percentile of midlife",
    *(f"persistence of bar {place}" for place in range(1, LONGEST + 1)),
)


@compiled
def _percentile(ordered: npt.NDArray[np.float64], share: float) -> float:
    """Return a percentile by linear interpolation, numpy's default; `share` is in [0, 1]."""
    place = share * (len(ordered) - 1)
    below = int(place)
    if below + 1 == len(ordered):
        return float(ordered[below])
    return float(ordered[below] + (place - below) * (ordered[below + 1] - ordered[below]))


@compiled
def bar_statistics(bars: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the numbers that :data:`STATISTICS` names for one diagram.

    The persistence of a bar is the distance between its birth and its death. The midlife of a bar
    is the mean of its birth and its death. Each bar's weight is its share of the total persistence.
    The persistent entropy is the entropy of these shares, in nats (Atienza, Gonzalez-Diaz and
    Soriano-Trigueros 2020). Standard deviations divide by the number of bars. A diagram of fewer
    than eight bars is padded with lengths of 0.

    Parameters
    ----------
    bars : array
        (n, 2) float32 birth and death, finite, without bars of length 0; n may be 0.

    Returns
    -------
    array
        (26,) float32; all 0 if there are no bars.
    """
    statistics = np.zeros(26, np.float32)
    n = len(bars)
    if n == 0:
        return statistics
    length, midlife = np.empty(n), np.empty(n)
    total = squares = middle = 0.0
    for i in range(n):
        birth, death = np.float64(bars[i, 0]), np.float64(bars[i, 1])
        length[i], midlife[i] = abs(birth - death), (birth + death) / 2
        total += length[i]
        squares += length[i] ** 2
        middle += midlife[i]
    mean, middle = total / n, middle / n
    spread = middle_spread = entropy = births = deaths = 0.0
    for i in range(n):
        share = length[i] / total
        spread += (length[i] - mean) ** 2
        middle_spread += (midlife[i] - middle) ** 2
        entropy -= share * np.log(share)
        births += share * bars[i, 0]
        deaths += share * bars[i, 1]
    statistics[0], statistics[1], statistics[2], statistics[3] = n, total, np.sqrt(squares), entropy
    statistics[4], statistics[5] = mean, np.sqrt(spread / n)
    statistics[6], statistics[7] = middle, np.sqrt(middle_spread / n)
    statistics[8], statistics[9], statistics[10] = births, deaths, (births + deaths) / 2
    length.sort()
    midlife.sort()
    for place, share in enumerate((0.25, 0.5, 0.75, 0.9)):
        statistics[11 + place] = _percentile(length, share)
    for place, share in enumerate((0.1, 0.5, 0.9)):
        statistics[15 + place] = _percentile(midlife, share)
    for place in range(min(n, LONGEST)):
        statistics[18 + place] = length[n - 1 - place]
    return statistics
