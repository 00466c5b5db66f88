import copy
import io
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from fusion.core.contracts import Strategy
from fusion.core.contracts.errors import ParameterError
from fusion.core.testing.checks.problem import SmallMaps, SmallStrategy, small_model, small_trainer
from fusion.plugins.balancers.mmcosine import CosineHead, MMCosine
from fusion.plugins.strategies.attention import Attention
from fusion.plugins.strategies.bottleneck import Bottleneck
from fusion.plugins.strategies.concat import Concat
from fusion.plugins.strategies.cross_attention import CrossAttention
from fusion.plugins.strategies.early import Early
from fusion.plugins.strategies.film import Film
from fusion.plugins.strategies.gated import Gated
from fusion.plugins.strategies.lmf import LMF
from fusion.plugins.strategies.mean import Mean
from fusion.plugins.strategies.normalised import Normalised
from fusion.plugins.strategies.sum import Sum
from fusion.plugins.strategies.tensor import TensorFusion
from fusion.testing import BalancerSuite

DIMS = {"a": 8, "b": 8}
MAPS = (Bottleneck, CrossAttention, Early)


class TestConformance(BalancerSuite):
    plugin = MMCosine


def heads(strategy):
    return {n: x for n, x in strategy.named_modules() if isinstance(x, CosineHead)}


def inputs(strategy, dims=DIMS, clips=3):
    grid = (4, 4) if strategy.takes == "maps" else ()
    return {m: torch.randn(clips, d, *grid) for m, d in dims.items()}


def test_concat_by_hand():
    strategy = MMCosine(scale=10).adapt(Concat({"a": 2, "b": 1}, 2), {"a": 2, "b": 1})
    with torch.no_grad():
        strategy.head.weight.copy_(torch.tensor([[1.0, 0.0, 2.0], [3.0, 4.0, -5.0]]))
    scores = strategy({"a": torch.tensor([[3.0, 4.0]]), "b": torch.tensor([[0.5]])})
    # Cosines are 3/5 and 1 for class 0, 25/25 and -1 for class 1.
    assert scores[0].tolist() == pytest.approx([10 * (0.6 + 1), 10 * (1 - 1)], abs=1e-5)


def test_one_block_by_hand():
    strategy = MMCosine(scale=2).adapt(Sum({"a": 2, "b": 2}, 2), {"a": 2, "b": 2})
    with torch.no_grad():
        strategy.head.weight.copy_(torch.tensor([[2.0, 0.0], [0.0, -1.0]]))
    scores = strategy({"a": torch.tensor([[1.0, 1.0]]), "b": torch.tensor([[2.0, 3.0]])})
    # The sum is (3, 4), so the scores are 2 * 3/5 and 2 * -4/5.
    assert scores[0].tolist() == pytest.approx([1.2, -1.6], abs=1e-6)


def test_scores_do_not_depend_on_sizes():
    strategy = MMCosine().adapt(Concat(DIMS, 3), DIMS)
    passed = inputs(strategy)
    plain = strategy(passed).detach()
    assert torch.allclose(strategy({"a": 100 * passed["a"], "b": passed["b"]}), plain, atol=1e-4)
    with torch.no_grad():
        strategy.head.weight[:, :8] *= 7
    assert torch.allclose(strategy(passed), plain, atol=1e-4)
    assert float(plain.abs().max()) <= 20


@pytest.mark.parametrize(
    ("cls", "layer", "blocks"),
    [
        (Concat, "head", (8, 8)),
        (Sum, "head", (8,)),
        (Mean, "head", (8,)),
        (Film, "head", (16,)),  # as wide as both embeddings, but not their concatenation
        (Attention, "head", (8,)),
        (Normalised, "head.4", (64,)),
        (TensorFusion, "head", (81,)),
        (Early, "head", (64,)),
        (CrossAttention, "head", (128,)),
        (Bottleneck, "head", (64,)),  # scores are a mean over modalities
    ],
)
def test_every_strategy_with_a_last_linear_layer(cls, layer, blocks):
    torch.manual_seed(0)
    strategy = cls(DIMS, 5)
    before = {n: x.clone() for n, x in strategy.state_dict().items()}
    result = MMCosine().adapt(strategy, DIMS)
    assert result is strategy
    assert {n: x.blocks for n, x in heads(result).items()} == {layer: blocks}
    # No other layer has changed, and the weights are as before.
    after = result.state_dict()
    assert set(before) - set(after) <= {f"{layer}.bias"}
    assert all(torch.equal(x, before[n]) for n, x in after.items())
    passed = inputs(result)
    result.train()
    scores = result(passed)
    assert scores.shape == (3, 5)
    scores.square().sum().backward()
    assert float(heads(result)[layer].weight.grad.abs().max()) > 0


class Weighted(Strategy):
    """Strategy with a gate and one head for the weighted sum."""

    name = "weighted"

    def __init__(self, dims, num_classes):
        super().__init__()
        self.gate = nn.Linear(16, len(dims))
        self.head = nn.Linear(8, num_classes)

    def forward(self, inputs):
        weights = self.gate(torch.cat([inputs["a"], inputs["b"]], dim=1)).softmax(dim=1)
        return self.head(weights[:, :1] * inputs["a"] + weights[:, 1:] * inputs["b"])


