from typing import ClassVar

import pytest
import torch
from stand_in import StandIn

from fusion import Gradients
from fusion.core.contracts.errors import ParameterError
from fusion.core.testing.checks.problem import (
    SmallMaps,
    SmallStrategy,
    one_step,
    small_model,
    small_step,
    small_trainer,
)
from fusion.plugins.balancers.cggm import CGGM
from fusion.testing import BalancerSuite


class TestSuite(BalancerSuite):
    plugin = CGGM
    single_unchanged = True
    epochs = 4  # the factors act from the third epoch


@pytest.mark.slow
class TestWithoutDirection(BalancerSuite):
    plugin = CGGM
    parameters: ClassVar = {"lam": 0.0}
    epochs = 4
    single_unchanged = True
    equal_unchanged = True


def made(*names, **parameters):
    balancer = CGGM(**parameters)
    balancer.setup(StandIn(modalities=list(names)))
    return balancer


def epoch(balancer, number, accuracies):
    """Run an epoch of one step in which the probes have these accuracies, in per cent."""
    balancer.epoch_start(number)
    labels = torch.zeros(100, dtype=torch.int64)
    unimodal = {
        m: torch.nn.functional.one_hot((torch.arange(100) >= right).long(), 2)
        for m, right in accuracies.items()
    }
    balancer.step_end(StandIn(unimodal=unimodal, labels=labels))
    balancer.epoch_end(number, {})


def factors(balancer, names="ab"):
    gradients = Gradients({m: [torch.ones(1)] for m in names})
    balancer.gradients(gradients, None)
    return {m: float(f) for m, f in gradients.factors.items()}


def test_two_modalities_by_hand():
    balancer = made("a", "b", epsilon=0.01)
    assert factors(balancer) == {"a": 1.0, "b": 1.0}
    epoch(balancer, 1, {"a": 30, "b": 20})
    assert factors(balancer) == {"a": 1.0, "b": 1.0}
    epoch(balancer, 2, {"a": 37, "b": 21})
    # d = 0.07 and 0.01: B_a = (0.01 + 0.01) / (0.08 + 0.02) = 0.2, B_b = (0.07 + 0.01) / 0.1
    # = 0.8; times M / (M - 1) = 2.
    assert factors(balancer) == pytest.approx({"a": 0.4, "b": 1.6}, abs=1e-5)
    epoch(balancer, 3, {"a": 37, "b": 20})
    # a doesn't change and b falls, which counts as no change.
    assert factors(balancer) == pytest.approx({"a": 1.0, "b": 1.0}, abs=1e-5)
    assert balancer.metrics() == pytest.approx({"cggm.a": 1.0, "cggm.b": 1.0}, abs=1e-5)


def test_three_modalities_by_hand():
    # d = 0.05, 0.02, 0: sum 0.07, below 0.07 + 3 * 0.01 = 0.1.
    # B = (0.02 + 0.02) / 0.1, (0.05 + 0.02) / 0.1, (0.07 + 0.02) / 0.1; they sum to M - 1.
    found = CGGM().shares({"a": 0.05, "b": 0.02, "c": -0.3})
    assert found == pytest.approx({"a": 0.4, "b": 0.7, "c": 0.9})
    balancer = made(*"abc", rho=1.2)
    balancer._shares = found
    # rho * M / (M - 1) = 1.8.
    assert factors(balancer, "abc") == pytest.approx({"a": 0.72, "b": 1.26, "c": 1.62})


@pytest.mark.parametrize("change", [-0.2, 0.0, 1e-9, 0.3])
@pytest.mark.parametrize("modalities", [2, 3, 5])
def test_equal_modalities_have_factor_one(change, modalities):
    names = [f"m{i}" for i in range(modalities)]
    balancer = made(*names)
    balancer._shares = balancer.shares(dict.fromkeys(names, change))
    assert list(factors(balancer, names).values()) == pytest.approx([1.0] * modalities)


def test_the_order_of_modalities_does_not_matter():
    changes = {"a": 0.05, "b": 0.02, "c": 0.11}
    turned = dict(reversed(changes.items()))
    assert CGGM().shares(changes) == pytest.approx(CGGM().shares(turned))


