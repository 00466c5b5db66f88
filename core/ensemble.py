"""The ensemble: a weighted mean of probabilities, weights chosen on validation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .metrics import nll

FloatArray = npt.NDArray[np.floating]


def ensemble_weights(
    probabilities: Sequence[FloatArray], targets: npt.NDArray[np.int64], *, iterations: int = 500
) -> npt.NDArray[np.float64]:
    """Weights on the simplex that minimise the NLL of the weighted mean of probabilities.

    The problem is convex; expectation-maximisation for mixture weights (Dempster, Laird and
    Rubin 1977) reaches its minimum. The corners (one member alone) are compared as well, so
    the result is never worse on these clips than the best member.

    Parameters
    ----------
    probabilities : sequence of array
        One (n, C) per member.
    targets : array
        (n,) int64.

    Returns
    -------
    array
        (M,) float64, summing to 1.
    """
    rows = np.arange(len(targets))
    # (M, n): what each member gives to the right class.
    right = np.stack([p[rows, targets] for p in probabilities]).astype(np.float64)
    right = np.maximum(right, 1e-12)
    weights = np.full(len(right), 1.0 / len(right))
    for _ in range(iterations):
        shares = weights[:, None] * right
        weights = (shares / shares.sum(axis=0)).mean(axis=1)
    # EM only nears a corner; below a thousandth a member is out.
    weights = np.where(weights < 1e-3, 0.0, weights)
    weights /= weights.sum()
    candidates = [weights, *np.eye(len(right))]
    losses = [nll(mix(probabilities, w), targets) for w in candidates]
    best: npt.NDArray[np.float64] = candidates[int(np.argmin(losses))]
    return best


def mix(
    probabilities: Sequence[FloatArray], weights: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Weighted mean of the members' probabilities, (n, C)."""
    mixed: npt.NDArray[np.float64] = np.tensordot(weights, np.stack(list(probabilities)), axes=1)
    return mixed
