import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loss_gradients import flat, loss_gradients, of_step, probe_gradients

from fusion import Gradients
from fusion.core.contracts.errors import ParameterError
from fusion.core.testing.checks.problem import SmallMaps, SmallStrategy, one_step, small_trainer
from fusion.plugins.balancers.mmpareto import MMPareto
from fusion.testing import BalancerSuite


class TestMMPareto(BalancerSuite):
    plugin = MMPareto
    single_unchanged = True


def joined(fused, own, other=(0.0, 0.0), boost=1.5):
    """Return the gradient of one branch after the hook; `other` is the gradient of another loss."""
    parts = {
        "fused": {"a": [torch.tensor(fused)]},
        "unimodal.a": {"a": [torch.tensor(own)]},
        "other": {"a": [torch.tensor(other)]},
    }
    total = [sum(part["a"][0] for part in parts.values())]
    gradients = Gradients({"a": total}, parts=parts)
    balancer = MMPareto(boost=boost)
    balancer.setup(SimpleNamespace(modalities=["a", "b"]))
    balancer.gradients(gradients, None)
    return gradients["a"][0], gradients.factors["a"], balancer.metrics()["mmpareto.a"]


def test_a_conflict_by_hand():
    # g = (1, 0), u = (-2, 1): <g, u> = -2, a conflict. u - g = (-3, 1), |g - u|^2 = 10, so
    # w = <(-3, 1), (-2, 1)> / 10 = 0.7 and h = 1.4 g + 0.6 u = (0.2, 0.6), |h| = sqrt(0.4).
    # g + u = (-1, 1) has length sqrt(2): h is stretched by sqrt(2 / 0.4) = sqrt(5).
    result, factor, weight = joined((1.0, 0.0), (-2.0, 1.0))
    assert weight == pytest.approx(0.7)
    assert result.tolist() == pytest.approx([0.2 * math.sqrt(5), 0.6 * math.sqrt(5)])
    assert float(factor) == 1.5  # on the step, because Adam cancels gradient factors
    # The plain sum would raise the fused loss; this gradient lowers both losses.
    assert float(result @ torch.tensor([1.0, 0.0])) > 0
    assert float(result @ torch.tensor([-2.0, 1.0])) > 0


def test_no_conflict_is_the_plain_sum():
    result, factor, weight = joined((1.0, 0.5), (0.5, 2.0), boost=2.0)
    assert torch.equal(result, torch.tensor([1.5, 2.5])) and weight == 0.5 and float(factor) == 2.0


def test_gradients_of_other_losses_are_kept():
    alone, *_ = joined((1.0, 0.0), (-2.0, 1.0))
    result, *_ = joined((1.0, 0.0), (-2.0, 1.0), other=(3.0, -4.0))
    assert torch.allclose(result, alone + torch.tensor([3.0, -4.0]))


@pytest.mark.parametrize(("fused", "own"), [((0.0, 0.0), (1.0, 2.0)), ((1.0, 2.0), (0.0, 0.0))])
def test_a_zero_gradient_is_no_conflict(fused, own):
    assert torch.equal(joined(fused, own)[0], torch.tensor([1.0, 2.0]))


def test_opposite_gradients_cancel():
    # g = (2, 0), u = (-1, 0): w = 3 / 9, h = 2/3 g + 4/3 u = 0, since no step lowers both losses.
    result, _, weight = joined((2.0, 0.0), (-1.0, 0.0))
    assert weight == pytest.approx(1 / 3)
    assert result.tolist() == pytest.approx([0.0, 0.0], abs=1e-5)


numbers = st.floats(-10, 10, width=32).filter(lambda x: x == 0 or abs(x) > 1e-3)


@given(st.lists(numbers, min_size=3, max_size=3), st.lists(numbers, min_size=3, max_size=3))
def test_no_loss_is_raised(fused, own):
    result, _, weight = joined(tuple(fused), tuple(own), (0.0, 0.0, 0.0))
    g, u = torch.tensor(fused), torch.tensor(own)
    scale = float(g.norm() + u.norm()) ** 2
    if float(g.norm()) > 0 and float(u.norm()) > 0:
        assert float(result @ g) >= -1e-4 * scale and float(result @ u) >= -1e-4 * scale
    assert 0 <= weight <= 1 and bool(torch.isfinite(result).all())
    # The two losses are interchangeable.
    assert torch.allclose(joined(tuple(own), tuple(fused), (0.0,) * 3)[0], result, atol=1e-3)


def expected(g, u):
    """Compute the rule of MMPareto on flat vectors."""
    w = 0.5 if g @ u > 0 else float((u - g) @ u / ((g - u) @ (g - u)))
    h = 2 * w * g + 2 * (1 - w) * u
    return 1.5 * h * max(1.0, float((g + u).norm() / h.norm()))


@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
def test_in_a_step(strategy):
    balancer = MMPareto()
    trainer = small_trainer([balancer], 3, strategy=strategy, optimizer="sgd", clip=0.0)
    with torch.no_grad():  # a negated probe, whose loss opposes the fused loss
        trainer.model.probes["face"].weight.mul_(-3.0)
    alone, probes = loss_gradients(trainer), probe_gradients(trainer)
    one_step(trainer)
    conflicts = []
    for m in trainer.model.modalities:
        g, u = flat(alone["fused"][m]), flat(alone[f"unimodal.{m}"][m])
        conflicts.append(bool(g @ u <= 0))
        result = of_step(trainer, m) - 1.5 * flat(probes[m])  # not subject to the rule
        assert torch.allclose(result, expected(g, u), rtol=1e-3, atol=1e-6)
    assert True in conflicts and False in conflicts  # both branches of the rule were taken
    # The gradient of the head is that of the fused loss.
    assert torch.allclose(of_step(trainer, "head"), flat(alone["fused"]["head"]), atol=1e-6)
    weights = [balancer.metrics()[f"mmpareto.{m}"] for m in trainer.model.modalities]
    assert [w != 0.5 for w in weights] == conflicts


def test_metrics_are_means_over_the_epoch():
    balancer = MMPareto()
    trainer = small_trainer([balancer], epochs=1)
    assert balancer.metrics() == {}
    trainer.fit()
    assert set(balancer.metrics()) == {"mmpareto.voice", "mmpareto.face"}
    balancer.epoch_start(2)
    assert balancer.metrics() == {}


def test_parameters_out_of_range():
    with pytest.raises(ParameterError, match="mmpareto.boost must be above 0"):
        MMPareto(boost=0.0)
