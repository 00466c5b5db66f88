import math

import pytest
import torch
from stand_in import StandIn

from fusion.core.contracts.errors import ParameterError
from fusion.core.testing.checks.problem import SmallMaps, SmallStrategy, small_model, small_step
from fusion.plugins.balancers.agm import AGM
from fusion.testing import BalancerSuite


class TestConformance(BalancerSuite):
    plugin = AGM
    single_unchanged = True
    equal_unchanged = True


def mono(loss):
    """Return two scores of a clip of class 0 with the negative log-likelihood `loss`."""
    return torch.tensor([[-math.log(math.exp(loss) - 1), 0.0]])


def seen(losses, shown=None):
    """Return a step whose mono outputs have these losses."""
    return StandIn(
        modalities=list(losses),
        shown=list(shown or losses),
        labels=torch.tensor([0]),
        contributions={m: mono(s) for m, s in losses.items()},
    )


def factors(steps, **parameters):
    balancer = AGM(**parameters)
    balancer.setup(StandIn(modalities=list(steps[0])))
    for losses in steps:
        balancer.logits(torch.zeros(1, 2), seen(losses))
    return {m.removeprefix("agm."): k for m, k in balancer.metrics().items()}


def test_two_modalities_by_hand():
    # In the first step the running means are those of the step, so tau = r and k = 1.
    assert factors([{"a": 0.5, "b": 1.5}]) == pytest.approx({"a": 1, "b": 1})
    # In the second step s = (1, 1), so r = (1, 1). The means are (0.75, 1.25): tau_a = exp(1.25 -
    # 0.75).
    found = factors([{"a": 0.5, "b": 1.5}, {"a": 1.0, "b": 1.0}], alpha=2.0)
    assert found["a"] == pytest.approx(math.exp(2 * (math.exp(0.5) - 1)), rel=1e-4)
    assert found["b"] == pytest.approx(math.exp(2 * (math.exp(-0.5) - 1)), rel=1e-4)


def test_three_modalities_by_hand():
    # M / (M - 1) = 1.5. Second step: mean s = 1, r_a = exp(1.5 (1 - 0.5)).
    # Means (0.75, 1, 1.25), their mean 1: tau_a = exp(1.5 * 0.25).
    found = factors([{"a": 1.0, "b": 1.0, "c": 1.0}, {"a": 0.5, "b": 1.0, "c": 1.5}])
    assert found["a"] == pytest.approx(math.exp(math.exp(0.375) - math.exp(0.75)), rel=1e-4)
    assert found["b"] == pytest.approx(1.0, rel=1e-4)
    assert found["c"] == pytest.approx(math.exp(math.exp(-0.375) - math.exp(-0.75)), rel=1e-4)


def test_the_difference_is_capped_at_ten():
    # Steps (0.5, 6.5), then (3.5, 3.5): tau_a = exp(5 - 2) = 20.1, r_a = 1: 19.1, and so 10.
    found = factors([{"a": 0.5, "b": 6.5}, {"a": 3.5, "b": 3.5}], alpha=0.5)
    assert found["a"] == pytest.approx(math.exp(5.0), rel=1e-4)


def test_modalities_far_apart_make_no_nan():
    found = factors([{"a": 1e-3, "b": 150.0}, {"a": 150.0, "b": 1e-3}])
    assert all(math.isfinite(k) for k in found.values())


@pytest.mark.parametrize("shown", [["a"], ["b"]])
def test_a_pass_with_some_modalities_is_not_changed(shown):
    balancer = AGM()
    balancer.setup(StandIn(modalities=["a", "b"]))
    logits = torch.zeros(1, 2)
    assert balancer.logits(logits, seen({"a": 1.0, "b": 2.0}, shown)) is logits
    assert balancer.state_dict()["steps"] == 0


@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
def test_scores_are_unchanged_and_gradients_are_scaled(strategy):
    model = small_model(3, strategy=strategy)
    balancer = AGM()
    balancer.setup(small_step(model).context)
    for seed in (0, 1):
        step = small_step(model, seed=seed)
        logits = balancer.logits(step.logits, step)
    assert torch.equal(logits, step.logits)
    ks = balancer.metrics()
    assert len({round(k, 3) for k in ks.values()}) == 3
    # The strategy is additive, so gradients reach a branch only through its own mono output.
    for m in model.modalities:
        parameters = list(model.branches[m].first.parameters())
        plain = torch.autograd.grad(step.fused_loss, parameters, retain_graph=True)
        found = torch.autograd.grad(step.cross_entropy(logits), parameters, retain_graph=True)
        for a, b in zip(found, plain, strict=True):
            assert torch.allclose(a, ks[f"agm.{m}"] * b, atol=1e-6)
    # The gradient of the head's bias, which belongs to no modality, is unchanged.
    bias = [model.strategy.head.bias]
    plain = torch.autograd.grad(step.fused_loss, bias, retain_graph=True)
    assert torch.allclose(*torch.autograd.grad(step.cross_entropy(logits), bias), *plain)


def test_state_survives():
    first, second = AGM(), AGM()
    for balancer in (first, second):
        balancer.setup(StandIn(modalities=["a", "b"]))
    first.logits(torch.zeros(1, 2), seen({"a": 0.5, "b": 1.5}))
    second.load_state_dict(first.state_dict())
    assert second.metrics() == first.metrics()
    for balancer in (first, second):
        balancer.logits(torch.zeros(1, 2), seen({"a": 0.7, "b": 0.9}))
    assert second.metrics() == first.metrics() != {"agm.a": 1.0, "agm.b": 1.0}


def test_parameters_out_of_range():
    with pytest.raises(ParameterError, match=r"agm\.alpha must be 0 or more, and is -1"):
        AGM(alpha=-1)