def test_a_gate_as_wide_as_the_scores_is_not_a_head():
    # With two classes the gate is as wide as the scores.
    strategy = MMCosine().adapt(Weighted(DIMS, 2), DIMS)
    assert set(heads(strategy)) == {"head"}


class Late(Strategy):
    """Strategy with a head for each modality, and the mean of their scores."""

    name = "late"

    def __init__(self, dims, num_classes):
        super().__init__()
        self.heads = nn.ModuleDict({m: nn.Linear(d, num_classes) for m, d in dims.items()})

    def forward(self, inputs):
        return torch.stack([head(inputs[m]) for m, head in self.heads.items()]).mean(dim=0)


class Shared(Strategy):
    """Strategy that has one layer under two names."""

    name = "shared"

    def __init__(self, dims, num_classes):
        super().__init__()
        self.one = nn.Linear(8, num_classes)
        self.two = self.one

    def forward(self, inputs):
        return self.one(inputs["a"]) + self.two(inputs["b"])


class Gate(Strategy):
    """Strategy whose second part has no effect until its gate is non-zero."""

    name = "gate"

    def __init__(self, dims, num_classes):
        super().__init__()
        self.base = nn.Linear(8, num_classes)
        self.correction = nn.Linear(16, num_classes)
        self.opening = nn.Parameter(torch.zeros(()))

    def forward(self, inputs):
        joined = torch.cat([inputs["a"], inputs["b"]], dim=1)
        return self.base(inputs["a"]) + self.opening * self.correction(joined)


class Broken(Strategy):
    name = "broken"

    def forward(self, inputs):
        raise RuntimeError("no grid")


def test_a_head_for_each_modality():
    strategy = MMCosine().adapt(Late(DIMS, 3), DIMS)
    assert {n: x.blocks for n, x in heads(strategy).items()} == {"heads.a": (8,), "heads.b": (8,)}


def test_a_shared_layer_is_replaced_under_every_name():
    strategy = MMCosine().adapt(Shared(DIMS, 3), DIMS)
    assert isinstance(strategy.one, CosineHead)
    assert strategy.two is strategy.one


def test_strategies_without_a_last_linear_layer_are_refused():
    with pytest.raises(ParameterError, match="can't be used with the strategy 'lmf'") as caught:
        MMCosine().adapt(LMF(DIMS, 3), DIMS)
    assert "nn.Linear" in str(caught.value.hint)
    with pytest.raises(ParameterError, match="can't be used with the strategy 'gated'"):
        MMCosine().adapt(Gated(DIMS, 3), DIMS)
    with pytest.raises(ParameterError, match="can't be used with the strategy 'gate'"):
        MMCosine().adapt(Gate(DIMS, 3), DIMS)
    with pytest.raises(ParameterError, match="'broken': it fails on two random clips .*no grid"):
        MMCosine().adapt(Broken(), DIMS)


def test_a_head_is_not_replaced_twice():
    balancer = MMCosine()
    strategy = balancer.adapt(Concat(DIMS, 3), DIMS)
    head = strategy.head
    assert balancer.adapt(strategy, DIMS).head is head


@pytest.mark.parametrize("cls", [Concat, Weighted, Bottleneck])
def test_an_adapted_strategy_can_be_saved_and_copied(cls):
    created = [MMCosine().adapt(cls(DIMS, 3), DIMS).eval() for _ in range(2)]
    passed = inputs(created[0])
    expected = created[0](passed)
    file = io.BytesIO()
    torch.save(created[0].state_dict(), file)
    file.seek(0)
    created[1].load_state_dict(torch.load(file, weights_only=True))
    for again in (created[1], copy.deepcopy(created[0]), pickle.loads(pickle.dumps(created[0]))):
        assert torch.equal(again(passed), expected)


def test_adapting_draws_no_random_numbers_and_changes_no_statistics():
    strategy = Normalised(DIMS, 3)
    before = copy.deepcopy(strategy.state_dict())
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    adapted = MMCosine().adapt(strategy, DIMS)
    assert torch.equal(torch.rand(1), expected)
    assert adapted.training
    assert all(torch.equal(x, before[n]) for n, x in adapted.state_dict().items())


def test_a_zero_embedding_adds_nothing_and_has_a_finite_gradient():
    strategy = MMCosine().adapt(Concat(DIMS, 3), DIMS)
    passed = inputs(strategy)
    blank = torch.zeros_like(passed["b"], requires_grad=True)
    scores = strategy({"a": passed["a"], "b": blank})
    alone = 10 * torch.nn.functional.cosine_similarity(
        passed["a"][:, None], strategy.head.weight[None, :, :8], dim=2
    )
    assert torch.allclose(scores, alone, atol=1e-4)
    (gradient,) = torch.autograd.grad(scores.sum(), blank)
    assert bool(torch.isfinite(gradient).all())


@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
def test_training_returns_the_adapted_model(strategy):
    balancer = MMCosine()
    trainer = small_trainer([balancer], strategy=strategy)
    trainer.fit()
    again = small_model(strategy=strategy, balancers=[balancer], seed=7)
    again.load_state_dict(trainer.model.state_dict())
    raw, _ = trainer.features.batch(np.arange(5))
    assert torch.equal(again.eval()(raw), trainer.model.eval()(raw))
    assert float(again(raw).detach().abs().max()) <= 20


def test_parameters_out_of_range():
    with pytest.raises(ParameterError, match=r"mmcosine\.scale must be above 0, and is 0"):
        MMCosine(scale=0)
