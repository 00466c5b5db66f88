from typing import ClassVar

import pytest
import torch
from torch.nn import functional

from fusion import Pass
from fusion.core.contracts.errors import ParameterError
from fusion.core.testing.checks.problem import SmallMaps, SmallStrategy, small_model, small_step
from fusion.plugins.balancers.unimodal_loss import UnimodalLoss
from fusion.testing import BalancerSuite


class TestSuite(BalancerSuite):
    plugin = UnimodalLoss


@pytest.mark.slow
class TestOfNothing(BalancerSuite):
    plugin = UnimodalLoss
    parameters: ClassVar = {"gamma": 0.0}
    single_unchanged = True
    equal_unchanged = True


@pytest.mark.parametrize("modalities", [1, 2, 3])
@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
def test_by_hand(modalities, strategy):
    model = small_model(modalities, strategy=strategy)
    step = small_step(model)
    losses = UnimodalLoss(gamma=0.5).losses({"fused": step.fused_loss}, step)
    assert list(losses) == ["fused", *(f"unimodal.{m}" for m in model.modalities)]
    assert losses["fused"] is step.fused_loss
    for m in model.modalities:
        # The loss is half the mean of -log p(right class).
        p = model.branches[m](step.inputs[m]) @ model.probes[m].weight.T + model.probes[m].bias
        right = p.softmax(1)[torch.arange(8), step.labels]
        expected = -0.5 * float(right.log().mean().detach())
        assert float(losses[f"unimodal.{m}"].detach()) == pytest.approx(expected)


@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
def test_the_loss_reaches_only_its_branch(strategy):
    model = small_model(3, strategy=strategy)
    step = small_step(model)
    UnimodalLoss().losses({}, step)["unimodal.face"].backward()
    reached = {name for name, p in model.named_parameters() if p.grad is not None}
    assert reached == {f"branches.face.{n}" for n, _ in model.branches["face"].named_parameters()}
    assert all(p.grad.abs().max() > 0 for p in model.branches["face"].parameters())


def test_the_weight_is_linear():
    step = small_step()
    expected = float(functional.cross_entropy(step.unimodal["voice"].detach(), step.labels))
    for gamma in (0.0, 1.0, 4.0):
        result = UnimodalLoss(gamma=gamma).losses({}, step)["unimodal.voice"]
        assert float(result.detach()) == pytest.approx(gamma * expected)


def test_with_several_passes_each_loss_is_counted_once():
    step = small_step(small_model(3))
    counted = []
    for passed in (Pass(("voice",)), Pass(("face", "text"))):
        step.current = passed
        counted += UnimodalLoss().losses({}, step)
    assert counted == ["unimodal.voice", "unimodal.face", "unimodal.text"]


@pytest.mark.parametrize("gamma", [-1.0, float("nan"), float("inf")])
def test_wrong_parameters(gamma):
    with pytest.raises(ParameterError, match="needs gamma >= 0, and was given gamma="):
        UnimodalLoss(gamma=gamma)
