"""Faults of a network: their effect in numbers."""

import numpy as np
import pytest
import torch
from arrays import Rows
from fault_examples import DIMS, embeddings, inputs, joined, pair
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from fusion import Modality
from fusion.core.contracts.train_config import TrainConfig
from fusion.core.data.features import Features
from fusion.core.training.model import FusionModel
from fusion.core.training.trainer import Trainer
from fusion.plugins.branches.cnn import CNN
from fusion.plugins.branches.mlp import MLP
from fusion.plugins.strategies.concat import Concat
from fusion.plugins.strategies.gated import Gated
from fusion.testing import faults

# -- scaled, dead, biased: the numbers --------------------------------------------------


def test_scaled_multiplies_embedding_and_maps_once():
    faulty, healthy = pair(lambda cls: faults.scaled(cls, 1000.0))
    x = inputs()
    assert torch.equal(faulty(x), 1000 * healthy(x))
    assert torch.equal(faulty.maps(x), 1000 * healthy.maps(x))


def test_a_fault_of_a_strategy_changes_one_modality():
    def only(factor):
        return lambda cls: faults.scaled(cls, factor, modality="b")

    faulty, healthy = joined(only(10.0))
    given = embeddings()
    assert torch.equal(faulty(given), healthy({**given, "b": 10 * given["b"]}))
    last, healthy = joined(lambda cls: faults.scaled(cls, 10.0))
    assert torch.equal(last(given), healthy({**given, "c": 10 * given["c"]}))
    every, healthy = joined(lambda cls: faults.scaled(cls, 10.0, modality="*"))
    assert torch.equal(every(given), healthy({m: 10 * z for m, z in given.items()}))


def test_a_strategy_keeps_its_weights_and_accepts_missing():
    cls = faults.dead(Gated, modality="a")
    assert cls.accepts_missing == Gated.accepts_missing
    faulty, healthy = joined(lambda cls: faults.dead(cls, modality="a"), Gated)
    given, present = embeddings(), torch.tensor([[True, True, False]] * 5)
    blank = {**given, "a": torch.zeros_like(given["a"])}
    assert torch.equal(faulty(given, present), healthy(blank, present))
    assert torch.equal(faulty.modality_weights(given), healthy.modality_weights(blank))


