"""Late fusion of trained members: the log-linear pool, and the mixture of probabilities.

Both choose their weights on clips that no member was trained on (validation).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from .metrics import nll

FloatArray = npt.NDArray[np.floating]

Rule = Literal["log-linear", "linear"]

RIDGE = 0.02  # of the pool, per squared unit of a weight; chosen in docs/methods.md
_LARGEST = 5.0  # weight of a member of the pool: five times as sure as it says it is
_SMALLEST = 1e-12  # probability whose logarithm is still taken


def pool_weights(
    probabilities: Sequence[FloatArray],
    targets: npt.NDArray[np.int64],
    present: npt.NDArray[np.bool_] | None = None,
    *,
    ridge: float = RIDGE,
) -> npt.NDArray[np.float64]:
    """Weights of the log-linear pool that minimise its NLL, pulled towards the best member alone.

    The objective is ``NLL(a) + ridge * |a - e|^2``, where e is 1 for the member with the lowest
    NLL and 0 for the others. It is convex: the pool is a softmax regression on the members'
    log-probabilities. The weights need not sum to 1. Their sum says how sure the pool is beside
    its members: above 1 members that agree are believed more than each of them alone.

    Parameters
    ----------
    probabilities : sequence of array
        One (n, C) per member, rows summing to 1.
    targets : array
        (n,) int64.
    present : array, optional
        (n, M) bool: which members know something of a clip. The others are left out for that
        clip (:func:`pool`).
    ridge : float
        Strength of the pull, >= 0.

    Returns
    -------
    array
        (M,) float64, each in [0, 5].

    References
    ----------
    Genest and Zidek (1986), "Combining Probability Distributions: A Critique and an Annotated
    Bibliography", Statistical Science 1(1). Hinton (2002), products of experts.
    """
    from scipy.optimize import minimize

    rows = np.arange(len(targets))
    logs = _logs(probabilities, present)  # (M, n, C)
    losses = [nll(p, targets) for p in probabilities]
    best = np.eye(len(logs))[int(np.argmin(losses))]

    def objective(weights: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        pooled = _normalised(np.tensordot(weights, logs, axes=1))  # (n, C) log-probabilities
        away = weights - best
        value = -pooled[rows, targets].mean() + ridge * away @ away
        expected = np.einsum("nc,mnc->mn", np.exp(pooled), logs)
        slope = (expected - logs[:, rows, targets]).mean(axis=1) + 2 * ridge * away
        return float(value), slope

    bounds = [(0.0, _LARGEST)] * len(logs)
    found = minimize(objective, best, jac=True, method="L-BFGS-B", bounds=bounds)
    weights: npt.NDArray[np.float64] = found.x
    return weights


def pool(
    probabilities: Sequence[FloatArray],
    weights: npt.NDArray[np.floating],
    present: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.float64]:
    """Log-linear pool of the members, (n, C): log p = sum over m of a_m log p_m, renormalised.

    With `present`, (n, M) bool, a member that knows nothing of a clip is left out. Where no
    member with a weight is left, all members count: they give the class shares of training for
    a clip that they know nothing of.
    """
    logs = _logs(probabilities, None)
    own = np.broadcast_to(np.asarray(weights, np.float64), (logs.shape[1], len(logs)))  # (n, M)
    if present is not None:
        kept = own * present
        own = np.where(kept.sum(axis=1, keepdims=True) > 0, kept, own)
    pooled: npt.NDArray[np.float64] = np.exp(_normalised(np.einsum("nm,mnc->nc", own, logs)))
    return pooled


def combine(
    rule: Rule,
    probabilities: Sequence[FloatArray],
    weights: npt.NDArray[np.float64],
    present: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.float64]:
    """Combine members by the log-linear pool, or by the weighted mean of probabilities, (n, C)."""
    if rule == "linear":
        return mix(probabilities, weights / weights.sum(), present)
    return pool(probabilities, weights, present)


def _logs(
    probabilities: Sequence[FloatArray], present: npt.NDArray[np.bool_] | None
) -> npt.NDArray[np.float64]:
    """Log-probabilities (M, n, C); 0 for all classes where a member is left out."""
    logs: npt.NDArray[np.float64] = np.log(
        np.maximum(np.stack(list(probabilities)).astype(np.float64), _SMALLEST)
    )
    return logs if present is None else logs * present.T[:, :, None]


def _normalised(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Log-softmax over the last axis."""
    from scipy.special import logsumexp

    normalised: npt.NDArray[np.float64] = scores - logsumexp(scores, axis=-1, keepdims=True)
    return normalised


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