def test_a_vanishing_epsilon_gives_the_rule_of_the_paper():
    # B_a = d_b / (d_a + d_b).
    found = CGGM(epsilon=1e-9).shares({"a": 0.06, "b": 0.02})
    assert found == pytest.approx({"a": 0.25, "b": 0.75}, rel=1e-5)


def test_direction_by_hand():
    model = small_model(2)
    step = small_step(model)
    step.labels = torch.tensor([0, 1])
    step.logits = torch.tensor([[0.9, 0.1], [0.6, 0.4]]).log()
    # p - y = (-0.1, 0.1), (0.6, -0.6) for the fused scores and for voice; face differs.
    step.unimodal = {
        "voice": torch.tensor([[0.9, 0.1], [0.6, 0.4]]).log(),
        "face": torch.tensor([[0.7, 0.3], [0.8, 0.2]]).log(),
    }
    balancer = made("voice", "face", lam=0.5)
    balancer._shares = {"voice": 0.3, "face": 0.7}
    # cos(fused, voice) = 1. face: p - y = (-0.3, 0.3), (0.8, -0.8): inner product
    # 2 * (0.03 + 0.48) = 1.02, norms sqrt(2 * 0.37) and sqrt(2 * 0.73).
    cosine = 1.02 / (2 * (0.37 * 0.73) ** 0.5)
    # lam * mean of (0.3 * 0, 0.7 * (1 - cos)).
    expected = 0.5 * 0.7 * (1 - cosine) / 2
    found = balancer.losses({}, step)
    assert float(found["cggm.direction"]) == pytest.approx(expected, rel=1e-4)


def test_the_direction_term_reaches_branches_and_head():
    """The term reaches branches and head through the fused scores, but not the probes."""
    for strategy in (SmallStrategy, SmallMaps):
        model = small_model(3, strategy=strategy)
        step = small_step(model)
        made(*model.modalities).losses({}, step)["cggm.direction"].backward()
        reached = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
        assert {n.split(".")[0] for n in reached} == {"branches", "strategy"}
        assert {n.split(".")[1] for n in reached if n.startswith("branches")} == set(
            model.modalities
        )


def test_gradient_descent_on_the_direction_term_lowers_it():
    step = small_step(small_model(2))
    logits = step.logits.detach().clone().requires_grad_()
    balancer = made("voice", "face", lam=1.0)
    balancer._shares = {"voice": 0.0, "face": 1.0}

    def term():
        step.logits = logits
        return balancer.losses({}, step)["cggm.direction"]

    before = float(term().detach())
    for _ in range(200):
        (gradient,) = torch.autograd.grad(term(), logits)
        with torch.no_grad():
            logits -= gradient
    assert float(term().detach()) < 0.2 * before


def test_lam_0_adds_nothing():
    step = small_step()
    given = {"fused": step.fused_loss}
    assert made("voice", "face", lam=0.0).losses(given, step) is given


def test_a_single_modality():
    balancer = made("a")
    epoch(balancer, 1, {"a": 10})
    epoch(balancer, 2, {"a": 60})
    given = {}
    assert factors(balancer, "a") == {"a": 1.0}
    assert balancer.losses(given, None) is given


def test_state_survives():
    first, second = made("a", "b"), made("a", "b")
    for number, accuracies in enumerate(({"a": 30, "b": 20}, {"a": 37, "b": 21}), start=1):
        epoch(first, number, accuracies)
    second.load_state_dict(first.state_dict())
    assert factors(second) == factors(first) != {"a": 1.0, "b": 1.0}
    for balancer in (first, second):
        epoch(balancer, 3, {"a": 38, "b": 40})
    assert factors(second) == factors(first)


def test_the_accuracies_are_those_of_the_probes():
    balancer = CGGM()
    step = one_step(small_trainer([balancer]))
    balancer.epoch_end(1, {})
    for m, accuracy in balancer.state_dict()["accuracy"].items():
        right = (step.unimodal[m].argmax(1) == step.labels).float().mean()
        assert accuracy == pytest.approx(float(right))


@pytest.mark.parametrize("bad", [{"rho": 0}, {"lam": -1}, {"epsilon": 0}])
def test_wrong_parameters(bad):
    with pytest.raises(ParameterError, match="cggm needs"):
        CGGM(**bad)
