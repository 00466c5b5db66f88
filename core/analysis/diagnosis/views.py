"""Small pooled views of the features, and linear models on them that need no network."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...contracts import Modality
from ...data.features import Arrays, Indices

Floats = npt.NDArray[np.float64]

_BINS = {"channel": None, "statistic": None, "frequency": 32, "coefficient": 32}  # None keeps all
_OTHER_BINS = 8
_LARGEST = 4096  # maximum number of values of a view
_CHUNK = 64
_FOLDS = 5
_RIDGES = 10.0 ** np.arange(-1, 6)


def pooled(modality: Modality, array: Arrays, clips: int) -> Floats:
    """Return a small view of each clip, (n, P), made of averages over parts of the array.

    A time axis is replaced by the mean and standard deviation over it. Frequency and coefficient
    axes are averaged into 32 bins and any other axis into 8. Channel and statistic axes keep their
    size.
    """
    indices = np.arange(clips)
    rows = [
        _pool(array.take(indices[start : start + _CHUNK]).astype(np.float64), modality.axes)
        for start in range(0, clips, _CHUNK)
    ]
    return np.concatenate(rows)


def _pool(x: Floats, axes: tuple[str, ...]) -> Floats:
    if not axes:  # a table: every value is a feature
        return x.reshape(len(x), -1)[:, :_LARGEST]
    parts = [x]
    if "time" in axes:
        axis = axes.index("time") + 1
        parts = [x.mean(axis=axis, keepdims=True), x.std(axis=axis, keepdims=True)]
    return np.concatenate([_binned(p, axes) for p in parts], axis=1)[:, :_LARGEST]


def _binned(x: Floats, axes: tuple[str, ...]) -> Floats:
    """Average each axis of (B, *shape) into bins, and flatten to (B, P)."""
    for axis, name in enumerate(axes, start=1):
        bins = _BINS.get(name, _OTHER_BINS)
        size = x.shape[axis]
        if bins is not None and size > bins:
            edges = np.linspace(0, size, bins + 1).round().astype(int)
            shape = [-1 if a == axis else 1 for a in range(x.ndim)]
            x = np.add.reduceat(x, edges[:-1], axis=axis) / np.diff(edges).reshape(shape)
    return x.reshape(len(x), -1)


def standardised(x: Floats, train: Indices) -> Floats:
    """Standardise by mean and deviation over the training clips; constant columns become 0."""
    mean, deviation = x[train].mean(axis=0), x[train].std(axis=0)
    varies = deviation > 1e-9 * np.maximum(1e-30, np.abs(mean))
    z: Floats = (x - mean) / np.where(varies, deviation, np.inf)
    return z


def ridge(x: Floats, y: Floats, test: Floats) -> Floats:
    """Fit ridge regression of `y` (n, T) on `x` (n, P), and return predictions for `test`, (k, T).

    The function chooses the penalty with the smallest leave-one-out error. This error has a closed
    form. The cost is linear in the number of clips, because the size P of a view does not grow with
    it.
    """
    mean = y.mean(axis=0)
    u, sizes, vt = np.linalg.svd(x, full_matrices=False)  # (n, r), (r,), (r, P)
    rotated = u.T @ (y - mean)
    best, coefficients = np.inf, np.zeros((x.shape[1], y.shape[1]))
    for penalty in _RIDGES:
        shrinkage = sizes**2 / (sizes**2 + penalty)
        leverage = (u**2) @ shrinkage
        residual = y - mean - u @ (shrinkage[:, None] * rotated)
        residual /= (1 - leverage)[:, None].clip(min=1e-9)
        error = float((residual**2).mean())
        if error < best:
            best = error
            coefficients = vt.T @ ((sizes / (sizes**2 + penalty))[:, None] * rotated)
    predicted: Floats = test @ coefficients + mean
    return predicted


def linear_predictions(
    x: Floats, targets: npt.NDArray[np.int64], classes: int, train: Indices, test: Indices
) -> npt.NDArray[np.int64]:
    """Fit a linear classifier on a view to the clips `train`, and predict the clips `test`.

    The classifier is a ridge regression on indicators of the classes, without class weights.
    """
    z = standardised(x, train)
    indicators = np.eye(classes)[targets[train]]
    scores = ridge(z[train], indicators, z[test])
    predicted: npt.NDArray[np.int64] = scores.argmax(axis=1)
    return predicted


def cross_validated(
    x: Floats, targets: npt.NDArray[np.int64], classes: int, indices: Indices
) -> npt.NDArray[np.int64]:
    """Return five-fold cross-validated predictions of a linear classifier for `indices`."""
    folds = np.random.default_rng(0).permutation(len(indices)) % _FOLDS
    predicted = np.empty(len(indices), np.int64)
    for fold in range(_FOLDS):
        test = folds == fold
        predicted[test] = linear_predictions(x, targets, classes, indices[~test], indices[test])
    return predicted


def retrieval_ranks(a: Floats, b: Floats, rng: np.random.Generator) -> Floats:
    """Return the retrieval rank of each clip in view `b` given its view `a`, (n,), in [0, 1].

    The up to 16 main components of `b` are regressed on `a` with five-fold cross-validation. The
    rank of a clip is the share of the other clips of its fold whose `b` is nearer to the prediction
    than the clip's own `b`. Both views of a recording depend on its length, level and voice, even
    within one class. The mean rank of correct pairs is therefore near 0. The mean rank of random
    pairs is 0.5.

    Parameters
    ----------
    a, b : array
        (n, P) and (n, Q), standardised.
    """
    n = len(a)
    folds = rng.permutation(n) % _FOLDS
    _, sizes, components = np.linalg.svd(b - b.mean(axis=0), full_matrices=False)
    main = components[: min(16, int((sizes > 1e-9).sum()))]
    if not len(main):
        return np.full(n, 0.5)
    wanted = (b - b.mean(axis=0)) @ main.T
    wanted /= wanted.std(axis=0)
    ranks = np.full(n, 0.5)
    for fold in range(_FOLDS):
        test, train = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        predicted = ridge(a[train], wanted[train], a[test])  # (k, 16)
        error = ((wanted[test] - predicted) ** 2).mean(axis=0)
        # A component is weighted by how well it can be predicted (R squared).
        weights = (1 - error / wanted[test].var(axis=0).clip(min=1e-12)).clip(min=0)
        if not weights.any():
            continue
        distances = (((predicted[:, None] - wanted[test][None]) ** 2) * weights).sum(axis=2)
        own = np.diag(distances)
        nearer = (distances < own[:, None]).sum(axis=1)
        ranks[test] = nearer / max(1, len(test) - 1)
    return ranks
