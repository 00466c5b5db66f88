import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from fusion.core.ensemble import ensemble_weights, mix
from fusion.core.metrics import nll


def members(seed, count, n=40, classes=3):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, n)
    found = []
    for m in range(count):
        logits = rng.normal(size=(n, classes)) + 1.5 * m / count * np.eye(classes)[targets]
        found.append(np.exp(logits) / np.exp(logits).sum(1, keepdims=True))
    return found, targets


def test_mix_by_hand():
    a, b = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    np.testing.assert_allclose(mix([a, b], np.array([0.25, 0.75])), [[0.25, 0.75]])


@pytest.mark.parametrize("seed", range(5))
def test_two_members_reach_the_minimum_that_scipy_finds(seed):
    (a, b), targets = members(seed, 2)
    best = minimize_scalar(
        lambda w: nll(w * a + (1 - w) * b, targets), bounds=(0, 1), method="bounded"
    )
    weights = ensemble_weights([a, b], targets)
    assert nll(mix([a, b], weights), targets) <= best.fun + 1e-4


@given(st.integers(0, 1000), st.integers(1, 4))
def test_on_the_simplex_and_never_worse_than_the_best_member(seed, count):
    found, targets = members(seed, count)
    weights = ensemble_weights(found, targets, iterations=50)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1)
    assert nll(mix(found, weights), targets) <= min(nll(p, targets) for p in found) + 1e-12


def test_a_useless_member_gets_no_weight():
    targets = np.array([0, 1, 2] * 5)
    right = 0.97 * np.eye(3)[targets] + 0.01
    weights = ensemble_weights([np.full((15, 3), 1 / 3), right], targets)
    np.testing.assert_allclose(weights, [0, 1], atol=1e-3)


# -- members that say nothing of some clips ------------------------------------------


def test_mix_of_those_that_can_say_something_by_hand():
    a, b = np.array([[1.0, 0.0]] * 3), np.array([[0.0, 1.0]] * 3)
    present = np.array([[True, True], [True, False], [False, True]])
    found = mix([a, b], np.array([0.25, 0.75]), present)
    np.testing.assert_allclose(found, [[0.25, 0.75], [1, 0], [0, 1]])
    # The only one there has no weight: what the others say of clips that they know nothing of.
    np.testing.assert_allclose(mix([a, b], np.array([1.0, 0.0]), present)[2], [1, 0])


@pytest.mark.parametrize("seed", range(5))
def test_with_absent_members_the_minimum_that_scipy_finds(seed):
    (a, b), targets = members(seed, 2)
    present = np.ones((len(targets), 2), bool)
    present[::3, 1] = False
    present[1::5, 0] = False
    present[~present.any(axis=1)] = True
    best = minimize_scalar(
        lambda w: nll(mix([a, b], np.array([w, 1 - w]), present), targets),
        bounds=(0, 1), method="bounded",
    )  # fmt: skip
    weights = ensemble_weights([a, b], targets, present)
    assert nll(mix([a, b], weights, present), targets) <= best.fun + 1e-4


def test_everybody_present_is_the_ordinary_ensemble():
    found, targets = members(3, 3)
    everybody = np.ones((len(targets), 3), bool)
    np.testing.assert_allclose(
        ensemble_weights(found, targets, everybody), ensemble_weights(found, targets), atol=1e-12
    )
