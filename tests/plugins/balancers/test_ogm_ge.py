import math

import pytest
import torch
from stand_in import StandIn

from fusion import Gradients
from fusion.core.contracts.errors import ParameterError
from fusion.core.testing.checks.problem import SmallMaps, SmallStrategy, one_step, small_trainer
from fusion.plugins.balancers.ogm_ge import OGMGE
from fusion.testing import BalancerSuite


class TestSuite(BalancerSuite):
    plugin = OGMGE
    single_unchanged = True
    equal_unchanged = True


def scored(scores, epoch=1, seed=0):
    return StandIn(
        scores=lambda: {m: torch.tensor(float(s)) for m, s in scores.items()},
        epoch=epoch,
        generator=torch.Generator().manual_seed(seed),
    )


def gradients_of(names, shape=(3, 2)):
    made = {m: [torch.arange(1.0, 1 + math.prod(shape)).view(shape)] for m in names}
    return Gradients(made)


def factors(balancer, scores, **step):
    gradients = gradients_of(scores)
    balancer.gradients(gradients, scored(scores, **step))
    return {m: float(f) for m, f in gradients.factors.items()}


def test_two_modalities_by_hand():
    # rho = 6/4 = 1.5 and 2/3, so k = 1 - tanh(0.8 * 1.5) = 1 - tanh(1.2) = 0.166345, and 1.
    found = factors(OGMGE(alpha=0.8), {"a": 6.0, "b": 4.0})
    assert found == pytest.approx({"a": 0.166345, "b": 1.0}, abs=1e-5)
    assert math.tanh(1.2) == pytest.approx(0.833655, abs=1e-6)


def test_three_modalities_by_hand():
    # a: 6 / mean(4, 2) = 2;  b: 4 / mean(6, 2) = 1;  c: 2 / mean(6, 4) = 0.4.
    found = factors(OGMGE(alpha=0.5), {"a": 6.0, "b": 4.0, "c": 2.0})
    assert found == pytest.approx({"a": 1 - math.tanh(1.0), "b": 1.0, "c": 1.0})


@pytest.mark.parametrize("score", [0.1, 1 / 3, 7.3])
@pytest.mark.parametrize("modalities", [1, 2, 3, 4, 7])
def test_equal_modalities_have_factor_one(modalities, score):
    found = factors(OGMGE(), {f"m{i}": score for i in range(modalities)})
    assert set(found.values()) <= {1.0}


def test_the_order_of_modalities_does_not_matter():
    scores = {"a": 6.0, "b": 4.0, "c": 9.0}
    turned = dict(reversed(scores.items()))
    assert factors(OGMGE(), scores) == pytest.approx(factors(OGMGE(), turned))


def test_a_modality_that_is_always_wrong():
    found = factors(OGMGE(), {"a": 5.0, "b": 0.0})
    assert found == {"a": 0.0, "b": 1.0}


def test_only_convolutions_get_noise():
    gradients = gradients_of("ab", shape=(3, 2, 2))
    OGMGE().gradients(gradients, scored({"a": 6.0, "b": 4.0}))
    assert torch.equal(gradients["a"][0], torch.arange(1.0, 13).view(3, 2, 2))


@pytest.mark.parametrize("score", [4.8, 4.0, 2.0])
def test_noise_on_convolutions(score):
    """The leading and the other modality get the gradient k * g + N(0, std(g)^2)."""
    shape = (40, 25, 3, 3)
    gradients = gradients_of("ab", shape)
    given = gradients["a"][0].clone()
    OGMGE(alpha=0.5).gradients(gradients, scored({"a": score, "b": 4.0}))
    # rho = score / 4 and 4 / score.
    for m, rho in (("a", score / 4), ("b", 4 / score)):
        k = 1 - math.tanh(0.5 * rho) if rho > 1 else 1.0
        assert float(gradients.factors[m]) == pytest.approx(k)
        noise = k * (gradients[m][0] - given) / given.std()
        assert float(noise.std()) == pytest.approx(1.0, abs=0.03)
        assert float(noise.mean()) == pytest.approx(0.0, abs=0.03)
    assert not torch.equal(gradients["a"][0], gradients["b"][0])


def test_noise_is_bounded_if_the_factor_vanishes():
    gradients = gradients_of("ab", (10, 10, 3, 3))
    spread = float(gradients["a"][0].std())
    OGMGE().gradients(gradients, scored({"a": 8.0, "b": 0.1}))
    assert float(gradients.factors["a"]) == pytest.approx(0.0, abs=1e-6)
    assert float(gradients["a"][0].std()) < 12 * spread  # plus N(0, (10 std)^2)


def test_noise_comes_from_the_generator_and_can_be_disabled():
    found = []
    for seed, noise in ((1, True), (1, True), (2, True), (1, False)):
        gradients = gradients_of("ab", (4, 4, 3, 3))
        given = gradients["a"][0].clone()
        OGMGE(noise=noise).gradients(gradients, scored({"a": 6.0, "b": 4.0}, seed=seed))
        found.append(gradients["a"][0] - given)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert not found[3].any()


def test_only_in_the_given_epochs():
    balancer = OGMGE(start=3, end=4)
    acted = [bool(factors(balancer, {"a": 6.0, "b": 4.0}, epoch=e)) for e in range(1, 7)]
    assert acted == [False, False, True, True, False, False]
    assert factors(OGMGE(start=3), {"a": 6.0, "b": 4.0}, epoch=99)


def test_the_scores_include_frozen_branches():
    gradients = gradients_of("a")
    OGMGE().gradients(gradients, scored({"a": 6.0, "b": 4.0}))
    assert list(gradients.factors) == ["a"]


@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
def test_the_scores_in_training_are_those_of_the_probes(strategy):
    balancer = OGMGE(alpha=0.3)
    trainer = small_trainer([balancer], 3, strategy=strategy)
    step = one_step(trainer)
    right = {
        m: float(f.detach().softmax(1)[torch.arange(8), step.labels].sum())
        for m, f in step.unimodal.items()
    }
    for m, own in right.items():
        others = [s for other, s in right.items() if other != m]
        rho = own / (sum(others) / 2)
        expected = 1 - math.tanh(0.3 * rho) if rho > 1 else 1.0
        assert balancer.metrics()[f"ogm_ge.{m}"] == pytest.approx(expected, rel=1e-5)


def test_curves_are_means_over_the_epoch():
    balancer = OGMGE()
    balancer.epoch_start(1)
    assert balancer.metrics() == {}
    first = factors(balancer, {"a": 6.0, "b": 4.0})
    second = factors(balancer, {"a": 4.0, "b": 8.0})
    mean = {f"ogm_ge.{m}": (first[m] + second[m]) / 2 for m in "ab"}
    assert balancer.metrics() == pytest.approx(mean)
    balancer.epoch_start(2)
    assert balancer.metrics() == {}


@pytest.mark.parametrize("bad", [{"alpha": -1}, {"start": 0}, {"start": 5, "end": 4}, {"end": -1}])
def test_wrong_parameters(bad):
    with pytest.raises(ParameterError, match="ogm_ge needs"):
        OGMGE(**bad)
