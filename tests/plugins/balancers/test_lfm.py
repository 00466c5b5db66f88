import math
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch

from fusion.core.contracts import Gradients
from fusion.core.contracts.errors import ParameterError
from fusion.core.testing.checks.problem import SmallMaps, SmallStrategy, one_step, small_trainer
from fusion.plugins.balancers.lfm import LFM, jensen_shannon
from fusion.testing import BalancerSuite


class TestConformance(BalancerSuite):
    plugin = LFM
    parameters: ClassVar = {"rate": 1.0, "every": 2}
    single_unchanged = True


def divergence(**logits):
    return float(jensen_shannon({m: torch.tensor(x) for m, x in logits.items()}))


def test_jensen_shannon_by_hand():
    # p = (3/4, 1/4), q = (1/2, 1/2), middle (5/8, 3/8).
    first = 0.75 * math.log(0.75 / 0.625) + 0.25 * math.log(0.25 / 0.375)
    second = 0.5 * math.log(0.5 / 0.625) + 0.5 * math.log(0.5 / 0.375)
    result = divergence(a=[[math.log(3), 0.0]], b=[[0.0, 0.0]])
    assert result == pytest.approx((first + second) / 2)
    # Three modalities that are certain of three different classes have the maximum, log 3.
    sure = [[[60.0, 0.0, 0.0]], [[0.0, 60.0, 0.0]], [[0.0, 0.0, 60.0]]]
    assert divergence(a=sure[0], b=sure[1], c=sure[2]) == pytest.approx(math.log(3))
    assert divergence(a=sure[0], b=sure[0], c=sure[0]) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
def test_losses_by_hand(strategy):
    trainer = small_trainer([LFM()], strategy=strategy)
    step = one_step(trainer)
    balancer = LFM(start=0.2)
    balancer.setup(trainer.context)
    result = balancer.losses({"fused": torch.tensor(3.0), "other": torch.tensor(1.0)}, step)
    assert float(result["fused"]) == pytest.approx(2 * 0.8 * 3)
    gap = float(jensen_shannon(step.unimodal_logits).detach())
    assert float(result["lfm.gap"].detach()) == pytest.approx(2 * 0.2 * gap)
    assert float(result["other"]) == 1.0
    assert LFM().losses({}, step) == {}  # without a fused loss there is nothing to weight


def learned(parts, towards, *, start=0.5, index=0, **parameters):
    """Return a1 after a step with these gradients of both losses in two branches of one weight."""
    weights = {m: torch.nn.Parameter(torch.zeros(1)) for m in ("a", "b")}
    gradients = Gradients(
        {m: [torch.zeros(1)] for m in weights},
        {m: [w] for m, w in weights.items()},
        {loss: {m: [torch.tensor([g])] for m, g in own.items()} for loss, own in parts.items()},
    )
    loss = sum(towards[m] * w.sum() for m, w in weights.items())
    context = SimpleNamespace(
        config=SimpleNamespace(batch_size=4),
        device="cpu",
        batch=lambda part, size, generator: SimpleNamespace(
            fused_loss={"val": loss}[part] if size == 4 else None
        ),
    )
    balancer = LFM(start=start, **parameters)
    balancer.setup(context)
    balancer.gradients(gradients, SimpleNamespace(index=index, context=context, generator=None))
    return balancer.metrics()["lfm.gap"]


def test_a1_follows_the_validation_gradient():
    # At a1 = 0.25 the parts are 2 a1 grad JS and 2 a0 grad l, so
    # d g / d a1 = part_js / 0.25 - part_fused / 0.75.
    parts = {"fused": {"a": 0.75, "b": 1.5}, "lfm.gap": {"a": 0.5, "b": -0.25}}
    # a: 2 - 1 = 1; b: -1 - 2 = -3. With grad l_val = (2, 1): 2 - 3 = -1, so the cosine is
    # -1 / sqrt(10 * 5).
    result = learned(parts, {"a": 2.0, "b": 1.0}, start=0.25, rate=0.1)
    assert result == pytest.approx(0.25 - 0.1 / math.sqrt(50))
    # Agreement lowers the validation loss, so a1 grows: <(1, -3), (2, -1)> = 5.
    result = learned(parts, {"a": 2.0, "b": -1.0}, start=0.25, rate=0.1)
    assert result == pytest.approx(0.25 + 0.1 * 5 / math.sqrt(50))
    # Parallel to d g / d a1, a1 moves by the rate, at any size of the gradient.
    for size in (1e-6, 1e6):
        result = learned(parts, {"a": size, "b": -3 * size}, start=0.25, rate=0.1)
        assert result == pytest.approx(0.35)


