from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
)

from fusion.core.toolkit.metrics import (
    accuracy,
    confusion_by_group,
    entropy,
    expected_calibration_error,
    macro_f1,
    nll,
    uar,
)

# Rows are the true class: 3 of class 0 are right, 2 of class 1, and 1 of class 2.
HAND = np.array([[3, 1, 0], [2, 2, 0], [0, 1, 1]])

confusions = hnp.arrays(np.int64, (4, 4), elements=st.integers(0, 20))


@st.composite
def predictions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n = draw(st.integers(1, 40))
    column = st.lists(st.integers(0, 3), min_size=n, max_size=n)
    return tuple(np.array(draw(column)) for _ in range(3))  # type: ignore[return-value]


def test_scores_of_a_matrix_by_hand():
    assert uar(HAND) == pytest.approx((3 / 4 + 2 / 4 + 1 / 2) / 3)
    assert accuracy(HAND) == pytest.approx(6 / 10)
    # F1 = 2 TP / (support + predicted): 6/9, 4/8, 2/3.
    assert macro_f1(HAND) == pytest.approx((6 / 9 + 4 / 8 + 2 / 3) / 3)


def test_classes_without_support():
    confusion = np.array([[3, 0, 1], [0, 0, 0], [0, 0, 0]])
    assert uar(confusion) == pytest.approx(3 / 4)
    # Class 2 was predicted, so it counts with F1 = 0; class 1 does not occur at all.
    assert macro_f1(confusion) == pytest.approx((6 / 7 + 0) / 2)


@pytest.mark.parametrize("score", [uar, accuracy, macro_f1])
def test_scores_without_clips_are_nan_without_a_warning(score):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert math.isnan(score(np.zeros((3, 3), dtype=np.int64)))


@pytest.mark.parametrize("score", [uar, accuracy, macro_f1])
def test_leading_axes_broadcast(score):
    stack = np.stack([HAND, np.eye(3, dtype=int), np.zeros((3, 3), dtype=int), 7 * HAND])
    several = score(stack.reshape(2, 2, 3, 3))
    assert several.shape == (2, 2)
    assert several.dtype == np.float64
    np.testing.assert_array_equal(several.ravel(), [score(m) for m in stack])


def test_confusion_by_group_by_hand():
    result = confusion_by_group(
        np.array([0, 0, 1, 1, 1]),
        np.array([0, 1, 1, 1, 0]),
        np.array(["b", "a", "a", "b", "b"]),
        2,
    )
    assert result.dtype == np.int64
    # Group "a": class 0 predicted as 1, class 1 right. "b": 0 right, 1 right, 1 predicted as 0.
    np.testing.assert_array_equal(result, [[[0, 1], [0, 1]], [[1, 0], [1, 1]]])


def test_confusion_without_clips():
    nothing = np.zeros(0, dtype=np.int64)
    assert confusion_by_group(nothing, nothing, nothing, 3).shape == (0, 3, 3)


@pytest.mark.parametrize(
    ("targets", "predicted"), [([0, 3], [0, 0]), ([0, 0], [0, 3]), ([-1, 0], [0, 0])]
)
def test_a_class_out_of_range_is_refused(targets, predicted):
    with pytest.raises(ValueError, match=r"must be in \[0, 3\)"):
        confusion_by_group(np.array(targets), np.array(predicted), np.zeros(2), 3)


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="the same shape"):
        confusion_by_group(np.zeros(2, int), np.zeros(3, int), np.zeros(3, int), 2)


@given(predictions())
def test_equal_to_scikit_learn(data):
    targets, predicted, groups = data
    by_group = confusion_by_group(targets, predicted, groups, 4)
    for matrix, group in zip(by_group, np.unique(groups), strict=True):
        rows = groups == group
        expected = confusion_matrix(targets[rows], predicted[rows], labels=range(4))
        np.testing.assert_array_equal(matrix, expected)
    total = by_group.sum(axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of classes that only occur predicted
        assert uar(total) == pytest.approx(balanced_accuracy_score(targets, predicted))
        assert accuracy(total) == pytest.approx(accuracy_score(targets, predicted))
        assert macro_f1(total) == pytest.approx(f1_score(targets, predicted, average="macro"))


@given(confusions, hnp.arrays(np.int64, 4, elements=st.integers(1, 9)))
def test_uar_does_not_depend_on_class_frequency(confusion, factors):
    np.testing.assert_allclose(uar(confusion * factors[:, None]), uar(confusion))


@given(confusions, st.permutations(range(4)))
def test_scores_do_not_depend_on_the_order_of_classes(confusion, order):
    permuted = confusion[np.ix_(order, order)]
    for score in (uar, accuracy, macro_f1):
        np.testing.assert_allclose(score(permuted), score(confusion))


def test_nll_by_hand_and_by_scikit_learn():
    assert nll(np.array([[0.5, 0.5], [0.25, 0.75]]), np.array([0, 1])) == pytest.approx(
        (math.log(2) + math.log(4 / 3)) / 2
    )
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(5), size=200)
    targets = rng.integers(0, 5, 200)
    expected = log_loss(targets, probabilities, labels=range(5))
    assert nll(probabilities, targets) == pytest.approx(expected)
    assert nll(probabilities.astype(np.float32), targets) == pytest.approx(expected, rel=1e-5)


def test_nll_of_an_impossible_class_is_finite():
    assert nll(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(-math.log(1e-12))
    assert math.isnan(nll(np.zeros((0, 2)), np.zeros(0, int)))


def test_calibration_error_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.45, 0.55], [0.3, 0.7]])
    targets = np.array([0, 1, 1, 1])
    # Of two bins, (0, 0.5] and (0.5, 1], the second has all: accuracy 3/4, confidence 2.95/4.
    assert expected_calibration_error(probabilities, targets, bins=2) == pytest.approx(0.05 / 4)
    # Ten bins: 0.9 is in (.8, .9], 0.8 in (.7, .8], 0.55 in (.5, .6], 0.7 in (.6, .7].
    assert expected_calibration_error(probabilities, targets, bins=10) == pytest.approx(
        (0.1 + 0.8 + 0.45 + 0.3) / 4
    )


def test_calibration_error_at_the_ends():
    sure = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert expected_calibration_error(sure, np.array([0, 0])) == 0
    assert expected_calibration_error(sure, np.array([1, 1])) == 1
    assert math.isnan(expected_calibration_error(np.zeros((0, 2)), np.zeros(0, int)))


def test_calibrated_predictions_have_a_small_error():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(3), size=100_000)
    targets = (probabilities.cumsum(axis=1) < rng.random((100_000, 1))).sum(axis=1)
    assert expected_calibration_error(probabilities, targets) < 0.01


def test_entropy():
    distributions = np.array([[[1.0, 0.0, 0.0, 0.0], [0.25] * 4], [[0.5, 0.5, 0, 0], [0.25] * 4]])
    np.testing.assert_allclose(
        entropy(distributions), [[0, math.log(4)], [math.log(2), math.log(4)]]
    )
    assert not np.signbit(entropy(np.array([1.0, 0.0])))
