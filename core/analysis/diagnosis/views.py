"""What the features themselves show, without any network: small pooled views of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...contracts import Modality
from ...data.features import Arrays, Indices

Floats = npt.NDArray[np.float64]

_BINS = {"channel": None, "statistic": None, "frequency": 32, "coefficient": 32}  # None keeps all
_OTHER_BINS = 8
_LARGEST = 4096  # values of a view
_CHUNK = 64
_FOLDS = 5
_RIDGES = 10.0 ** np.arange(-1, 6)


def pooled(modality: Modality, array: Arrays, clips: int) -> Floats:
    """A small view of each clip, (n, P): averages over parts of the array.

    Time is averaged away, mean and deviation over it kept; a frequency axis has 32 bins, an
    axis of statistics is kept, any other has 8 bins.
    """
    indices = np.arange(clips)
    rows = [
        _pool(array.take(indices[start : start + _CHUNK]).astype(np.float64), modality.axes)
        for start in range(0, clips, _CHUNK)
    ]
    return np.concatenate(rows)


def _pool(x: Floats, axes: tuple[str, ...]) -> Floats:
    if not axes:  # a table: every value is one
        return x.reshape(len(x), -1)[:, :_LARGEST]
    parts = [x]
    if "time" in axes:
        axis = axes.index("time") + 1
        parts = [x.mean(axis=axis, keepdims=True), x.std(axis=axis, keepdims=True)]
    return np.concatenate([_binned(p, axes) for p in parts], axis=1)[:, :_LARGEST]


def _binned(x: Floats, axes: tuple[str, ...]) -> Floats:
    """(B, *shape) -> (B, P)."""
    for axis, name in enumerate(axes, start=1):
        bins = _BINS.get(name, _OTHER_BINS)
        size = x.shape[axis]
        if bins is not None and size > bins:
            edges = np.linspace(0, size, bins + 1).round().astype(int)
            shape = [-1 if a == axis else 1 for a in range(x.ndim)]
            x = np.add.reduceat(x, edges[:-1], axis=axis) / np.diff(edges).reshape(shape)
    return x.reshape(len(x), -1)


def standardised(x: Floats, train: Indices) -> Floats:
    """By mean and deviation of the training clips; what never varies becomes 0."""
    mean, deviation = x[train].mean(axis=0), x[train].std(axis=0)
    varies = deviation > 1e-9 * np.maximum(1e-30, np.abs(mean))
    z: Floats = (x - mean) / np.where(varies, deviation, np.inf)
    return z


def ridge(x: Floats, y: Floats, test: Floats) -> Floats:
    """Ridge regression of `y` (n, T) on `x` (n, P), for the rows of `test`, (k, T).

    The penalty is the one with the smallest leave-one-out error, in closed form. The cost grows
    with the clips, not with their square: a view is small however many there are.
    """
    mean = y.mean(axis=0)
    left, sizes, right = np.linalg.svd(x, full_matrices=False)  # (n, r), (r,), (r, P)
    rotated = left.T @ (y - mean)
    best, coefficients = np.inf, np.zeros((x.shape[1], y.shape[1]))
    for penalty in _RIDGES:
        kept = sizes**2 / (sizes**2 + penalty)
        leverage = (left**2) @ kept
        residual = y - mean - left @ (kept[:, None] * rotated)
        residual /= (1 - leverage)[:, None].clip(min=1e-9)
        error = float((residual**2).mean())
        if error < best:
            best = error
            coefficients = right.T @ ((sizes / (sizes**2 + penalty))[:, None] * rotated)
    predicted: Floats = test @ coefficients + mean
    return predicted


def linear_predictions(
    x: Floats, targets: npt.NDArray[np.int64], classes: int, train: Indices, test: Indices
) -> npt.NDArray[np.int64]:
    """What a linear classifier on a view says about the clips `test`.

    Regression on indicators of the classes, each class weighing the same.
    """
    z = standardised(x, train)
    indicators = np.eye(classes)[targets[train]]
    predicted = ridge(z[train], indicators, z[test])
    said: npt.NDArray[np.int64] = predicted.argmax(axis=1)
    return said


def cross_validated(
    x: Floats, targets: npt.NDArray[np.int64], classes: int, indices: Indices
) -> npt.NDArray[np.int64]:
    """What linear classifiers say about the clips `indices`, each by one that has not seen it."""
    folds = np.random.default_rng(0).permutation(len(indices)) % _FOLDS
    said = np.empty(len(indices), np.int64)
    for fold in range(_FOLDS):
        test = folds == fold
        said[test] = linear_predictions(x, targets, classes, indices[~test], indices[test])
    return said


def retrieval_ranks(a: Floats, b: Floats, rng: np.random.Generator) -> Floats:
    """How well the clips of view `b` are found again from view `a`, (n,), each in [0, 1].

    The main components of `b` are regressed on `a`, five-fold. Of every clip: the share of the
    other clips whose `b` lies nearer to the prediction than its own does. Views of the same
    recordings share its length, level and voice, whatever the classes: the mean is near 0. It
    is 0.5 for pairs made at random.

    Parameters
    ----------
    a, b : array
        (n, P) and (n, Q), standardised.
    """
    n = len(a)
    folds = rng.permutation(n) % _FOLDS
    _, sizes, components = np.linalg.svd(b - b.mean(axis=0), full_matrices=False)
    kept = components[: min(16, int((sizes > 1e-9).sum()))]
    if not len(kept):
        return np.full(n, 0.5)
    wanted = (b - b.mean(axis=0)) @ kept.T
    wanted /= wanted.std(axis=0)
    ranks = np.full(n, 0.5)
    for fold in range(_FOLDS):
        test, train = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        predicted = ridge(a[train], wanted[train], a[test])  # (k, 16)
        error = ((wanted[test] - predicted) ** 2).mean(axis=0)
        # A component counts as far as it can be predicted at all.
        weights = (1 - error / wanted[test].var(axis=0).clip(min=1e-12)).clip(min=0)
        if not weights.any():
            continue
        distances = (((predicted[:, None] - wanted[test][None]) ** 2) * weights).sum(axis=2)
        own = np.diag(distances)
        nearer = (distances < own[:, None]).sum(axis=1)
        ranks[test] = nearer / max(1, len(test) - 1)
    return ranks
