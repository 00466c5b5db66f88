"""Log-linear pools and linear heads, compared with scikit-learn and known results."""

from __future__ import annotations

import numpy as np
import pytest

from fusion.core.analysis.diagnosis.pools import held_out_pool, linear_head, measured_shares

CLASSES = 4
TARGETS = np.arange(60) % CLASSES  # clips of three speakers


def right(share: float, seed: int) -> np.ndarray:
    """Return probabilities (60, C), a share of which is right for every speaker."""
    rng = np.random.default_rng(seed)
    output = TARGETS.copy()
    for start in range(0, 60, 20):
        wrong = start + rng.permutation(20)[: round(20 * (1 - share))]
        output[wrong] = (TARGETS[wrong] + rng.integers(1, CLASSES, len(wrong))) % CLASSES
    return (np.eye(CLASSES)[output] * 0.6 + 0.1).astype(np.float32)


def test_a_pool_is_fitted_without_the_held_out_speaker() -> None:
    speakers = np.repeat(["x", "y"], 30)
    a, b = right(0.9, 1), right(0.3, 2)
    before = held_out_pool([a, b], TARGETS, speakers)
    changed = TARGETS.copy()
    changed[:30] = (changed[:30] + 1) % CLASSES  # labels of speaker x
    after = held_out_pool([a, b], changed, speakers)
    np.testing.assert_allclose(before.probabilities[:30], after.probabilities[:30])
    assert not np.allclose(before.probabilities[30:], after.probabilities[30:])


def test_the_clips_of_a_single_speaker_are_split() -> None:
    result = held_out_pool([right(0.9, 1)] * 2, TARGETS, np.zeros(60))
    np.testing.assert_allclose(result.probabilities.sum(axis=1), 1)


def test_shares_are_recovered_from_the_scores() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.dirichlet(np.ones(CLASSES), 200) for _ in "ab")
    fused = a**1.5 * b**0.5
    shares = measured_shares(fused / fused.sum(axis=1, keepdims=True), [a, b])
    assert shares[0] == pytest.approx(0.72, abs=0.03) and shares.sum() == pytest.approx(1)


def test_a_linear_head_equals_that_of_scikit_learn() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    y = rng.choice(3, 90, p=[0.6, 0.3, 0.1])
    x = np.eye(3)[y] @ rng.normal(size=(3, 5)) + rng.normal(size=(90, 5))
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    reference = linear_model.LogisticRegression(class_weight="balanced", tol=1e-9, max_iter=5000)
    expected = reference.fit(z, y).predict_proba(z)
    np.testing.assert_allclose(linear_head(x, y, 3, x), expected, atol=2e-3)


def test_an_absent_member_has_no_share_and_no_influence() -> None:
    present = np.ones((60, 2), bool)
    present[:20, 1] = False
    speakers = np.repeat(["x", "y", "z"], 20)
    a, b = right(0.9, 1), right(0.9, 2)
    other = b.copy()
    other[:20] = np.roll(other[:20], 1, axis=1)  # prediction of the absent member
    result = held_out_pool([a, b], TARGETS, speakers, present)
    again = held_out_pool([a, other], TARGETS, speakers, present)
    np.testing.assert_allclose(result.probabilities, again.probabilities)
    np.testing.assert_allclose(result.shares, again.shares)
    assert result.shares[1] < 0.4 and result.shares.sum() == pytest.approx(1)
    never = present & [True, False]
    assert measured_shares(b, [a, b], never).tolist() == [
        1,
        0,
    ]  # b equals the fused scores


def test_uninformative_members_have_equal_shares() -> None:
    flat = np.full((60, CLASSES), 0.25)
    assert measured_shares(right(0.9, 1), [flat, flat, flat]).tolist() == pytest.approx([1 / 3] * 3)


def test_constant_embeddings_leave_a_head_at_chance() -> None:
    x = np.ones((60, 5))
    np.testing.assert_allclose(linear_head(x, TARGETS, CLASSES, x), 0.25, atol=1e-6)


def test_a_class_may_have_no_training_clips() -> None:
    x = np.eye(3)[np.arange(30) % 3]
    output = linear_head(x, np.arange(30) % 3, 4, x)
    assert output.shape == (30, 4)
    assert (output.argmax(axis=1) == np.arange(30) % 3).all()
