"""Log-linear pools and linear heads that show which part of a fused model loses points.

Every pool is evaluated on clips that were not used to fit its weights: one validation speaker is
left out at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...toolkit.ensemble import FloatArray, pool, pool_weights
from .views import Floats

_PARTS = 5  # cross-validation parts if there is only one speaker
_SMALLEST = 1e-12
_STEPS = 300  # iterations of the solver

Flags = npt.NDArray[np.bool_]
Targets = npt.NDArray[np.int64]


@dataclass(frozen=True)
class HeldOutPool:
    """Log-linear pool that predicts only speakers to whose clips its weights were not fitted.

    Attributes
    ----------
    probabilities : array
        (n, C) predictions of the pool.
    shares : array
        (M,): mean effective share of each member in the scores of the pool.
    """

    probabilities: Floats
    shares: Floats


def held_out_pool(
    members: Sequence[FloatArray],
    targets: Targets,
    speakers: npt.NDArray[Any],
    present: Flags | None = None,
) -> HeldOutPool:
    """Predict the clips of each speaker with a pool that is fitted to all other speakers.

    If there is only one speaker, the clips are divided into five parts instead of by speaker.

    Parameters
    ----------
    members : sequence of array
        Probabilities of each member, (n, C).
    targets : array
        (n,) class of each clip.
    speakers : array
        (n,) speaker of each clip.
    present : array, optional
        (n, M): whether the clip has the member's modality, so that the member can predict the clip.
    """
    groups = np.unique(speakers, return_inverse=True)[1]
    if groups.max(initial=0) == 0:
        groups = np.arange(len(targets)) % _PARTS
    probabilities = np.empty(members[0].shape, np.float64)
    shares = np.empty((len(targets), len(members)), np.float64)
    for group in np.unique(groups):
        out = groups == group
        fit, evaluate = ([p[rows] for p in members] for rows in (~out, out))
        flags = None if present is None else present[~out]
        weights = pool_weights(fit, targets[~out], flags)
        flags = None if present is None else present[out]
        probabilities[out] = pool(evaluate, weights, flags)
        shares[out] = _shares_of(evaluate, weights, flags)
    return HeldOutPool(probabilities, shares.mean(axis=0))


def measured_shares(
    fused: FloatArray, members: Sequence[FloatArray], present: Flags | None = None
) -> Floats:
    """Return the effective share of each member in the fused scores, (M,).

    The function is for strategies that report no weights. The function regresses the
    log-probabilities of the fused model on the log-probabilities of the members, with non-negative
    weights. All log-probabilities are centred over classes.
    """
    from scipy.optimize import nnls

    parts = _centred(members, present)  # (M, n, C)
    wanted = _centred([fused], None)[0]
    weights, _ = nnls(parts.reshape(len(parts), -1).T, wanted.ravel())
    shares: Floats = _shares_of(members, weights, present).mean(axis=0)
    return shares


def _shares_of(members: Sequence[FloatArray], weights: Floats, present: Flags | None) -> Floats:
    """Return the norm of each member's part of the scores, divided by the sum of norms, (n, M)."""
    sizes = weights * np.linalg.norm(_centred(members, present), axis=2).T  # (n, M)
    total = sizes.sum(axis=1, keepdims=True)
    equal = 1 / len(members)
    shares: Floats = np.where(total > _SMALLEST, sizes / np.maximum(total, _SMALLEST), equal)
    return shares


def _centred(members: Sequence[FloatArray], present: Flags | None) -> Floats:
    """Return log-probabilities minus their mean over classes, (M, n, C); 0 for absent members."""
    logs = np.log(np.maximum(np.stack(list(members)).astype(np.float64), _SMALLEST))
    logs -= logs.mean(axis=2, keepdims=True)
    centred: Floats = logs if present is None else logs * present.T[:, :, None]
    return centred


def linear_head(x: Floats, targets: Targets, classes: int, test: Floats) -> Floats:
    """Train a regularised logistic regression and return its probabilities for `test`, (k, C).

    The objective is the class-balanced loss summed over clips, plus half the squared weights. The
    problem is convex, so the result depends only on the clips.

    Parameters
    ----------
    x, test : array
        (n, P) and (k, P) embeddings. This function standardises both by the n training clips.
    targets : array
        (n,) class of each training clip.
    classes : int
        Number of classes C.
    """
    from scipy.optimize import minimize
    from scipy.special import logsumexp, softmax

    mean, deviation = x.mean(axis=0), x.std(axis=0)
    scale = np.where(deviation > 1e-9, deviation, np.inf)
    z, z_test = (x - mean) / scale, (test - mean) / scale
    wanted = np.eye(classes)[targets]
    counts = wanted.sum(axis=0)
    importance = (len(targets) / (np.count_nonzero(counts) * np.maximum(counts, 1)))[targets]

    def objective(flat: Floats) -> tuple[float, Floats]:
        weights = flat.reshape(classes, -1)  # the last column is the bias
        scores = z @ weights[:, :-1].T + weights[:, -1]
        logs = scores - logsumexp(scores, axis=1, keepdims=True)
        away = importance[:, None] * (np.exp(logs) - wanted)
        slope = np.concatenate([away.T @ z + weights[:, :-1], away.sum(axis=0)[:, None]], axis=1)
        loss = -(importance * (wanted * logs).sum(axis=1)).sum()
        return float(loss + 0.5 * (weights[:, :-1] ** 2).sum()), slope.ravel()

    start = np.zeros(classes * (z.shape[1] + 1))
    solution = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": _STEPS})
    weights = solution.x.reshape(classes, -1)
    probabilities: Floats = softmax(z_test @ weights[:, :-1].T + weights[:, -1], axis=1)
    return probabilities
