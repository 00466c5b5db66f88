"""Branches and strategies with a fault: suites, composition, state and altered values."""

import pytest
import torch
from fault_examples import embeddings, inputs, joined, pair
from suites import failures

from fusion import Branch
from fusion.core.testing.faults.faulty_networks import chosen, flatten_to, shift, signs, throttle
from fusion.plugins.branches.cnn import CNN
from fusion.plugins.branches.mlp import MLP
from fusion.plugins.strategies.concat import Concat
from fusion.plugins.strategies.early import Early
from fusion.plugins.strategies.gated import Gated
from fusion.testing import BranchSuite, StrategySuite, faults


def test_faulty_branches_pass_the_suite():
    assert failures(BranchSuite, faults.starved(MLP, 0.5)) == {}
    # The fault acts on the embedding or on the maps, not on both.
    assert set(failures(BranchSuite, faults.scaled(MLP, 2.0))) == {"test_maps_and_pool"}


@pytest.mark.parametrize(
    "cls",
    [
        faults.scaled(Concat, 2.0),
        faults.oversized(Concat, 32),
        faults.locked(Concat, 0.9),
        faults.scaled(Gated, 2.0),
        faults.locked(Gated, 0.9),
        faults.starved(Early, 0.5),
    ],
)
def test_faulty_strategies_pass_the_suite(cls):
    assert failures(StrategySuite, cls) == {}


def test_faults_compose():
    faulty, _ = pair(lambda cls: faults.scaled(faults.biased(cls, 3.0), 10.0))
    _, healthy = pair(lambda cls: faults.biased(cls, 3.0))
    x = inputs()
    assert torch.allclose(faulty(x), 10 * faulty.inner(x))
    offset = faulty.inner(x) - healthy(x)
    assert torch.allclose(offset.abs(), torch.full_like(offset, 3.0), atol=1e-5)


def test_state_can_be_loaded(tmp_path):
    cls = faults.scaled(faults.dead(CNN, 0.5))
    first, second = cls((1, 16, 24), 6), cls((1, 16, 24), 6)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.eval()(inputs()), second.eval()(inputs()))


class Direct(Branch):
    """A branch with its own forward."""

    name = "direct"

    def __init__(self, shape: tuple[int, ...], dim: int = 5) -> None:
        super().__init__(shape, dim)
        self.map_channels = dim

    def maps(self, x):
        return x[:, : self.dim, None]

    def pool(self, maps):
        return maps[:, :, 0]

    def forward(self, x):
        return self.pool(self.maps(x)) + 1


def test_the_fault_acts_once_with_any_forward():
    branch = faults.scaled(faults.scaled(Direct, 2.0), 5.0)((5,), 5)
    x = torch.ones(2, 5)
    assert torch.equal(branch(x), torch.full((2, 5), 20.0))
    assert torch.equal(branch.maps(x), torch.full((2, 5, 1), 10.0))


def test_altered_units_are_independent_of_the_seed():
    assert chosen(8, 0.5).sum() == 4
    assert chosen(5, 0.0).sum() == 0 and chosen(5, 1.0).all()
    torch.manual_seed(1)
    drawn = chosen.__wrapped__(8, 0.5), signs.__wrapped__(6)
    torch.manual_seed(2)
    assert torch.equal(chosen.__wrapped__(8, 0.5), drawn[0])
    assert torch.equal(signs.__wrapped__(6), drawn[1])
    assert set(signs(64).tolist()) == {-1.0, 1.0}


def test_alterations_keep_shape_and_dtype():
    maps = torch.ones(2, 6, 3, 4, dtype=torch.bfloat16)
    shifted = shift(maps, size=2.0)
    assert (shifted.shape, shifted.dtype) == (maps.shape, torch.bfloat16)
    # The sign is the same at all positions of a channel.
    assert torch.equal(shifted, shifted[:, :, :1, :1].expand_as(shifted))
    runs = flatten_to(torch.arange(4.0).view(1, 4), dim=9)  # more segments than numbers
    assert runs.tolist() == [[0.0, 1.0, 2.0, 3.0]]


def test_throttle_scales_the_gradient():
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    y = throttle(x, factor=0.25)
    assert torch.equal(y, x)
    (y * torch.tensor([4.0, 8.0])).sum().backward()
    assert x.grad.tolist() == [1.0, 2.0]


def test_a_locked_strategy_falls_back_for_clips_without_the_modality():
    faulty, _ = joined(lambda cls: faults.locked(cls, 0.9, modality="a"), Gated)
    passed = embeddings()
    present = torch.tensor([[True, True, True], [False, True, True]] + [[True] * 3] * 3)
    with torch.no_grad():
        scores, inner = faulty(passed, present), faulty.inner(passed, present)
        own = faulty.own(passed["a"])
    assert torch.equal(scores[1], inner[1])  # without the locked modality: the healthy scores
    torch.testing.assert_close(scores[0], 0.9 * own[0] + 0.1 * inner[0].tanh())
