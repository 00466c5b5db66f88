from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar

from fusion.core.toolkit.ensemble import RIDGE, combine, ensemble_weights, mix, pool, pool_weights
from fusion.core.toolkit.metrics import nll


def members(seed, count, n=40, classes=3):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, n)
    result = []
    for m in range(count):
        logits = rng.normal(size=(n, classes)) + 1.5 * m / count * np.eye(classes)[targets]
        result.append(np.exp(logits) / np.exp(logits).sum(1, keepdims=True))
    return result, targets


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
def test_weights_are_on_the_simplex_and_never_worse_than_the_best_member(seed, count):
    result, targets = members(seed, count)
    weights = ensemble_weights(result, targets, iterations=50)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1)
    assert nll(mix(result, weights), targets) <= min(nll(p, targets) for p in result) + 1e-12


def test_a_useless_member_gets_no_weight():
    targets = np.array([0, 1, 2] * 5)
    right = 0.97 * np.eye(3)[targets] + 0.01
    weights = ensemble_weights([np.full((15, 3), 1 / 3), right], targets)
    np.testing.assert_allclose(weights, [0, 1], atol=1e-3)


# -- absent members ------------------------------------------------------------------


def test_mix_of_present_members_by_hand():
    a, b = np.array([[1.0, 0.0]] * 3), np.array([[0.0, 1.0]] * 3)
    present = np.array([[True, True], [True, False], [False, True]])
    result = mix([a, b], np.array([0.25, 0.75]), present)
    np.testing.assert_allclose(result, [[0.25, 0.75], [1, 0], [0, 1]])
    # The only present member has weight zero, so the usual weights apply.
    np.testing.assert_allclose(mix([a, b], np.array([1.0, 0.0]), present)[2], [1, 0])


@pytest.mark.parametrize("seed", range(5))
def test_weights_with_absent_members_reach_the_minimum_that_scipy_finds(seed):
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


def test_an_ensemble_with_all_members_present():
    result, targets = members(3, 3)
    everybody = np.ones((len(targets), 3), bool)
    np.testing.assert_allclose(
        ensemble_weights(result, targets, everybody), ensemble_weights(result, targets), atol=1e-12
    )


# -- the log-linear pool ---------------------------------------------------------------


def absences(n, count, seed=0):
    """Return a random mask (n, count) of present members, with at least one in each clip."""
    present = np.random.default_rng(seed).random((n, count)) < 0.7
    present[~present.any(axis=1), 0] = True
    return present


def objective(weights, result, targets, present=None, ridge=RIDGE):
    """NLL of the pool plus the ridge, written out member by member."""
    best = int(np.argmin([nll(p, targets) for p in result]))
    scores = np.zeros(result[0].shape)
    for m, p in enumerate(result):
        reference = np.ones(len(targets)) if present is None else present[:, m]
        scores += weights[m] * reference[:, None] * np.log(p)
    right = scores[np.arange(len(targets)), targets] - np.log(np.exp(scores).sum(axis=1))
    away = np.array([w - (m == best) for m, w in enumerate(weights)])
    return -right.mean() + ridge * float(away @ away)


def test_pool_by_hand():
    a, b = np.array([[0.8, 0.2]]), np.array([[0.5, 0.5]])
    np.testing.assert_allclose(pool([a, b], np.array([1.0, 0.0])), a)
    # 0.8^2 : 0.2^2 is 16 : 1; a uniform member has no effect at any weight.
    np.testing.assert_allclose(pool([a, b], np.array([2.0, 3.0])), [[16 / 17, 1 / 17]])
    # sqrt(0.8 * 0.2) : sqrt(0.2 * 0.8).
    np.testing.assert_allclose(pool([a, 1 - a], np.array([0.5, 0.5])), [[0.5, 0.5]])
    np.testing.assert_allclose(pool([a, a], np.array([0.0, 0.0])), [[0.5, 0.5]])


def test_pool_of_certain_members_is_finite():
    a, b = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    result = pool([a, b], np.array([1.0, 1.0]))
    np.testing.assert_allclose(result, [[0.5, 0.5]])


def test_pool_of_present_members_by_hand():
    a, b = np.array([[0.8, 0.2]] * 3), np.array([[0.4, 0.6]] * 3)
    present = np.array([[True, True], [True, False], [False, True]])
    result = pool([a, b], np.array([1.0, 1.0]), present)
    np.testing.assert_allclose(result, [[0.32 / 0.44, 0.12 / 0.44], [0.8, 0.2], [0.4, 0.6]])
    # No present member of the third clip has a weight, so the usual weights apply.
    result = pool([a, b], np.array([2.0, 0.0]), present)
    np.testing.assert_allclose(result, [[16 / 17, 1 / 17]] * 3)


