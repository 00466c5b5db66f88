import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stand_in import StandIn

from fusion.core.contracts.errors import ParameterError
from fusion.core.testing.checks.problem import (
    SmallMaps,
    SmallStrategy,
    one_step,
    small_step,
    small_trainer,
)
from fusion.plugins.balancers.pmr import PMR, lag_weights, prototypes
from fusion.testing import BalancerSuite


class TestConformance(BalancerSuite):
    plugin = PMR
    single_unchanged = True
    equal_unchanged = True


def test_prototypes_by_hand():
    embeddings = torch.tensor([[1.0, 0.0], [3.0, 2.0], [5.0, 4.0]])
    found = prototypes(embeddings, torch.tensor([0, 0, 2]), 3)
    # Class 0 is the mean of two clips, class 2 its only clip. Class 1 has no clip, so the mean of
    # all.
    assert found.tolist() == [[2.0, 1.0], [3.0, 2.0], [5.0, 4.0]]


def weights(scores):
    return {
        m: float(b) for m, b in lag_weights({m: torch.tensor(a) for m, a in scores.items()}).items()
    }


def test_weights_by_hand():
    assert weights({"a": 3.0, "b": 2.0}) == pytest.approx({"a": 0.0, "b": 0.5})
    assert weights({"a": 1.0, "b": 9.0}) == pytest.approx({"a": 1.0, "b": 0.0})
    found = weights({"a": 2.0, "b": 2.5, "c": 2.0})
    assert found == pytest.approx({"a": 0.25, "b": 0.0, "c": 0.25})
    assert weights({"a": 2.0}) == {"a": 0.0}


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=5))
def test_weights_invariants(values):
    scores = {f"m{i}": a for i, a in enumerate(values)}
    found = weights(scores)
    assert all(0 <= b <= 1 for b in found.values())
    assert found[max(scores, key=scores.get)] == 0
    assert weights(dict(reversed(list(scores.items())))) == found
    if len(set(values)) == 1:
        assert set(found.values()) == {0.0}


def with_prototypes(by_modality, **parameters):
    balancer = PMR(**parameters)
    balancer.setup(StandIn(modalities=list(by_modality)))
    tensors = {m: torch.tensor(c) for m, c in by_modality.items()}
    balancer.load_state_dict({"prototypes": tensors, "weights": {}})
    return balancer


def seen(labels, **embeddings):
    labels = torch.tensor(labels)
    return StandIn(
        modalities=list(embeddings),
        labels=labels,
        embeddings=embeddings,
        context=StandIn(cross_entropy=torch.nn.functional.cross_entropy),
    )


def test_losses_by_hand():
    step = seen([0, 0], voice=torch.zeros(2, 1), face=torch.zeros(2, 1))
    # Distances from 0. voice: 1 and 1 + log 3, so p = 3/4; face: 1 and 1, so p = 1/2.
    balancer = with_prototypes(
        {"voice": [[1.0], [1 + math.log(3)]], "face": [[1.0], [-1.0]]}, alpha=2.0
    )
    fused = torch.tensor(1.0)
    found = balancer.losses({"fused": fused}, step)
    # Scores 1.5 and 1: beta of face is 1.5 - 1, and its loss log 2.
    assert float(found["pmr.voice"]) == 0.0
    assert float(found["pmr.face"]) == pytest.approx(2.0 * 0.5 * math.log(2))
    assert found["fused"] is fused
    assert balancer.metrics() == pytest.approx({"pmr.voice": 0.0, "pmr.face": 0.5})


def test_an_embedding_on_its_prototype_has_a_finite_gradient():
    z = torch.ones(2, 1, requires_grad=True)
    balancer = with_prototypes({"voice": [[1.0], [1.0]], "face": [[0.0], [9.0]]})
    found = balancer.losses({}, seen([1, 0], voice=z, face=torch.tensor([[9.0], [0.0]])))
    assert balancer.metrics()["pmr.voice"] > 0.9
    (gradient,) = torch.autograd.grad(found["pmr.voice"] + z.sum(), z)
    assert gradient.tolist() == [[1.0], [1.0]]


@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
def test_prototypes_are_a_running_mean(strategy):
    balancer = PMR(momentum=0.2)
    trainer = small_trainer([balancer], strategy=strategy)
    trainer.context.changed()
    balancer.epoch_start(1)
    first = balancer.state_dict()["prototypes"]
    known = trainer.context.outputs("train")
    for m in trainer.model.modalities:
        own = known.embeddings[m][known.labels == 1].mean(dim=0)
        assert torch.allclose(first[m][1], own, atol=1e-5)
    one_step(trainer)
    balancer.epoch_start(2)
    known = trainer.context.outputs("train")
    for m, c in balancer.state_dict()["prototypes"].items():
        own = known.embeddings[m][known.labels == 1].mean(dim=0)
        assert torch.allclose(c[1], 0.2 * first[m][1] + 0.8 * own, atol=1e-5)


@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
def test_the_loss_reaches_only_its_own_branch(strategy):
    balancer = PMR()
    trainer = small_trainer([balancer], strategy=strategy)
    balancer.epoch_start(1)
    step = small_step(trainer.model)
    found = balancer.losses({}, step)
    (lagging,) = [m for m in trainer.model.modalities if balancer.metrics()[f"pmr.{m}"] > 0]
    for m in trainer.model.modalities:
        named = dict(trainer.model.named_parameters())
        grads = torch.autograd.grad(
            found[f"pmr.{m}"], list(named.values()), retain_graph=True, allow_unused=True
        )
        reached = {
            name
            for name, g in zip(named, grads, strict=True)
            if g is not None and float(g.abs().max()) > 0
        }
        own = {name for name in named if name.startswith(f"branches.{m}.")}
        assert reached == (own if m == lagging else set())


def test_state_survives():
    first, second = PMR(), PMR()
    trainer = small_trainer([first])
    first.epoch_start(1)
    step = small_step(trainer.model)
    expected = first.losses({}, step)
    second.setup(trainer.context)
    second.load_state_dict(first.state_dict())
    found = second.losses({}, step)
    assert {m: float(x.detach()) for m, x in found.items()} == {
        m: float(x.detach()) for m, x in expected.items()
    }


def test_one_modality_has_no_loss_and_no_prototypes():
    balancer = PMR()
    trainer = small_trainer([balancer], 1)
    balancer.epoch_start(1)
    assert balancer.state_dict()["prototypes"] == {}
    start = {"fused": torch.tensor(1.0)}
    assert balancer.losses(start, small_step(trainer.model)) is start


@pytest.mark.parametrize("bad", [{"alpha": -1}, {"momentum": 1.0}, {"momentum": -0.1}])
def test_parameters_out_of_range(bad):
    with pytest.raises(ParameterError, match="pmr needs"):
        PMR(**bad)
