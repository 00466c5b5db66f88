"""Metrics of predictions: UAR, accuracy, macro-F1, likelihood, calibration.

UAR, accuracy and macro-F1 accept batches of confusion matrices, because the jackknife and the
permutation test of :mod:`fusion.core.toolkit.intervals` need thousands of matrices.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Smaller probabilities of the true class are raised to this value. A clip therefore costs at most
# 27.64 nats.
_TINY = 1e-12


def confusion_by_group(
    targets: npt.NDArray[np.integer],
    predictions: npt.NDArray[np.integer],
    groups: npt.NDArray[Any],
    num_classes: int,
) -> npt.NDArray[np.int64]:
    """Return one confusion matrix per group.

    Parameters
    ----------
    targets, predictions : array of int [shape=(n,)]
        True and predicted class of each clip, in [0, `num_classes`).
    groups : array [shape=(n,)]
        The group (speaker) of each clip, of any sortable type.
    num_classes : int > 0
        Number of classes C.

    Returns
    -------
    array of int64 [shape=(S, C, C)]
        Counts; rows are the truth, columns the prediction. Groups are in sorted order.

    Raises
    ------
    ValueError
        If the arrays differ in length or a class is out of range.
    """
    targets, predictions, groups = map(np.asarray, (targets, predictions, groups))
    if not targets.shape == predictions.shape == groups.shape or targets.ndim != 1:
        raise ValueError(
            "targets, predictions and groups must have the same shape (n,), "
            f"and have {targets.shape}, {predictions.shape} and {groups.shape}."
        )
    for name, classes in (("targets", targets), ("predictions", predictions)):
        # A class out of range would be counted silently in another cell.
        if classes.size and not 0 <= classes.min() <= classes.max() < num_classes:
            raise ValueError(
                f"{name} must be in [0, {num_classes}), "
                f"and range from {classes.min()} to {classes.max()}."
            )
    names, index = np.unique(groups, return_inverse=True)
    cells = (index * num_classes + targets) * num_classes + predictions
    counts = np.bincount(cells.astype(np.int64), minlength=len(names) * num_classes**2)
    return counts.astype(np.int64).reshape(len(names), num_classes, num_classes)


def confusion_matrix(
    targets: npt.NDArray[np.integer], predictions: npt.NDArray[np.integer], num_classes: int
) -> npt.NDArray[np.int64]:
    """Return the confusion matrix of all clips, (C, C) int64; see :func:`confusion_by_group`."""
    together = np.zeros(len(targets), dtype=np.int64)
    matrix: npt.NDArray[np.int64] = confusion_by_group(targets, predictions, together, num_classes)[
        0
    ]
    return matrix


def uar(confusion: npt.NDArray[Any]) -> Floats:
    """Return the unweighted average recall (UAR), also called balanced accuracy.

    Parameters
    ----------
    confusion : array [shape=(..., C, C)]
        Counts >= 0; rows are the truth.

    Returns
    -------
    array of float64 [shape=(...)]
        Mean recall over the classes that occur in the truth, in [0, 1]; NaN if none does.
    """
    support = confusion.sum(axis=-1)  # (..., C)
    return _mean_ratio(_hits(confusion), support)


def accuracy(confusion: npt.NDArray[Any]) -> Floats:
    """Return the share of correctly classified clips (weighted accuracy, WA).

    Parameters
    ----------
    confusion : array [shape=(..., C, C)]
        Counts >= 0; rows are the truth.

    Returns
    -------
    array of float64 [shape=(...)]
        In [0, 1]; NaN without clips.
    """
    return _ratio(_hits(confusion).sum(axis=-1), confusion.sum(axis=(-2, -1)))


def macro_f1(confusion: npt.NDArray[Any]) -> Floats:
    """Return the unweighted mean of the F1 scores of the classes.

    Parameters
    ----------
    confusion : array [shape=(..., C, C)]
        Counts >= 0; rows are the truth.

    Returns
    -------
    array of float64 [shape=(...)]
        Mean F1 over the classes that occur in truth or prediction, in [0, 1]; NaN if none does.
    """
    either = confusion.sum(axis=-1) + confusion.sum(axis=-2)  # (..., C): 2 TP + FP + FN
    return _mean_ratio(2 * _hits(confusion), either)


def nll(probabilities: npt.NDArray[np.floating], targets: npt.NDArray[np.integer]) -> float:
    """Return the mean negative log-likelihood of the true classes, in nats.

    Parameters
    ----------
    probabilities : array [shape=(n, C)]
        Rows sum to 1. Values below 1e-12 count as 1e-12.
    targets : array of int [shape=(n,)]
        True classes.

    Returns
    -------
    float
        In [0, 27.7]; NaN without clips.
    """
    if not len(targets):
        return float("nan")
    right = np.asarray(probabilities, dtype=np.float64)[np.arange(len(targets)), targets]
    return float(-np.log(np.maximum(right, _TINY)).mean())


def expected_calibration_error(
    probabilities: npt.NDArray[np.floating], targets: npt.NDArray[np.integer], bins: int = 15
) -> float:
    """Return the mean absolute difference between confidence and accuracy over clips.

    Clips are divided into `bins` intervals ((b - 1) / bins, b / bins] of equal width by the
    probability of their most probable class (Guo et al. 2017, *On Calibration of Modern
    Neural Networks*, eq. 5). The estimate is biased upwards if bins have few clips.

    Parameters
    ----------
    probabilities : array [shape=(n, C)]
        Rows sum to 1.
    targets : array of int [shape=(n,)]
        True classes.
    bins : int > 0
        Number of intervals.

    Returns
    -------
    float
        In [0, 1]; NaN without clips.
    """
    if not len(targets):
        return float("nan")
    confidence, right, index = confidence_bins(probabilities, targets, bins)
    # Over a bin of n_b clips, n_b * |accuracy - confidence| = |sum of (right - confidence)|.
    gaps = np.bincount(index, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(targets))


def confidence_bins(
    probabilities: npt.NDArray[np.floating], targets: npt.NDArray[np.integer], bins: int
) -> tuple[Floats, npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Return confidence, correctness of the prediction, and bin of each clip, (n,) each.

    The bins are those of :func:`expected_calibration_error`.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == targets
    index = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    return confidence, right, index


def entropy(probabilities: npt.NDArray[np.floating]) -> Floats:
    """Return the Shannon entropy of each distribution, in nats.

    Parameters
    ----------
    probabilities : array [shape=(..., C)]
        Values >= 0 that sum to 1 over the last axis.

    Returns
    -------
    array of float64 [shape=(...)]
        In [0, ln C].
    """
    p = np.asarray(probabilities, dtype=np.float64)
    logs = np.log(p, out=np.zeros_like(p), where=p > 0)  # 0 ln 0 = 0
    # Adding 0 turns the -0.0 of a one-hot distribution into 0.0.
    total: Floats = -(p * logs).sum(axis=-1) + 0.0
    return total


def _hits(confusion: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the numbers of correct predictions by class, (..., C), of matrices (..., C, C)."""
    return np.diagonal(confusion, axis1=-2, axis2=-1)


def _ratio(numerator: npt.NDArray[Any], denominator: npt.NDArray[Any]) -> Floats:
    """Return the quotient, NaN if the denominator is 0."""
    denominator = np.asarray(denominator)
    quotient = np.full(denominator.shape, np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient


def _mean_ratio(numerator: npt.NDArray[Any], denominator: npt.NDArray[Any]) -> Floats:
    """Return the mean quotient over the last axis, ignoring entries with denominator 0."""
    counted = denominator > 0
    quotient = np.divide(numerator, denominator, out=np.zeros(counted.shape), where=counted)
    return _ratio(quotient.sum(axis=-1), counted.sum(axis=-1))
