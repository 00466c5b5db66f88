import pytest
import torch
from loss_gradients import flat, loss_gradients, of_step, probe_gradients

from fusion.core.contracts.errors import ParameterError
from fusion.core.testing.checks.problem import (
    SmallMaps,
    SmallStrategy,
    one_step,
    small_model,
    small_step,
    small_trainer,
)
from fusion.plugins.balancers.dgl import DGL
from fusion.testing import BalancerSuite


class TestDGL(BalancerSuite):
    plugin = DGL
    single_unchanged = True


@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
@pytest.mark.parametrize("modalities", [2, 3])
def test_losses_that_reach_each_branch_and_the_head(strategy, modalities):
    trainer = small_trainer(
        [DGL(alpha=4.0)], modalities, strategy=strategy, optimizer="sgd", clip=0.0
    )
    alone, probes = loss_gradients(trainer), probe_gradients(trainer)
    one_step(trainer)
    for m in trainer.model.modalities:  # alpha * own loss, no fused loss
        expected = 4 * (flat(alone[f"unimodal.{m}"][m]) + flat(probes[m]))
        assert float(expected.norm()) > 0
        assert torch.allclose(of_step(trainer, m), expected, rtol=1e-4, atol=1e-7)
    head = flat(alone["fused"]["head"])  # as in plain training, without alpha
    assert torch.allclose(of_step(trainer, "head"), head, rtol=1e-4, atol=1e-7)


def test_alpha_has_an_effect_with_adam():
    moved = {}
    for alpha in (1.0, 4.0):
        trainer = small_trainer([DGL(alpha=alpha)], weight_decay=0.0, clip=0.0)
        before = {m: flat(b.parameters()) for m, b in trainer.model.branches.items()}
        one_step(trainer)
        moved[alpha] = {
            m: flat(b.parameters()) - before[m] for m, b in trainer.model.branches.items()
        }
    for m, change in moved[1.0].items():
        assert torch.allclose(moved[4.0][m], 4 * change, rtol=1e-3, atol=1e-6)


def test_the_fused_loss_has_no_gradient_in_the_branches():
    step = small_step(small_model())
    result = DGL().representations(step.representations, step)
    assert not any(x.requires_grad for x in result.values())
    assert all(torch.equal(x, step.representations[m]) for m, x in result.items())
    losses = DGL().losses({"fused": step.fused_loss}, step)
    assert list(losses) == ["fused", "unimodal.voice", "unimodal.face"]
    assert losses["fused"] is step.fused_loss  # alpha multiplies no loss
    assert losses["unimodal.face"].item() == pytest.approx(step.unimodal_losses["face"].item())


@pytest.mark.parametrize("alpha", [0.0, -1.0])
def test_parameters_out_of_range(alpha):
    with pytest.raises(ParameterError, match="dgl.alpha must be above 0"):
        DGL(alpha=alpha)
