from typing import ClassVar

import numpy as np
import pytest
import torch
from stand_in import StandIn
from torch.nn import functional

from fusion.core.contracts.errors import ParameterError
from fusion.core.testing.checks.problem import SmallMaps, SmallStrategy, small_trainer
from fusion.plugins.balancers.reconboost import ReconBoost
from fusion.testing import BalancerSuite


class TestReconBoost(BalancerSuite):
    plugin = ReconBoost
    parameters: ClassVar = {"turn": 1, "common": 1}
    epochs = 4
    single_unchanged = True
    order_matters = "the modalities take turns"


def made(*modalities, **parameters):
    balancer = ReconBoost(**parameters)
    balancer.setup(StandIn(modalities=list(modalities)))
    return balancer


def test_order_of_the_turns():
    balancer = made("a", "b", turn=2, common=1)
    turns = [balancer.active_modality(e) for e in range(1, 9)]
    assert turns == ["a", "a", None, "b", "b", None, "a", "a"]
    three = made("a", "b", "c", turn=1, common=1)
    assert [three.active_modality(e) for e in range(1, 8)] == ["a", None, "b", None, "c", None, "a"]
    stage = balancer.stage(4)
    assert (stage.name, stage.branches, stage.head) == ("turn of b", ("b",), True)
    assert balancer.stage(3).branches is None
    assert made("a").stage(1) is None


def step_of(scores, labels, epoch):
    """Return a step in which each modality by itself has the given scores."""
    return StandIn(
        epoch=epoch,
        modalities=list(scores),
        fuse=lambda recorded: scores[recorded[0]],
        cross_entropy=lambda logits, recorded: functional.cross_entropy(logits, labels),
    )


def test_the_loss_by_hand():
    scores = {
        "a": torch.tensor([[2.0, 0.0], [0.0, 1.0]], requires_grad=True),
        "b": torch.tensor([[1.0, 0.0], [3.0, 0.0]], requires_grad=True),
    }
    labels = torch.tensor([0, 1])
    balancer = made("a", "b", turn=1, common=1)
    fused = torch.tensor(7.0)
    losses = balancer.losses({"fused": fused, "other": fused}, step_of(scores, labels, epoch=1))
    # The sums are (3, 0) and (3, 1); -log softmax is log(1 + e^-3) and log(1 + e^2).
    expected = (np.log1p(np.exp(-3)) + np.log1p(np.exp(2))) / 2
    assert losses["fused"].item() == pytest.approx(expected) and losses["other"] is fused
    losses["fused"].backward()
    # Only the active modality gets the residual of the sum, (softmax - y) / B.
    p = 1 / (1 + np.exp(-3)), 1 / (1 + np.exp(-2))
    residual = np.array([[p[0] - 1, 1 - p[0]], [p[1], -p[1]]]) / 2
    assert scores["a"].grad.numpy() == pytest.approx(residual, abs=1e-6)
    assert scores["b"].grad is None
    common = balancer.losses({"fused": fused}, step_of(scores, labels, epoch=2))
    assert common["fused"] is fused


@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
def test_branches_trained_in_each_epoch(strategy):
    trained = []

    def note(record):
        now = {
            m: torch.cat([p.detach().flatten() for p in b.parameters()])
            for m, b in trainer.model.branches.items()
        }
        trained.append({m for m in now if not torch.equal(now[m], last[m])})
        last.update(now)
        stages.append(record["stage"])

    trainer = small_trainer(
        [ReconBoost(turn=1, common=1)], 3, strategy=strategy, epochs=6, on_epoch=note,
        weight_decay=0.0,
    )  # fmt: skip
    last = {
        m: torch.cat([p.detach().flatten().clone() for p in b.parameters()])
        for m, b in trainer.model.branches.items()
    }
    stages = []
    head = trainer.model.strategy.head.weight.detach().clone()
    trainer.fit()
    everything = {"voice", "face", "text"}
    assert trained == [{"voice"}, everything, {"face"}, everything, {"text"}, everything]
    assert stages == ["turn of voice", "common", "turn of face", "common", "turn of text", "common"]
    assert not torch.equal(trainer.model.strategy.head.weight, head)


@pytest.mark.parametrize("bad", [{"turn": 0}, {"common": 0}])
def test_parameters_out_of_range(bad):
    with pytest.raises(ParameterError, match="reconboost needs turns"):
        ReconBoost(**bad)
