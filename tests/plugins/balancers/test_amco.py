from typing import ClassVar

import pytest
import torch
from stand_in import StandIn

from fusion.core.contracts.errors import ParameterError
from fusion.core.testing.checks.problem import SmallMaps, SmallStrategy, small_model, small_step
from fusion.plugins.balancers.amco import AMCo
from fusion.testing import BalancerSuite


class TestConformance(BalancerSuite):
    plugin = AMCo
    parameters: ClassVar = {"growth": 0.2}
    single_unchanged = True
    equal_unchanged = True


def masked(right, epoch, *, classes=6, seed=0, shown=None, **parameters):
    """Return zero scores minus the masked contributions; modality i contributes 10^i per class."""
    step = StandIn(
        modalities=list(right),
        shown=list(shown or right),
        epoch=epoch,
        right={m: torch.tensor(p) for m, p in right.items()},
        contributions={m: torch.full((2, classes), 10.0**i) for i, m in enumerate(right)},
        generator=torch.Generator().manual_seed(seed),
    )
    balancer = AMCo(**parameters)
    balancer.setup(StandIn(modalities=list(right)))
    return balancer.logits(torch.zeros(2, classes), step), balancer.metrics()


def test_share_by_hand():
    # a: (0.6 / 0.8 + 0.1 / 0.5) / 2 = 0.475.
    _, shares = masked({"a": [0.6, 0.1], "b": [0.2, 0.4]}, epoch=1)
    assert shares == pytest.approx({"amco.a": 0.475, "amco.b": 0.525})


@pytest.mark.parametrize(
    ("epoch", "count"),
    # l = 0, 0.1, 0.2, 0.3: the sine of 0, 30, 60 and 90 degrees times 6 is 0, 3, 5.196, 6.
    [(1, 0), (2, 3), (3, 5), (4, 6), (40, 6)],
)
def test_how_many_classes_are_masked(epoch, count):
    scores, _ = masked({"a": [0.6, 0.6], "b": [0.2, 0.2]}, epoch)
    assert int((scores[0] == -1).sum()) == count
    assert int((scores[0] == 0).sum()) == 6 - count
    assert torch.equal(scores[0], scores[1])  # the same classes for the whole batch


def test_only_the_dominant_modality_is_masked():
    scores, _ = masked({"a": [0.2, 0.2], "b": [0.6, 0.6]}, epoch=4)
    assert torch.equal(scores, torch.full((2, 6), -10.0))
    # Three equal modalities have a share of one third each, and none is above one half.
    scores, _ = masked({"a": [0.4, 0.4], "b": [0.4, 0.4], "c": [0.4, 0.4]}, epoch=4)
    assert torch.equal(scores, torch.zeros(2, 6))
    # Two equal modalities have one half each, which is not above one half.
    scores, _ = masked({"a": [0.3, 0.7], "b": [0.3, 0.7]}, epoch=4)
    assert torch.equal(scores, torch.zeros(2, 6))
    # The share of c is 0.8 / 1.0.
    right = {"a": [0.1, 0.1], "b": [0.1, 0.1], "c": [0.8, 0.8]}
    assert torch.equal(masked(right, epoch=4)[0], torch.full((2, 6), -100.0))
    assert torch.equal(masked(right, epoch=4, threshold=0.85)[0], torch.zeros(2, 6))


def test_nothing_is_masked_with_one_modality_or_in_passes_of_one():
    assert torch.equal(masked({"a": [0.9, 0.9]}, epoch=4)[0], torch.zeros(2, 6))
    right = {"a": [0.6, 0.6], "b": [0.2, 0.2]}
    assert torch.equal(masked(right, epoch=4, shown=["a"])[0], torch.zeros(2, 6))


def test_the_mask_is_drawn_from_the_generator_of_the_step():
    right = {"a": [0.6, 0.6], "b": [0.2, 0.2]}
    one, equal, other = (masked(right, 2, classes=40, seed=seed)[0] for seed in (0, 0, 1))
    assert torch.equal(one, equal)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
def test_no_gradient_reaches_a_fully_masked_branch(strategy):
    model = small_model(2, strategy=strategy)
    step = small_step(model)
    step.epoch = 4
    certain = 9.0 * torch.nn.functional.one_hot(step.labels, 3)
    step.unimodal = {"voice": certain, "face": 0 * certain}
    balancer = AMCo()
    balancer.setup(step.context)
    logits = balancer.logits(step.logits, step)
    assert torch.allclose(logits, step.fuse(["face"]), atol=1e-5)  # the strategy is additive
    loss = step.cross_entropy(logits)
    sizes = {
        m: float(
            torch.autograd.grad(loss, model.branches[m].first.weight, retain_graph=True)[0]
            .abs()
            .max()
        )
        for m in model.modalities
    }
    assert sizes["voice"] < 1e-6 < 1e-3 < sizes["face"]


@pytest.mark.parametrize("bad", [{"threshold": 0.4}, {"threshold": 1}, {"eps": 0}, {"growth": -1}])
def test_parameters_out_of_range(bad):
    with pytest.raises(ParameterError, match="amco needs"):
        AMCo(**bad)