@pytest.mark.parametrize("absent", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_pool_weights_are_the_minimum_that_scipy_finds(seed, absent):
    result, targets = members(seed, 3)
    present = absences(len(targets), 3, seed) if absent else None
    weights = pool_weights(result, targets, present)
    best = minimize(
        objective, [0.5] * 3, args=(result, targets, present), bounds=[(0, 5)] * 3,
        method="SLSQP", options={"ftol": 1e-14, "maxiter": 500},
    )  # fmt: skip
    assert objective(weights, result, targets, present) <= best.fun + 1e-6
    np.testing.assert_allclose(weights, best.x, atol=5e-3)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 4), st.booleans(), st.floats(0, 1))
def test_pool_is_never_worse_than_the_best_member_on_its_objective(seed, count, absent, ridge):
    result, targets = members(seed, count)
    present = absences(len(targets), count, seed) if absent else None
    weights = pool_weights(result, targets, present, ridge=ridge)
    assert weights.shape == (count,) and weights.min() >= 0 and weights.max() <= 5
    alone = np.eye(count)[int(np.argmin([nll(p, targets) for p in result]))]
    reached = objective(weights, result, targets, present, ridge)
    assert reached <= objective(alone, result, targets, present, ridge) + 1e-9
    if present is None:  # the ridge of the best member is 0, so NLL is not worse either
        assert nll(pool(result, weights), targets) <= min(nll(p, targets) for p in result) + 1e-9


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(0, 1), st.booleans())
def test_the_objective_of_the_pool_is_convex(seed, at, absent):
    result, targets = members(seed, 3, n=20)
    present = absences(20, 3, seed) if absent else None
    rng = np.random.default_rng(seed)
    one, other = rng.uniform(0, 5, 3), rng.uniform(0, 5, 3)
    between = objective(at * one + (1 - at) * other, result, targets, present)
    chord = at * objective(one, result, targets, present)
    chord += (1 - at) * objective(other, result, targets, present)
    assert between <= chord + 1e-9


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.booleans())
def test_the_gradient_of_the_pool_is_that_of_its_objective(seed, absent):
    """The gradient passed to scipy equals finite differences of the objective at random weights."""
    result, targets = members(seed, 3, n=15)
    present = absences(15, 3, seed) if absent else None
    recorded = []

    def asked(function, start, **_):
        point = np.random.default_rng(seed).uniform(0.1, 4, 3)
        value, slope = function(point)
        recorded.append((point, value, slope))
        return SimpleNamespace(x=start)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scipy.optimize.minimize", asked)
        pool_weights(result, targets, present)
    ((point, value, slope),) = recorded
    assert value == pytest.approx(objective(point, result, targets, present))
    for m in range(3):
        step = 1e-5 * np.eye(3)[m]
        ahead = objective(point + step, result, targets, present)
        behind = objective(point - step, result, targets, present)
        assert slope[m] == pytest.approx((ahead - behind) / 2e-5, abs=1e-6)


def test_a_strong_ridge_keeps_the_best_member_alone():
    result, targets = members(3, 3)
    weights = pool_weights(result, targets, ridge=1e6)
    np.testing.assert_allclose(weights, [0, 0, 1], atol=1e-4)


def test_a_useless_member_gets_no_weight_in_the_pool():
    """A constant member affects only the ridge term of the objective."""
    targets = np.array([0, 1, 2] * 5)
    right = 0.7 * np.eye(3)[targets] + 0.1
    weights = pool_weights([np.full((15, 3), 1 / 3), right], targets)
    assert weights[0] == pytest.approx(0, abs=1e-5) and weights[1] > 1


def test_a_pool_with_all_members_present():
    result, targets = members(3, 3)
    everybody = np.ones((len(targets), 3), bool)
    weights = pool_weights(result, targets)
    np.testing.assert_allclose(pool_weights(result, targets, everybody), weights, atol=1e-9)
    np.testing.assert_allclose(pool(result, weights, everybody), pool(result, weights))


def test_an_always_absent_member_gets_no_weight():
    result, targets = members(1, 2)
    present = np.ones((len(targets), 2), bool)
    present[:, 0] = False
    weights = pool_weights(result, targets, present)
    assert weights[0] == pytest.approx(0, abs=1e-6)


def test_combine_follows_the_rule():
    result, _ = members(0, 2)
    weights = np.array([1.5, 0.5])
    np.testing.assert_array_equal(combine("log-linear", result, weights), pool(result, weights))
    np.testing.assert_array_equal(combine("linear", result, weights), mix(result, weights / 2))
