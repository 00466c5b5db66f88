"""The ensemble: a weighted mean of probabilities, weights chosen on validation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .metrics import nll

FloatArray = npt.NDArray[np.floating]


def ensemble_weights(
    probabilities: Sequence[FloatArray],
    targets: npt.NDArray[np.int64],
    present: npt.NDArray[np.bool_] | None = None,
    *,
    iterations: int = 500,
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
    present : array, optional
        (n, M) bool: which members can say something of a clip, at least one. Of the others the
        weights of a clip are shared out among these, in proportion; the problem is then no longer
        convex, and each iteration still lowers the NLL (minorisation: Hunter and Lange 2004, "A
        Tutorial on MM Algorithms").

    Returns
    -------
    array
        (M,) float64, summing to 1.
    """
    rows = np.arange(len(targets))
    # (M, n): what each member gives to the right class.
    right = np.stack([p[rows, targets] for p in probabilities]).astype(np.float64)
    right = np.maximum(right, 1e-12)
    there = np.ones(right.shape) if present is None else present.T.astype(np.float64)  # (M, n)
    right = right * there
    weights = np.full(len(right), 1.0 / len(right))
    for _ in range(iterations):
        shares = weights[:, None] * right
        known = np.maximum(weights @ there, 1e-12)  # (n,), 1 where every member is there
        gained = (shares / np.maximum(shares.sum(axis=0), 1e-300)).sum(axis=1)
        weights = gained / np.maximum((there / known).sum(axis=1), 1e-12)
        weights /= weights.sum()
    # EM only nears a corner; below a thousandth a member is out.
    weights = np.where(weights < 1e-3, 0.0, weights)
    weights /= weights.sum()
    candidates = [weights, *np.eye(len(right))]
    losses = [nll(mix(probabilities, w, present), targets) for w in candidates]
    best: npt.NDArray[np.float64] = candidates[int(np.argmin(losses))]
    return best


def mix(
    probabilities: Sequence[FloatArray],
    weights: npt.NDArray[np.float64],
    present: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.float64]:
    """Weighted mean of the members' probabilities, (n, C).

    With `present`, (n, M) bool, of the members that can say something of a clip. Where none of
    these has a weight, of all: they say what is said of a clip that nothing is known of.
    """
    members = np.stack(list(probabilities))  # (M, n, C)
    mixed: npt.NDArray[np.float64]
    if present is None:
        mixed = np.tensordot(weights, members, axes=1)
        return mixed
    own = weights * present  # (n, M)
    own = np.where(own.sum(axis=1, keepdims=True) > 0, own, weights)
    mixed = np.einsum("nm,mnc->nc", own / own.sum(axis=1, keepdims=True), members)
    return mixed
