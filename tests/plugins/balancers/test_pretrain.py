from typing import ClassVar

import pytest
import torch

from fusion import Balancer
from fusion.core.contracts.errors import ParameterError
from fusion.core.runs.balancing import check_composition
from fusion.core.testing.checks.problem import SmallMaps, SmallStrategy, one_step, small_trainer
from fusion.plugins.balancers.pretrain import Pretrain
from fusion.plugins.balancers.unimodal_loss import UnimodalLoss
from fusion.testing import BalancerSuite

STRATEGIES = pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])


class TestBaselines(BalancerSuite):
    plugin = Pretrain


@pytest.mark.slow
class TestOwn(BalancerSuite):
    plugin = Pretrain
    parameters: ClassVar = {"source": "own"}


class Fused(Balancer):
    """Balancer that adds another loss of the fused scores, as a third-party balancer may."""

    name = "another"

    def losses(self, losses, step):
        return losses | {"another.size": step.logits.square().mean()}


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


# -- from the baselines ----------------------------------------------------------------


def test_branches_and_probes_start_with_the_weights_of_the_baselines():
    trainer = small_trainer([Pretrain()], 3)
    for m, baseline in trainer.context.baselines.items():
        assert torch.equal(weights(trainer.model.branches[m]), weights(baseline.model.branches[m]))
        assert torch.equal(weights(trainer.model.probes[m]), weights(baseline.model.strategy))


def test_the_moving_average_starts_with_the_weights_of_the_baselines():
    trainer = small_trainer([Pretrain()], average=0.9)
    with trainer.average.applied():
        baseline = trainer.context.baselines["face"].model.branches["face"]
        assert torch.equal(weights(trainer.model.branches["face"]), weights(baseline))


def test_all_epochs_are_fine_tuning():
    trainer = small_trainer([Pretrain()])
    trainer.fit()
    assert all("stage" not in record for record in trainer.progress.history)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_fine_tuning_scales_the_steps_of_branches(optimizer):
    moved = {}
    for branch in (1.0, 0.1):
        settings = {"optimizer": optimizer, "weight_decay": 0.0, "clip": 0.0}
        trainer = small_trainer([Pretrain(branch=branch)], **settings)
        parts = {m: trainer.model.branches[m] for m in trainer.model.modalities}
        parts["head"] = trainer.model.strategy
        before = {m: weights(part) for m, part in parts.items()}
        one_step(trainer)
        moved[branch] = {m: weights(part) - before[m] for m, part in parts.items()}
    for m in ("voice", "face"):
        assert torch.allclose(moved[0.1][m], 0.1 * moved[1.0][m], rtol=1e-2, atol=1e-6)
    assert torch.equal(moved[0.1]["head"], moved[1.0]["head"])


# -- source "own" ----------------------------------------------------------------------


def test_stages():
    trainer = small_trainer([Pretrain(source="own", share=0.5)], epochs=5)
    trainer.fit()
    # floor(0.5 * 5) = 2 epochs are in the stage "alone", and none of them may be selected.
    result = [(r["stage"], r["candidate"]) for r in trainer.progress.history]
    assert result == [("alone", False)] * 2 + [("together", True)] * 3
    assert trainer.progress.best_epoch > 2


def test_source_own_does_not_start_from_the_baselines():
    own, plain = small_trainer([Pretrain(source="own")]), small_trainer()
    assert torch.equal(weights(own.model), weights(plain.model))


@STRATEGIES
@pytest.mark.parametrize("rest", [[], [Fused()]])
@pytest.mark.parametrize("first", [True, False])
def test_in_the_stage_alone_a_branch_learns_only_from_its_probe(strategy, rest, first):
    own = Pretrain(source="own")
    balancers = [own, *rest] if first else [*rest, own]
    trainer = small_trainer(balancers, 3, strategy=strategy, weight_decay=0.0, clip=0.0)
    trainer._enter(own.stage(1))
    step = one_step(trainer, epoch=1)
    for m, branch in trainer.model.branches.items():
        # With a map strategy, the probe also trains the pooling of the branch.
        trained = dict(branch.first.named_parameters())
        expected = torch.autograd.grad(_own_loss(trainer, step, m), list(trained.values()))
        for parameter, gradient in zip(trained.values(), expected, strict=True):
            assert torch.allclose(parameter.grad, gradient, atol=1e-6)
    assert all(p.grad is None for p in trainer.model.strategy.parameters())


def _own_loss(trainer, step, m):
    """Return the probe loss of m, computed with the weights before the step."""
    fresh = small_trainer(
        [], 3, strategy=type(trainer.model.strategy), weight_decay=0.0, clip=0.0
    ).model
    branch, now = fresh.branches[m], trainer.model.branches[m]
    # Gradients with respect to the parameters of `trainer`, at the values of `fresh`.
    with torch.no_grad():
        for p, old in zip(now.parameters(), branch.parameters(), strict=True):
            p.copy_(old)
    scores = torch.nn.functional.linear(
        now(step.inputs[m]), fresh.probes[m].weight, fresh.probes[m].bias
    )
    return step.cross_entropy(scores)


def test_the_head_is_frozen_in_the_stage_alone_and_moves_afterwards():
    trainer = small_trainer([Pretrain(source="own")], epochs=2)
    before = weights(trainer.model.strategy)
    trainer._epoch(1)
    assert torch.equal(weights(trainer.model.strategy), before)
    trainer._epoch(2)
    assert not torch.equal(weights(trainer.model.strategy), before)


def test_only_the_fused_loss_is_dropped_in_the_stage_alone():
    own = Pretrain(source="own")
    trainer = small_trainer([own])
    step = one_step(trainer, epoch=1)
    passed = {"fused": torch.tensor(1.0), "another.loss": torch.tensor(2.0)}
    step.epoch = 1
    assert set(own.losses(passed, step)) == {"unimodal.voice", "unimodal.face", "another.loss"}
    step.epoch = 2
    assert own.losses(passed, step) is passed


@pytest.mark.parametrize(("epoch", "names"), [(1, set()), (2, {"fused"})])
def test_combination_with_unimodal_loss(epoch, names):
    """A unimodal_loss that is named after pretrain determines the weight in both stages."""
    balancers = [Pretrain(source="own"), UnimodalLoss(gamma=2.0)]
    step = one_step(small_trainer(balancers), epoch=epoch)
    losses = {"fused": step.fused_loss}
    for balancer in balancers:
        losses = balancer.losses(losses, step)
    assert set(losses) == {"unimodal.voice", "unimodal.face", *names}
    expected = 2 * float(step.unimodal_losses["face"].detach())
    assert float(losses["unimodal.face"].detach()) == pytest.approx(expected)


def test_a_second_balancer_with_stages_is_refused():
    class Other(Balancer):
        name = "other"
        takes_over = ("stages",)

    with pytest.raises(ParameterError, match="what is trained in which epoch"):
        check_composition([Pretrain(), Other()])


def test_a_share_of_less_than_an_epoch():
    with pytest.raises(ParameterError, match=r"share=0.2 of 4 epochs is less than one epoch"):
        small_trainer([Pretrain(source="own", share=0.2)], epochs=4)
    own = Pretrain(source="own", share=0.29)
    small_trainer([own], epochs=100)
    assert own.stage(29).name == "alone" and own.stage(30).name == "together"


@pytest.mark.parametrize("bad", [{"share": 0}, {"share": 1}, {"branch": 0}, {"branch": -1}])
def test_wrong_parameters(bad):
    with pytest.raises(ParameterError, match="pretrain needs"):
        Pretrain(**bad)
