import copy

import pytest
import torch

from fusion import Pass
from fusion.core.contracts.errors import ParameterError
from fusion.core.testing.checks.problem import (
    SmallMaps,
    SmallStrategy,
    small_baselines,
    small_model,
    small_step,
    small_trainer,
)
from fusion.plugins.balancers.umt import UMT
from fusion.testing import BalancerSuite


class TestSuite(BalancerSuite):
    plugin = UMT


def stepped(modalities=3, strategy=SmallStrategy):
    model = small_model(modalities, strategy=strategy)
    return small_step(model, baselines=small_baselines(modalities))


@pytest.mark.parametrize("modalities", [1, 2, 3])
@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
def test_by_hand(modalities, strategy):
    step = stepped(modalities, strategy)
    losses = UMT(weight=3.0).losses({"fused": step.fused_loss}, step)
    assert list(losses) == ["fused", *(f"umt.{m}" for m in step.modalities)]
    for m in step.modalities:
        student = step.model.branches[m](step.inputs[m]).detach()
        teacher = step.context.baselines[m].model.branches[m](step.inputs[m])
        # The sum of squares is over 8 clips and 6 dimensions.
        expected = 3 * float((student - teacher).square().sum()) / 48
        assert float(losses[f"umt.{m}"].detach()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
def test_the_loss_reaches_only_its_branch(strategy):
    step = stepped(strategy=strategy)
    UMT().losses({}, step)["umt.face"].backward()
    reached = {n for n, p in step.model.named_parameters() if p.grad is not None}
    branch = step.model.branches["face"]
    assert reached == {f"branches.face.{n}" for n, _ in branch.named_parameters()}
    for baseline in step.context.baselines.values():
        assert all(p.grad is None and not p.requires_grad for p in baseline.model.parameters())


def test_a_student_equal_to_its_teacher_has_loss_zero():
    step = stepped(2)
    teacher = step.context.baselines["face"].model.branches["face"]
    step.model.branches["face"].load_state_dict(teacher.state_dict())
    again = step.context.batch("train", 8, torch.Generator().manual_seed(0))
    losses = UMT().losses({}, again)
    assert float(losses["umt.face"].detach()) == 0.0 < float(losses["umt.voice"].detach())


def test_teachers_are_not_changed():
    balancer = UMT()
    trainer = small_trainer([balancer])
    teachers = trainer.context.baselines
    before = {m: copy.deepcopy(b.model.state_dict()) for m, b in teachers.items()}
    trainer.fit()
    for m, baseline in teachers.items():
        assert not baseline.model.training
        assert all(torch.equal(v, before[m][k]) for k, v in baseline.model.state_dict().items())


def test_training_moves_students_towards_their_teachers():
    ends = {}
    for weight in (0.0, 30.0):
        trainer = small_trainer([UMT(weight=weight)], epochs=20)
        trainer.fit()
        step = trainer.context.batch("train", 16, torch.Generator().manual_seed(0))
        losses = UMT().losses({}, step)
        ends[weight] = sum(float(losses[f"umt.{m}"].detach()) for m in step.modalities)
    assert ends[30.0] < 0.3 * ends[0.0]


def test_with_several_passes_each_loss_is_counted_once():
    step = stepped()
    counted = []
    for passed in (Pass(("voice",)), Pass(("face", "text"))):
        step.current = passed
        counted += UMT().losses({}, step)
    assert counted == ["umt.voice", "umt.face", "umt.text"]


@pytest.mark.parametrize("weight", [-1.0, float("nan")])
def test_wrong_parameters(weight):
    with pytest.raises(ParameterError, match="umt needs weight >= 0, and was given weight="):
        UMT(weight=weight)
