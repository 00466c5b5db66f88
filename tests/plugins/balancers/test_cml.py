import math

import pytest
import torch
from stand_in import StandIn

from fusion.core.contracts.errors import ParameterError
from fusion.core.testing.checks.problem import SmallMaps, SmallStrategy, small_model, small_step
from fusion.plugins.balancers.cml import CML
from fusion.testing import BalancerSuite


class TestConformance(BalancerSuite):
    plugin = CML
    single_unchanged = True


def scores(*right):
    """Return scores of two classes whose softmax has these probabilities of class 0."""
    return torch.tensor([[math.log(p / (1 - p)), 0.0] for p in right])


def fake(fused, subsets, *, seed=0, shown=None, modalities=("a", "b")):
    requested = []

    def fuse(names):
        requested.append(tuple(sorted(names)))
        return subsets[requested[-1]]

    step = StandIn(
        modalities=list(modalities),
        shown=list(shown or modalities),
        generator=torch.Generator().manual_seed(seed),
        logits=fused,
        fuse=fuse,
        cross_entropy=lambda x, recorded: torch.nn.functional.cross_entropy(
            x, torch.zeros(2, dtype=int)
        ),
    )
    return step, requested


def test_two_modalities_by_hand():
    fused = scores(0.6, 0.9)
    subsets = {("a",): scores(0.8, 0.7), ("b",): scores(0.2, 0.95)}
    recorded = set()
    for seed in range(8):
        step, requested = fake(fused, subsets, seed=seed)
        start = {"fused": torch.tensor(1.0)}
        result = CML(penalty=0.5).losses(start, step)
        assert result["fused"] is start["fused"]
        if requested == [("a",)]:
            # The confidence is 0.8 and 0.7 without b, 0.6 and 0.9 with b: it rises by 0.2 and 0.
            rise, loss = 0.1, -(math.log(0.8) + math.log(0.7)) / 2
        else:
            # The confidence is 0.8 (in the wrong class) and 0.95: it rises by 0.2 and 0.05.
            assert requested == [("b",)]
            rise, loss = 0.125, -(math.log(0.2) + math.log(0.95)) / 2
        assert float(result["cml.confidence"]) == pytest.approx(0.5 * rise)
        assert float(result["cml.subsets"]) == pytest.approx(loss)
        recorded.update(requested)
    assert recorded == {("a",), ("b",)}  # each modality is chosen


def test_a_chain_of_three():
    names = ("a", "b", "c")
    subsets = {s: scores(0.5, 0.5) for s in [("a", "b"), ("a", "c"), ("b", "c")]}
    subsets |= {(m,): scores(0.7, 0.9) for m in names}
    step, requested = fake(scores(0.6, 0.8), subsets, modalities=names)
    result = CML().losses({"fused": torch.tensor(1.0)}, step)
    assert len(requested) == 2
    assert set(requested[1]) < set(requested[0])
    # The confidence does not rise from (0.6, 0.8) to (0.5, 0.5), then by 0.2 and 0.4 to (0.7, 0.9).
    assert float(result["cml.confidence"]) == pytest.approx(0.1 * 0.3)
    expected = math.log(2) - (math.log(0.7) + math.log(0.9)) / 2
    assert float(result["cml.subsets"]) == pytest.approx(expected)


def test_one_modality_adds_nothing():
    start = {"fused": torch.tensor(1.0)}
    step, _ = fake(scores(0.6, 0.8), {}, modalities=("a",))
    assert CML().losses(start, step) is start
    step, _ = fake(scores(0.6, 0.8), {}, shown=["b"])
    assert CML().losses(start, step) is start


def test_no_penalty_without_a_rise():
    step, _ = fake(scores(0.9, 0.9), {("a",): scores(0.8, 0.8), ("b",): scores(0.7, 0.7)})
    assert float(CML().losses({}, step)["cml.confidence"]) == 0


@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
def test_gradients_reach_the_shown_modalities(strategy):
    model = small_model(2, strategy=strategy)
    step = small_step(model)
    result = CML().losses({"fused": step.fused_loss}, step)
    weights = [model.branches[m].first.weight for m in model.modalities]
    head = model.strategy.head.weight
    subset = torch.autograd.grad(
        result["cml.subsets"], [*weights, head], retain_graph=True, allow_unused=True
    )
    reached = [g is not None and float(g.abs().max()) > 0 for g in subset]
    assert sorted(reached[:2]) == [False, True]  # only the shown modality
    assert reached[2]
    full = torch.autograd.grad(result["cml.confidence"], weights, allow_unused=True)
    assert all(g is not None and bool(torch.isfinite(g).all()) for g in full)


def test_parameters_out_of_range():
    with pytest.raises(ParameterError, match=r"cml\.penalty must be 0 or more, and is -0.1"):
        CML(penalty=-0.1)
