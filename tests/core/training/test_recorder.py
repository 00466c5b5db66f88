"""Records of a training, compared with values computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.core.contracts import Outputs
from fusion.core.training.model import FusionModel, LinearHead
from fusion.core.training.recorder import Recorder, embedding_sizes, validation_record
from fusion.plugins.branches.mlp import MLP
from fusion.plugins.strategies.concat import Concat


def model_of(*names: str) -> FusionModel:
    branches = {m: MLP((3,), 4) for m in names}
    return FusionModel(branches, Concat(dict.fromkeys(names, 4), 2), 2)


def test_gradient_and_update_are_those_of_the_step() -> None:
    model = model_of("a", "b")
    recorder = Recorder(model, steps_per_epoch=1)
    for parameter in model.parameters():
        parameter.data.fill_(2.0)
        parameter.grad = None
    for parameter in model.branches["a"].parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    with recorder.step(0), torch.no_grad():
        for parameter in model.branches["a"].parameters():
            parameter -= 0.02  # one hundredth of every weight
    record = recorder.epoch(1, last=True)
    weights = sum(p.numel() for p in model.branches["a"].parameters())
    assert record["gradient.a"] == pytest.approx(3 * math.sqrt(weights), rel=1e-4)
    assert record["update.a"] == pytest.approx(0.01, rel=1e-4)
    assert record["gradient.b"] == record["update.b"] == record["gradient"] == 0
    for gradient, update in record["layers"]["a"].values():
        assert gradient > 0 and update == pytest.approx(0.01, rel=1e-4)
    assert all(pair == [0, 0] for pair in record["layers"]["b"].values())


def test_the_same_few_steps_of_every_epoch_are_recorded() -> None:
    recorder = Recorder(model_of("a"), steps_per_epoch=40)
    searched = []
    for index in range(80):
        before = len(recorder._sums)
        with recorder.step(index):
            pass
        if len(recorder._sums) > before:
            searched.append(index)
    assert searched == [5, 15, 25, 35, 45, 55, 65, 75]


def test_layers_are_recorded_at_powers_of_two_multiples_of_ten_and_the_end() -> None:
    recorder = Recorder(model_of("a"), steps_per_epoch=1)
    written = []
    for epoch in range(1, 24):
        with recorder.step(epoch - 1):
            pass
        if "layers" in recorder.epoch(epoch, last=epoch == 23):
            written.append(epoch)
    assert written == [1, 2, 4, 8, 10, 16, 20, 23]


def test_an_epoch_without_steps_has_an_empty_record() -> None:
    assert Recorder(model_of("a"), steps_per_epoch=4).epoch(1, last=True) == {}


def test_every_parameter_of_branches_and_strategy_is_in_one_layer() -> None:
    model = model_of("a", "b")
    recorder = Recorder(model, steps_per_epoch=1)
    watched = [*model.branches.parameters(), *model.strategy.parameters()]
    assert len(recorder._layer_of) == len(watched)
    assert set(recorder.owners) == {"a", "b", ""}


def test_the_head_of_a_baseline_is_recorded() -> None:
    model = FusionModel({"a": MLP((3,), 4)}, LinearHead({"a": 4}, 2), 2)
    assert "" in Recorder(model, steps_per_epoch=1).owners


def test_embeddings_of_known_shape() -> None:
    # Two directions, one twice as wide as the other: singular values in a ratio of 2 : 1.
    z = torch.tensor([[2.0, 0, 5], [-2, 0, 5], [0, 1, 5], [0, -1, 5]])
    sizes = embedding_sizes(z)
    p = np.array([2, 1]) / 3
    assert sizes["rank"] == pytest.approx(math.exp(-(p * np.log(p)).sum()))
    assert sizes["spread"] == pytest.approx(math.sqrt((4 + 4 + 1 + 1) / 4))
    assert sizes["norm"] == pytest.approx((2 * math.sqrt(29) + 2 * math.sqrt(26)) / 4)


def test_constant_embeddings_have_rank_zero() -> None:
    assert embedding_sizes(torch.ones(5, 3) * 0.1) == {
        "norm": pytest.approx(0.1 * math.sqrt(3)),
        "spread": pytest.approx(0, abs=1e-8),
        "rank": 0,
    }
    assert embedding_sizes(torch.zeros(5, 3))["rank"] == 0


def test_embeddings_of_nan_have_rank_zero() -> None:
    assert embedding_sizes(torch.full((3, 2), math.nan))["rank"] == 0


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(3, 20), d=st.integers(1, 8), scale=st.floats(0.01, 100), seed=st.integers(0, 99)
)
def test_rank_is_between_one_and_the_size_and_scale_invariant(
    n: int, d: int, scale: float, seed: int
) -> None:
    z = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    rank = embedding_sizes(z)["rank"]
    assert 1 - 1e-6 <= rank <= min(d, n - 1) + 1e-6
    assert embedding_sizes(scale * z + 3)["rank"] == pytest.approx(rank, rel=1e-3)


def outputs(logits: list[list[float]], **probes: list[list[float]]) -> Outputs:
    rows = len(logits)
    return Outputs(
        np.arange(rows),
        torch.zeros(rows, dtype=torch.int64),
        {m: torch.randn(rows, 3) for m in probes},
        torch.tensor(logits),
        {m: torch.tensor(scores) for m, scores in probes.items()},
        {},
    )


def test_entropy_loss_and_agreement_of_known_scores() -> None:
    flat, sure = [[0.0, 0.0]], [[50.0, 0.0]]
    output = outputs(flat + sure, a=flat + sure, b=[[0.0, 1.0], [1.0, 0.0]])
    record = validation_record(output)
    assert record["entropy"] == pytest.approx(math.log(2) / 2, rel=1e-4)
    assert record["entropy.a"] == record["entropy"]
    assert record["val_loss.a"] == pytest.approx(math.log(2) / 2, rel=1e-4)
    assert record["agreement"] == 0.5  # a predicts 0, 0; b predicts 1, 0


def test_one_modality_has_no_agreement() -> None:
    assert "agreement" not in validation_record(outputs([[0.0, 0.0]], a=[[0.0, 0.0]]))