def test_a1_stays_where_validation_has_no_gradient():
    parts = {"fused": {"a": 0.75, "b": 1.5}, "lfm.gap": {"a": 0.5, "b": -0.25}}
    assert learned(parts, {"a": 0.0, "b": 0.0}, start=0.25, rate=0.1) == 0.25


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a1_moves_in_training_with_default_settings(optimizer):
    balancer = LFM(every=1)
    small_trainer([balancer], epochs=4, optimizer=optimizer).fit()
    assert abs(balancer.metrics()["lfm.gap"] - 0.5) > 1e-3


def test_a1_stays_within_its_limits_and_changes_only_every_n_steps():
    parts = {"fused": {"a": 0.5, "b": 0.0}, "lfm.gap": {"a": 1.0, "b": 0.0}}
    assert learned(parts, {"a": 9e9, "b": 0.0}, rate=1.0) == pytest.approx(0.95)
    assert learned(parts, {"a": -9e9, "b": 0.0}, rate=1.0) == pytest.approx(0.05)
    assert learned(parts, {"a": 9e9, "b": 0.0}, rate=1.0, index=7, every=10) == 0.5
    assert learned(parts, {"a": 9e9, "b": 0.0}, rate=0.0) == 0.5
    assert learned({"fused": parts["fused"]}, {"a": 9e9, "b": 0.0}, rate=1.0) == 0.5


def test_the_slope_is_the_derivative():
    """The slope equals a finite difference between two plain steps with smaller and larger a1."""
    balancer = LFM(rate=1.0, every=1)
    trainer = small_trainer([balancer], batch_size=12, optimizer="sgd", clip=0.0)
    model, lr = trainer.model, 1e-2
    recorded = {}
    plain = balancer._slope

    def noted(gradients, step):
        # The batch is all 12 clips of validation, so it does not depend on the drawn order.
        slope, largest = plain(gradients, step)
        recorded["slope"] = float(slope)
        assert abs(recorded["slope"]) <= float(largest)
        for m in gradients.modalities:
            parameters = gradients.parameters(m)
            for loss, weight in (("fused", 0.5), ("lfm.gap", 0.5)):
                for p, g in zip(parameters, gradients.part(loss, m), strict=True):
                    recorded.setdefault(loss, []).append((p, g / weight))
        recorded["before"] = [(p, p.detach().clone()) for p in model.parameters()]
        return slope, largest

    balancer._slope = noted
    one_step(trainer)
    values = []
    for a1 in (0.4, 0.6):
        with torch.no_grad():
            for p, value in recorded["before"]:
                p.copy_(value)
            for loss, weight in (("fused", 1 - a1), ("lfm.gap", a1)):
                for p, g in recorded[loss]:
                    p.sub_(lr * weight * g)
        generator = torch.Generator().manual_seed(0)
        values.append(float(trainer.context.batch("val", 12, generator).fused_loss.detach()))
    # d l_val / d a1 = -lr * slope, up to the curvature of l_val over the step.
    assert (values[1] - values[0]) / 0.2 == pytest.approx(-lr * recorded["slope"], rel=0.1)


def test_one_modality_changes_nothing():
    step = one_step(small_trainer([LFM()], 1))
    start = {"fused": torch.tensor(3.0)}
    assert LFM().losses(start, step) is start


def test_state_survives():
    first, second = LFM(start=0.3), LFM()
    context = SimpleNamespace(device="cpu")
    first.setup(context)
    second.setup(context)
    second.load_state_dict(first.state_dict())
    assert second.metrics() == {"lfm.gap": pytest.approx(0.3)}


@pytest.mark.parametrize("bad", [{"start": 0.01}, {"start": 1}, {"rate": -1}, {"every": 0}])
def test_parameters_out_of_range(bad):
    with pytest.raises(ParameterError, match="lfm needs"):
        LFM(**bad)
