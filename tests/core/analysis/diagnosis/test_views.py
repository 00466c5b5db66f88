"""Views of features without a network, compared with scikit-learn and known results."""

from __future__ import annotations

import numpy as np
import pytest
from arrays import Rows
from sklearn.linear_model import RidgeCV

from fusion.core.analysis.diagnosis.views import (
    linear_predictions,
    pooled,
    retrieval_ranks,
    ridge,
    standardised,
)
from fusion.core.contracts import Modality

RNG = np.random.default_rng(0)


def test_pooling_keeps_channels_bins_frequency_and_averages_over_time() -> None:
    x = RNG.normal(size=(70, 2, 64, 50))
    view = pooled(Modality("a", x.shape[1:], ("channel", "frequency", "time")), Rows(x), 70)
    assert view.shape == (70, 2 * 2 * 32)  # mean and deviation of two channels and 32 bins
    assert view[3, 0] == pytest.approx(x[3, 0, :2].mean())
    assert view[3, 64] == pytest.approx(x[3, 0, :2].std(axis=1).mean())


def test_pooling_of_other_axes_and_of_tables() -> None:
    x = RNG.normal(size=(5, 6, 32, 32))
    view = pooled(Modality("a", x.shape[1:], ("channel", "birth", "persistence")), Rows(x), 5)
    assert view.shape == (5, 6 * 8 * 8)
    assert view[0, 0] == pytest.approx(x[0, 0, :4, :4].mean())
    statistics = RNG.normal(size=(5, 3, 26))
    view = pooled(Modality("a", (3, 26), ("channel", "statistic")), Rows(statistics), 5)
    assert np.array_equal(view, statistics.reshape(5, -1))
    table = RNG.normal(size=(5, 7))
    assert np.array_equal(pooled(Modality("t", (7,), ()), Rows(table), 5), table)


def test_standardising_uses_training_clips_and_ignores_constants() -> None:
    x = np.array([[1.0, 5], [3, 5], [100, 5]])
    z = standardised(x, np.array([0, 1]))
    assert z[:2].tolist() == [[-1, 0], [1, 0]]
    assert z[2].tolist() == [98, 0]


def test_ridge_equals_scikit_learns() -> None:
    x, test = RNG.normal(size=(40, 5)), RNG.normal(size=(10, 5))
    y = x @ RNG.normal(size=(5, 3)) + RNG.normal(size=(40, 3))
    x, test = x - x.mean(axis=0), test
    reference = RidgeCV(alphas=10.0 ** np.arange(-1, 6)).fit(x, y)
    # scikit-learn ignores the mean in the leave-one-out error, but selects the same penalty.
    assert ridge(x, y, test) == pytest.approx(reference.predict(test), rel=1e-6)


def test_a_linear_classifier_recognises_separable_classes_only() -> None:
    targets = np.arange(200) % 4
    x = np.eye(4)[targets] * 2 + RNG.normal(size=(200, 4))
    train, test = np.arange(150), np.arange(150, 200)
    output = linear_predictions(x, targets, 4, train, test)
    assert (output == targets[test]).mean() > 0.6
    output = linear_predictions(RNG.normal(size=(200, 4)), targets, 4, train, test)
    assert (output == targets[test]).mean() < 0.5


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_ranks_estimate_the_share_of_mispaired_clips(share: float) -> None:
    rng = np.random.default_rng(1)
    hidden = rng.normal(size=(400, 4))
    a = hidden @ rng.normal(size=(4, 10)) + 0.3 * rng.normal(size=(400, 10))
    b = hidden @ rng.normal(size=(4, 12)) + 0.3 * rng.normal(size=(400, 12))
    moved = rng.permutation(400)[: int(400 * share)]
    b[moved] = b[rng.permutation(moved)]
    ranks = retrieval_ranks(a, b, np.random.default_rng(0))
    # In a fold without a prediction, the rank of every clip is 0.5.
    result = 2 * (ranks > 0.5).mean() + (ranks == 0.5).mean()
    assert result == pytest.approx(share, abs=0.12)


def test_ranks_of_a_constant_view_are_at_chance() -> None:
    constant = np.zeros((100, 3))
    assert (retrieval_ranks(RNG.normal(size=(100, 3)), constant, RNG) == 0.5).all()