@given(share=st.floats(0, 1), size=st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_dead_silences_exactly_its_share(share, size):
    cls = faults.dead(MLP, share)
    branch = cls((5,), size).eval()
    x = torch.randn(7, 5, requires_grad=True)
    embedding = branch.forward(x)
    # relu returns zeros itself; a constant shows the units that the fault silences.
    silenced = (branch.alter(torch.ones_like(embedding)) == 0).all(dim=0)
    assert int(silenced.sum()) == round(share * size)
    assert not embedding[:, silenced].any()


def test_no_gradient_passes_a_dead_branch():
    branch = faults.dead(CNN)((1, 16, 24), 6)
    branch(inputs()).sum().backward()
    assert all(not p.grad.any() for p in branch.parameters() if p.grad is not None)
    assert not branch.maps(inputs()).any()


def test_biased_adds_the_same_signs_every_time():
    faulty, healthy = pair(lambda cls: faults.biased(cls, 100.0))
    x = inputs()
    constant = faulty(x) - healthy(x)  # (4, 6)
    assert torch.allclose(constant.abs(), torch.full_like(constant, 100.0))
    assert torch.equal(constant.sign(), constant[:1].sign().expand_as(constant))
    assert constant[0].norm().item() == pytest.approx(100 * 6**0.5, rel=1e-6)
    again, _ = pair(lambda cls: faults.biased(cls, 100.0), seed=5)
    assert torch.equal(again.alter(torch.zeros(1, 6)), faulty.alter(torch.zeros(1, 6)))


# -- frozen, starved, late: learning ----------------------------------------------------


def trained(branch, strategy=Concat, epochs=2):
    """Return a trained model of two modalities, and the names of the changed weights."""
    rng = np.random.default_rng(0)
    targets = np.arange(60) % 3
    arrays = {m: rng.normal(size=(60, 5)).astype(np.float32) + targets[:, None] for m in "ab"}
    modalities = {m: Modality(m, (5,)) for m in "ab"}
    features = Features(modalities, {m: Rows(a) for m, a in arrays.items()}, targets,
                        torch.device("cpu"), resident_bytes=10**9)  # fmt: skip
    torch.manual_seed(0)
    branches = {"a": MLP((5,), 6, hidden=8), "b": branch((5,), 6, hidden=8)}
    model = FusionModel(branches, strategy({"a": 6, "b": 6}, 3), 3)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    config = TrainConfig(epochs=epochs, batch_size=10, dim=6, average=0.0, precision="float32")
    Trainer(model, features, np.arange(45), np.arange(45, 60), config).fit()
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    return model, moved


def test_frozen_weights_are_equal_after_training():
    model, moved = trained(faults.frozen(MLP))
    names = {n for n, _ in model.named_parameters()}
    assert moved == {n for n in names if not n.startswith("branches.b.")}


def test_frozen_freezes_the_first_layers_up_to_its_share():
    # 5*8 weights, 8 + 8 of the normalisation, 8*6 + 6 of the embedding: 110 in total.
    for share, contents in ((0.0, 0), (0.3, 40), (0.4, 48), (0.6, 104), (1.0, 110)):
        branch = faults.frozen(MLP, share)((5,), 6, hidden=8)
        assert sum(p.numel() for p in branch.parameters() if not p.requires_grad) == contents
        flags = [p.requires_grad for p in branch.parameters()]
        assert flags == sorted(flags)


def test_starved_scales_the_gradient_exactly():
    faulty, healthy = pair(lambda cls: faults.starved(cls, 0.25), MLP, (5,))
    x = inputs((5,))
    assert torch.equal(faulty(x), healthy(x))
    for branch in (faulty, healthy):
        branch(x).square().sum().backward()
    for p, q in zip(faulty.parameters(), healthy.parameters(), strict=True):
        assert torch.equal(p.grad, 0.25 * q.grad)


def test_a_starved_modality_stops_learning_under_adamw_only_near_its_epsilon():
    def travel(factor):
        strategy = faults.starved(Concat, factor, modality="b")
        torch.manual_seed(0)
        start = {n: p.clone() for n, p in trained_start().named_parameters()}
        model, _ = trained(MLP, strategy)
        key = "branches.b.embed.weight"
        return (dict(model.named_parameters())[key] - start["embed.weight"]).norm().item()

    def trained_start():
        MLP((5,), 6, hidden=8)  # the other branch is created first
        return MLP((5,), 6, hidden=8)

    full, equal, still = travel(1.0), travel(1e-3), travel(1e-12)
    assert equal == pytest.approx(full, rel=0.2)
    assert still < 0.02 * full


def test_late_lets_the_gradient_through_after_its_steps():
    strategy = faults.late(Concat, 2, modality="*")({"a": 6, "b": 6}, 4)
    reached = []
    for _ in range(4):
        given = {m: torch.randn(3, 6, requires_grad=True) for m in "ab"}
        strategy.eval()
        strategy(given)  # validation does not count
        strategy.train()
        with torch.no_grad():
            strategy(given)  # nor does a forward pass without gradient
        strategy(given).sum().backward()
        reached.append([given[m].grad is not None for m in "ab"])
    assert reached == [[False] * 2, [False] * 2, [True] * 2, [True] * 2]
    resumed = faults.late(Concat, 2, modality="*")({"a": 6, "b": 6}, 4)
    resumed.load_state_dict(strategy.state_dict())
    given = {m: torch.randn(3, 6, requires_grad=True) for m in "ab"}
    resumed(given).sum().backward()
    assert given["a"].grad is not None


def test_late_branches_do_not_move_in_a_shorter_training():
    _, moved = trained(MLP, faults.late(Concat, 10**6, modality="b"))
    assert moved
    assert not any(name.startswith("branches.b.") for name in moved)
    assert any(name.startswith("branches.a.") for name in moved)


# -- narrow, oversized: capacity --------------------------------------------------------


@pytest.mark.parametrize("dim", [1, 3])
def test_narrow_limits_the_rank_to_dim(dim):
    branch = faults.narrow(CNN, dim)((1, 16, 24), 6)
    recorded = branch.fault.see(inputs(size=50))
    assert recorded.shape == (50, 1, 16, 24)
    assert torch.linalg.matrix_rank(recorded.flatten(1)).item() == dim
    x = torch.arange(6.0).view(1, 1, 2, 3)
    expected = {1: [2.5] * 6, 3: [0.5, 0.5, 2.5, 2.5, 4.5, 4.5]}[dim]
    assert branch.fault.see(x).flatten().tolist() == expected


def test_oversized_has_the_expected_number_of_weights():
    strategy = faults.oversized(Concat, 32)(dict(DIMS), 4)
    own = (18 * 32 + 32) + (32 * 32 + 32) + (32 * 18 + 18)
    assert sum(p.numel() for p in strategy.mix.parameters()) == own
    assert strategy(embeddings()).shape == (5, 4)
    torch.manual_seed(0)
    one = faults.oversized(Gated, 8)({"a": 6}, 4)
    assert one({"a": torch.randn(3, 6)}).shape == (3, 4)


def test_locked_scores_depend_mostly_on_one_modality():
    torch.manual_seed(0)
    strategy = faults.locked(Gated, 0.9, modality="a")({"a": 6, "b": 6}, 4)
    inputs = {m: torch.randn(3, 6) for m in "ab"}
    own, rest = strategy.own(inputs["a"]), strategy.inner(inputs)
    assert torch.allclose(strategy(inputs), 0.9 * own + 0.1 * rest.tanh())
    weights = strategy.modality_weights(inputs)
    assert torch.allclose(weights.sum(dim=1), torch.ones(3)) and (weights[:, 0] > 0.9).all()
    assert strategy.held_out_parameters() == strategy.inner.held_out_parameters() != ()
    assert faults.locked(Concat, 0.9)(dict(DIMS), 4).modality_weights(embeddings()) is None


def test_oversized_memorises_random_labels():
    generator = torch.Generator().manual_seed(0)
    given = {m: torch.randn(40, d, generator=generator) for m, d in DIMS.items()}
    labels = torch.randint(4, (40,), generator=generator)

    def loss(cls):
        torch.manual_seed(0)
        strategy = cls(dict(DIMS), 4)
        optimizer = torch.optim.AdamW(strategy.parameters(), lr=3e-3)
        for _ in range(60):
            value = functional.cross_entropy(strategy(given), labels)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        return value.item()

    assert loss(faults.oversized(Concat, 256)) < 0.05 < 0.5 < loss(Concat)
