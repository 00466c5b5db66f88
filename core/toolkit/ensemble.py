"""Late fusion of trained models (members) by a log-linear pool or a mixture of probabilities.

The weights of pool and mixture are fitted to clips that no member was trained on (validation
clips).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from .metrics import nll

FloatArray = npt.NDArray[np.floating]

Rule = Literal["log-linear", "linear"]

# Penalty of the pool per squared unit of a weight (docs/concepts/training-protocol.md).
RIDGE = 0.02
_LARGEST = 5.0  # maximum weight, which multiplies a member's log-probabilities
_SMALLEST = 1e-12  # smaller probabilities are raised to this value before the logarithm


def pool_weights(
    probabilities: Sequence[FloatArray],
    targets: npt.NDArray[np.int64],
    present: npt.NDArray[np.bool_] | None = None,
    *,
    ridge: float = RIDGE,
) -> npt.NDArray[np.float64]:
    """Return the weights of the log-linear pool that minimise its penalised NLL.

    The objective is ``NLL(a) + ridge * |a - e|^2``, where e is 1 for the member with the lowest NLL
    and 0 for all other members. The penalty thus pulls the weights towards the best member alone.
    The objective is convex, because the pool is a softmax regression on the members'
    log-probabilities. The weights need not sum to 1: with a sum above 1, the pool of members that
    agree is more confident than each of them.

    Parameters
    ----------
    probabilities : sequence of array
        One (n, C) per member, rows summing to 1.
    targets : array
        (n,) int64, class of each clip.
    present : array, optional
        (n, M) bool: whether a member has its modality in a clip. Absent members are left out for
        that clip (:func:`pool`).
    ridge : float
        Strength of the penalty, >= 0.

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
    solution = minimize(objective, best, jac=True, method="L-BFGS-B", bounds=bounds)
    weights: npt.NDArray[np.float64] = solution.x
    return weights


def pool(
    probabilities: Sequence[FloatArray],
    weights: npt.NDArray[np.floating],
    present: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.float64]:
    """Return the log-linear pool, (n, C): log p = sum over m of a_m log p_m, renormalised.

    With `present`, (n, M) bool, members whose modality is absent from a clip are left out for that
    clip. If no member with a positive weight remains, all members are used. For such a clip, the
    members predict the class frequencies of training.
    """
    logs = _logs(probabilities, None)
    clip_weights = np.broadcast_to(
        np.asarray(weights, np.float64), (logs.shape[1], len(logs))
    )  # (n, M)
    if present is not None:
        present_weights = clip_weights * present
        clip_weights = np.where(
            present_weights.sum(axis=1, keepdims=True) > 0, present_weights, clip_weights
        )
    pooled: npt.NDArray[np.float64] = np.exp(
        _normalised(np.einsum("nm,mnc->nc", clip_weights, logs))
    )
    return pooled


def combine(
    rule: Rule,
    probabilities: Sequence[FloatArray],
    weights: npt.NDArray[np.float64],
    present: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.float64]:
    """Combine members by the log-linear pool or the weighted mean of probabilities, (n, C)."""
    if rule == "linear":
        return mix(probabilities, weights / weights.sum(), present)
    return pool(probabilities, weights, present)


def _logs(
    probabilities: Sequence[FloatArray], present: npt.NDArray[np.bool_] | None
) -> npt.NDArray[np.float64]:
    """Return log-probabilities (M, n, C); 0 for all classes if a member is left out."""
    logs: npt.NDArray[np.float64] = np.log(
        np.maximum(np.stack(list(probabilities)).astype(np.float64), _SMALLEST)
    )
    return logs if present is None else logs * present.T[:, :, None]


def _normalised(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the log-softmax over the last axis."""
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
    """Return the weights on the simplex that minimise the NLL of the mean of probabilities.

    The problem is convex, and expectation-maximisation for mixture weights (Dempster, Laird and
    Rubin 1977) converges to its minimum. The corners of the simplex (one member alone) are compared
    as well. The result is therefore never worse than the best member on the given clips.

    Parameters
    ----------
    probabilities : sequence of array
        One (n, C) per member.
    targets : array
        (n,) int64, class of each clip.
    present : array, optional
        (n, M) bool: whether a member has its modality in a clip; at least one per clip. The
        weights of absent members are divided among the present members in proportion. The problem
        is then no longer convex, but each iteration still lowers the NLL (minorisation: Hunter and
        Lange 2004, "A Tutorial on MM Algorithms").
    iterations : int
        Number of iterations.

    Returns
    -------
    array
        (M,) float64, summing to 1.
    """
    rows = np.arange(len(targets))
    # (M, n): probability that each member gives to the true class.
    right = np.stack([p[rows, targets] for p in probabilities]).astype(np.float64)
    right = np.maximum(right, 1e-12)
    flags = np.ones(right.shape) if present is None else present.T.astype(np.float64)  # (M, n)
    right = right * flags
    weights = np.full(len(right), 1.0 / len(right))
    for _ in range(iterations):
        shares = weights[:, None] * right
        total_weight = np.maximum(weights @ flags, 1e-12)  # (n,), 1 if every member is present
        gained = (shares / np.maximum(shares.sum(axis=0), 1e-300)).sum(axis=1)
        weights = gained / np.maximum((flags / total_weight).sum(axis=1), 1e-12)
        weights /= weights.sum()
    # EM only approaches a corner, so weights below a thousandth are set to 0.
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
    """Return the weighted mean of the members' probabilities, (n, C).

    With `present`, (n, M) bool, the mean is over the members whose modality is present in a clip.
    If none of these members has a positive weight, the mean is over all members. For such a clip,
    the members predict the class frequencies of training.
    """
    members = np.stack(list(probabilities))  # (M, n, C)
    mixed: npt.NDArray[np.float64]
    if present is None:
        mixed = np.tensordot(weights, members, axes=1)
        return mixed
    clip_weights = weights * present  # (n, M)
    clip_weights = np.where(clip_weights.sum(axis=1, keepdims=True) > 0, clip_weights, weights)
    mixed = np.einsum("nm,mnc->nc", clip_weights / clip_weights.sum(axis=1, keepdims=True), members)
    return mixed
