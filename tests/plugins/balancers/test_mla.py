import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fusion import Balancer
from fusion.core.contracts.errors import ParameterError
from fusion.core.testing.checks.problem import SmallMaps, one_step, small_trainer
from fusion.plugins.balancers.mla import MLA, projector_after
from fusion.plugins.strategies.concat import Concat
from fusion.plugins.strategies.sum import Sum
from fusion.testing import BalancerSuite


class TestMLA(BalancerSuite):
    plugin = MLA
    single_unchanged = True
    order_matters = "the modalities are trained one after the other"


class Note(Balancer):
    """Balancer that records the head's gradient and input in each pass."""

    name = "note"

    def setup(self, context):
        self.head = context.model.strategy.head
        self.gradient, self.input, self.branches = [], [], []

    def logits(self, logits, step):
        self.input.append({m: x.detach().clone() for m, x in step.representations.items()})
        return logits

    def gradients(self, gradients, step):
        self.gradient.append(self.head.weight.grad.clone())
        self.branches.append(gradients.modalities)


def test_the_projector_by_hand():
    # r = (3, 4), P = I: k = r, <r, k> = 25, so P = I - r r^T / (0.1 + 25).
    result = projector_after(torch.eye(2), torch.tensor([3.0, 4.0]), 0.1)
    expected = np.eye(2) - np.array([[9, 12], [12, 16]]) / 25.1
    assert result.numpy() == pytest.approx(expected, abs=1e-6)
    # The projector removes almost all of the component along r, and keeps the orthogonal component.
    assert (result @ torch.tensor([3.0, 4.0])).tolist() == pytest.approx(
        [3 * 0.1 / 25.1, 4 * 0.1 / 25.1], abs=1e-5
    )
    assert (result @ torch.tensor([-4.0, 3.0])).tolist() == pytest.approx([-4.0, 3.0], abs=1e-5)


@given(st.lists(st.lists(st.floats(-3, 3), min_size=3, max_size=3), min_size=1, max_size=6))
def test_the_projector_is_that_of_recursive_least_squares(inputs):
    result = torch.eye(3, dtype=torch.float64)
    for r in inputs:
        result = projector_after(result, torch.tensor(r, dtype=torch.float64), 0.1)
    # With a constant a the projector is (I + sum of r r^T / a)^-1: symmetric, eigenvalues in (0,
    # 1].
    expected = np.linalg.inv(np.eye(3) + sum(np.outer(r, r) for r in inputs) / 0.1)
    assert result.numpy() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("modalities", [2, 3])
def test_each_pass_is_projected_orthogonally_to_earlier_passes(modalities):
    before, after = Note(), Note()
    after.name = "after"
    trainer = small_trainer(
        [before, MLA(), after], modalities, strategy=Sum, optimizer="sgd", clip=0.0
    )
    one_step(trainer)
    names = trainer.model.modalities
    assert before.branches == [[m] for m in names]  # one pass per modality, in order
    projector = torch.eye(6)
    for i, m in enumerate(names):
        assert torch.allclose(after.gradient[i], before.gradient[i] @ projector, atol=1e-6)
        # The head has received only this modality's embedding; a is 0.1 in the first step.
        assert all(float(x.abs().sum()) == 0 for k, x in before.input[i].items() if k != m)
        projector = projector_after(projector, before.input[i][m].mean(dim=0), 0.1)
    assert torch.equal(after.gradient[0], before.gradient[0])  # no earlier pass
    mean = before.input[0][names[0]].mean(dim=0)
    unprojected, projected = before.gradient[1] @ mean, after.gradient[1] @ mean
    assert float(projected.norm()) < 0.5 * float(unprojected.norm())


def test_the_projection_changes_nothing_with_concat():
    before, after = Note(), Note()
    after.name = "after"
    trainer = small_trainer([before, MLA(), after], strategy=Concat, optimizer="sgd", clip=0.0)
    one_step(trainer)
    # Weights of the second modality depend on that modality only, so their gradient is unchanged.
    assert torch.allclose(after.gradient[1], before.gradient[1], atol=1e-7)


def test_a_falls_within_an_epoch():
    balancer = MLA(a=0.1)
    trainer = small_trainer([balancer], strategy=Sum, epochs=2)  # several steps per epoch
    n = trainer.context.steps_per_epoch
    note, recorded = Note(), []
    trainer.balancers.append(note)
    note.setup(trainer.context)
    from fusion.plugins.balancers import mla

    original = mla.projector_after

    def spy(before, r, a):
        recorded.append(a)
        return original(before, r, a)

    mla.projector_after = spy
    try:
        trainer.fit()
    finally:
        mla.projector_after = original
    expected = [0.1 ** (1 + i / n) for i in range(n) for _ in range(2)] * 2
    assert recorded == pytest.approx(expected)


def test_the_projector_is_reset_in_each_epoch():
    balancer = MLA()
    trainer = small_trainer([balancer], strategy=Sum)
    one_step(trainer)
    assert set(balancer._projectors) == {"head"} and balancer._projectors["head"].shape == (6, 6)
    assert balancer.metrics()["mla.voice"] == 1.0 and balancer.metrics()["mla.face"] < 1.0
    balancer.epoch_start(2)
    assert balancer._projectors == {} and balancer.metrics() == {}


class Asking(Balancer):
    """Balancer that runs the strategy between the passes."""

    name = "asking"

    def losses(self, losses, step):
        step.fuse(step.modalities[:1])
        return losses


@pytest.mark.parametrize("strategy", [Sum, SmallMaps])
def test_forward_passes_of_other_balancers_are_ignored(strategy):
    result = []
    for rest in ([], [Asking()]):
        balancer = MLA()
        trainer = small_trainer([balancer, *rest], strategy=strategy)
        one_step(trainer)
        assert not trainer.model.strategy.head._forward_hooks  # hooks are removed
        result.append(balancer._projectors["head"])
    assert torch.equal(*result)


@pytest.mark.parametrize("a", [0.0, 1.5])
def test_parameters_out_of_range(a):
    with pytest.raises(ParameterError, match="mla.a must be above 0 and at most 1"):
        MLA(a=a)
