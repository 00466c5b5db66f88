from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch

from fusion import Gradients, Pass
from fusion.core.contracts.errors import ParameterError
from fusion.core.testing.checks.problem import (
    SmallMaps,
    SmallStrategy,
    small_baselines,
    small_model,
    small_step,
    small_trainer,
)
from fusion.plugins.balancers.g2d import G2D, distillation
from fusion.testing import BalancerSuite


class TestSuite(BalancerSuite):
    plugin = G2D


@pytest.mark.slow
class TestPriority(BalancerSuite):
    """The suite without distillation, where equal teachers or a single teacher change nothing."""

    plugin = G2D
    parameters: ClassVar = {"logits": 0.0, "embeddings": 0.0}
    single_unchanged = True
    equal_unchanged = True


def stepped(modalities=3, strategy=SmallStrategy):
    model = small_model(modalities, strategy=strategy)
    return small_step(model, baselines=small_baselines(modalities))


# -- distillation ----------------------------------------------------------------------


def test_distillation_by_hand():
    # Teacher (3/4, 1/4), student (1/2, 1/2): 3/4 log(3/2) + 1/4 log(1/2) = 0.130812.
    teacher, student = torch.tensor([[3.0, 1.0]]).log(), torch.zeros(1, 2)
    assert float(distillation(student, teacher, 1.0)) == pytest.approx(0.130812, abs=1e-6)
    # At T = 2 the teacher's odds are sqrt 3 : 1, i.e. 0.633975 and 0.366025:
    # 4 * (0.633975 log 1.267949 + 0.366025 log 0.732051) = 4 * 0.036341.
    assert float(distillation(student, teacher, 2.0)) == pytest.approx(4 * 0.036341, abs=1e-5)
    # The loss is the mean over clips: a second clip with loss zero halves it.
    both = torch.cat([student, teacher]), torch.cat([teacher, teacher])
    assert float(distillation(*both, 1.0)) == pytest.approx(0.065406, abs=1e-6)


@pytest.mark.parametrize("modalities", [1, 2, 3])
@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
def test_losses_by_hand(modalities, strategy):
    step = stepped(modalities, strategy)
    argument = {"fused": step.fused_loss}
    losses = G2D(logits=2.0, embeddings=3.0, temperature=4.0).losses(argument, step)
    assert len(losses) == 1 + 2 * modalities and losses["fused"] is step.fused_loss
    for m in step.modalities:
        baseline = step.context.baselines[m]
        teacher, own = baseline.logits(step.inputs), step.unimodal[m].detach()
        t, s = (_softmax(f.numpy() / 4.0) for f in (teacher, own))
        divergence = (t * (np.log(t) - np.log(s))).sum(axis=1).mean()
        result = float(losses[f"g2d.logits.{m}"].detach())
        assert result == pytest.approx(2 * 16 * divergence, rel=1e-4)
        apart = step.embeddings[m].detach() - baseline.embedding(step.inputs)
        result = float(losses[f"g2d.embedding.{m}"].detach())
        assert result == pytest.approx(3 * float(apart.square().mean()), rel=1e-5)


def _softmax(scores):
    powers = np.exp(scores.astype(np.float64))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
@pytest.mark.parametrize("part", ["logits", "embedding"])
def test_losses_reach_only_their_branch(strategy, part):
    step = stepped(strategy=strategy)
    G2D().losses({}, step)[f"g2d.{part}.face"].backward()
    reached = {n for n, p in step.model.named_parameters() if p.grad is not None}
    branch = step.model.branches["face"]
    assert reached == {f"branches.face.{n}" for n, _ in branch.named_parameters()}
    for baseline in step.context.baselines.values():
        assert all(p.grad is None for p in baseline.model.parameters())


def test_with_several_passes_each_loss_is_counted_once():
    step = stepped()
    counted = []
    for passed in (Pass(("voice",)), Pass(("face", "text"))):
        step.current = passed
        counted += [n for n in G2D().losses({}, step) if n.startswith("g2d.logits")]
    assert counted == ["g2d.logits.voice", "g2d.logits.face", "g2d.logits.text"]


# -- frozen branches -------------------------------------------------------------------


def still(strength, epochs, share=0.5):
    """Return a dict from modality to the epochs in which the modality gets no gradient."""
    balancer = G2D(share=share)
    baselines = {m: SimpleNamespace(val_uar=uar) for m, uar in strength.items()}
    config = SimpleNamespace(epochs=epochs)
    context = SimpleNamespace(baselines=baselines, modalities=list(strength), config=config)
    balancer.setup(context)
    result = {m: [] for m in strength}
    for epoch in range(1, epochs + 1):
        gradients = Gradients({m: [torch.ones(1)] for m in strength})
        balancer.gradients(gradients, SimpleNamespace(epoch=epoch))
        assert all(float(f) == 0.0 for f in gradients.factors.values())
        for m in gradients.factors:
            result[m].append(epoch)
    return result


def test_the_stronger_of_two_branches_is_frozen_first():
    assert still({"a": 0.7, "b": 0.6}, 10) == {"a": [1, 2, 3, 4, 5], "b": []}
    assert still({"a": 0.5, "b": 0.6}, 10, share=0.29) == {"a": [], "b": [1, 2]}
    assert still({"a": 0.5, "b": 0.6}, 100, share=0.29)["b"][-1] == 29


def test_three_branches_are_released_weakest_first():
    result = still({"a": 0.9, "b": 0.5, "c": 0.7}, 12)
    # E = 6: the weakest is released at once, the next after 3 epochs, the strongest after 6.
    assert result == {"a": [1, 2, 3, 4, 5, 6], "b": [], "c": [1, 2, 3]}


def test_equally_strong_branches_are_released_together():
    assert still({"a": 0.6, "b": 0.6}, 10) == {"a": [], "b": []}
    result = still({"a": 0.6, "b": 0.8, "c": 0.6}, 8)
    assert result == {"a": [], "b": [1, 2, 3, 4], "c": []}


def test_order_does_not_matter_and_a_single_branch_is_not_frozen():
    strength = {"a": 0.9, "b": 0.5, "c": 0.7, "d": 0.6}
    assert still(strength, 12) == still(dict(reversed(strength.items())), 12)
    assert still({"a": 0.9}, 4) == {"a": []}
    assert still({"a": 0.9, "b": 0.1}, 4, share=0.0) == {"a": [], "b": []}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
def test_the_stronger_branch_does_not_move_in_training(optimizer, strategy):
    # The teacher of voice (UAR 0.7) is stronger than that of face (0.6).
    settings = {"optimizer": optimizer, "epochs": 4, "weight_decay": 0.1}
    if optimizer == "sgd":
        settings["weight_decay"] = 0.0  # SGD adds it to the gradient, unscaled
    trainer = small_trainer([G2D(share=0.5)], strategy=strategy, **settings)
    start = {m: _flat(b) for m, b in trainer.model.branches.items()}
    moved = []
    for epoch in range(1, 5):
        trainer._epoch(epoch)
        moved.append({m: not torch.equal(_flat(b), start[m]) for m, b in _branches(trainer)})
    assert [m["voice"] for m in moved] == [False, False, True, True]
    assert all(m["face"] for m in moved)


def _branches(trainer):
    return trainer.model.branches.items()


def _flat(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


@pytest.mark.parametrize(
    "bad", [{"logits": -1}, {"embeddings": -1}, {"temperature": 0}, {"share": 1}, {"share": -0.1}]
)
def test_wrong_parameters(bad):
    with pytest.raises(ParameterError, match="g2d needs"):
        G2D(**bad)
