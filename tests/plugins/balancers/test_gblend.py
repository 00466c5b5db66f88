from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loss_gradients import flat, loss_gradients, of_step, probe_gradients
from torch.nn import functional

from fusion import Pass
from fusion.core.contracts import Outputs
from fusion.core.contracts.errors import ParameterError
from fusion.core.testing.checks.problem import (
    SmallMaps,
    SmallStrategy,
    one_step,
    small_model,
    small_step,
    small_trainer,
)
from fusion.plugins.balancers.gblend import GBlend, blend_weights
from fusion.testing import BalancerSuite


class TestGBlend(BalancerSuite):
    plugin = GBlend
    parameters: ClassVar = {"epochs": 1}
    epochs = 3
    single_unchanged = True


def test_the_weights_by_hand():
    before = {"fused": [1.0, 1.2], "unimodal.a": [1.0, 1.1], "unimodal.b": [1.0, 1.0]}
    after = {"fused": [0.6, 1.0], "unimodal.a": [0.5, 1.0], "unimodal.b": [0.2, 1.1]}
    # fused: G = 0.2, O = 0.4 - 0.2 = 0.2, G / O^2 = 5.  a: G = 0.1, O = 0.5 - 0.1 = 0.4, 0.625.
    # b: validation got worse, so 0. The three weights sum to 5.625, and are scaled to sum to 3.
    result = blend_weights(before, after, floor=0.05)
    assert result == pytest.approx(
        {"fused": 3 * 5 / 5.625, "unimodal.a": 3 * 0.625 / 5.625, "unimodal.b": 0.0}
    )


def test_an_overfitting_gap_that_has_not_grown():
    before = {"fused": [1.0, 1.0], "unimodal.a": [1.0, 1.0]}
    after = {"fused": [0.9, 0.9], "unimodal.a": [0.8, 0.9]}
    # G = 0.1 for both; O = 0 counts as the floor 0.05: 40. O = 0.1: 10.
    assert blend_weights(before, after, floor=0.05) == pytest.approx(
        {"fused": 1.6, "unimodal.a": 0.4}
    )
    # A shrinking gap counts with its absolute value.
    after["unimodal.a"] = [1.0, 0.9]
    assert blend_weights(before, after, floor=0.05) == pytest.approx(
        {"fused": 1.6, "unimodal.a": 0.4}
    )
    worse = {"fused": [0.9, 1.1], "unimodal.a": [0.8, 1.0]}
    assert blend_weights(before, worse, floor=0.05) is None


losses = st.tuples(*[st.floats(0.01, 5)] * 4)


@given(st.lists(losses, min_size=2, max_size=4))
def test_invariants(numbers):
    names = [f"l{i}" for i in range(len(numbers))]
    before = {n: list(x[:2]) for n, x in zip(names, numbers, strict=True)}
    after = {n: list(x[2:]) for n, x in zip(names, numbers, strict=True)}
    result = blend_weights(before, after, floor=0.05)
    if result is None:
        assert all(after[n][1] >= before[n][1] for n in names)
        return
    assert sum(result.values()) == pytest.approx(len(names)) and min(result.values()) >= 0
    turned = blend_weights(
        {n: before[n] for n in reversed(names)}, dict(reversed(after.items())), 0.05
    )
    assert turned == pytest.approx(result)
    if len(set(numbers)) == 1:
        assert result == pytest.approx(dict.fromkeys(names, 1.0))


def outputs(level):
    """Return outputs with the losses of a margin `level` of two classes, log(1 + e^-level)."""
    scores = torch.tensor([[level, 0.0]])
    labels = torch.tensor([0])
    return Outputs([0], labels, {}, scores, {"a": scores, "b": 2 * scores})


def test_weights_are_updated_every_super_epoch():
    requested, levels = [], {"train": 1.0, "val": 0.5}

    def look(part):
        requested.append(part)
        return outputs(levels[part])

    balancer = GBlend(epochs=2)
    balancer.setup(
        SimpleNamespace(modalities=["a", "b"], outputs=look, cross_entropy=functional.cross_entropy)
    )
    balancer.epoch_start(1)
    assert requested == ["train", "val"]
    assert balancer.metrics() == {"gblend.fused": 1.0, "gblend.a": 1.0, "gblend.b": 1.0}
    balancer.epoch_start(2)
    assert requested == ["train", "val"]
    first = balancer.state_dict()
    levels |= {"train": 3.0, "val": 1.0}
    balancer.epoch_start(3)
    result = balancer.metrics()
    assert result["gblend.fused"] == pytest.approx(result["gblend.a"])  # their losses are equal
    assert result["gblend.b"] != result["gblend.a"]
    assert sum(result.values()) == pytest.approx(3.0)
    # A training resumed after the first super-epoch uses the losses measured before that.
    second = GBlend(epochs=2)
    second.setup(balancer._context)
    second.load_state_dict(first)
    second.epoch_start(3)
    assert second.metrics() == result
    # Without an improvement on validation the weights stay.
    levels |= {"train": 4.0, "val": 0.0}
    second.epoch_start(5)
    assert second.metrics() == result


@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
def test_in_a_step(strategy):
    balancer = GBlend()
    trainer = small_trainer([balancer], 3, strategy=strategy, optimizer="sgd", clip=0.0)
    weights = {"fused": 0.5, "unimodal.voice": 2.0, "unimodal.face": 0.0, "unimodal.text": 1.5}
    balancer.load_state_dict({"before": {}, "weights": weights})
    alone, probes = loss_gradients(trainer), probe_gradients(trainer)
    one_step(trainer)
    for m in trainer.model.modalities:
        own = f"unimodal.{m}"
        expected = 0.5 * flat(alone["fused"][m]) + weights[own] * flat(alone[own][m])
        result = of_step(trainer, m) - flat(probes[m])  # probes are not weighted
        assert torch.allclose(result, expected, rtol=1e-4, atol=1e-6)
    head = 0.5 * flat(alone["fused"]["head"])
    assert torch.allclose(of_step(trainer, "head"), head, rtol=1e-4, atol=1e-6)


def test_with_several_passes_each_loss_is_counted_once():
    step = small_step(small_model(3))
    balancer = GBlend()
    balancer.setup(step.context)
    balancer.load_state_dict({"before": {}, "weights": {"fused": 0.5, "unimodal.face": 3.0}})
    start = {"fused": torch.tensor(2.0)}
    result = []
    for passed in (Pass(("voice",)), Pass(("face", "text"))):
        step.current = passed
        result.append(balancer.losses(start, step))
    assert [list(f) for f in result] == [
        ["fused", "unimodal.voice"], ["fused", "unimodal.face", "unimodal.text"],
    ]  # fmt: skip
    assert [float(f["fused"]) for f in result] == [1.0, 1.0]  # each pass has a fused loss
    own = 3 * float(step.unimodal_losses["face"].detach())
    assert float(result[1]["unimodal.face"].detach()) == pytest.approx(own)


@pytest.mark.parametrize("bad", [{"epochs": 0}, {"floor": 0.0}])
def test_parameters_out_of_range(bad):
    with pytest.raises(ParameterError, match="gblend needs"):
        GBlend(**bad)
