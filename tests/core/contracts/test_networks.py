"""Branches and strategies: what the base classes do for a network."""

import pytest
import torch
from torch import nn

from fusion import Branch, Strategy
from fusion.core.contracts import equal_dims
from fusion.core.contracts.errors import ParameterError


class Steps(Branch):
    name = "steps"

    def maps(self, x):
        return x.unsqueeze(1) + 1

    def pool(self, maps):
        return 10 * maps.mean(dim=1)


class Weighted(Strategy):
    """A single weight between two modalities, 0 where both count the same."""

    name = "weighted"

    def __init__(self, dims, num_classes):
        super().__init__(dims, num_classes)
        self.balance = nn.Parameter(torch.zeros(()))
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, inputs):
        a = (self.balance + 0.0).sigmoid()
        return self.scale * (a * inputs["a"] + (1 - a) * inputs["b"])

    def held_out_parameters(self):
        return [self.balance]


def test_a_branch_is_its_pooling_after_its_maps():
    branch = Steps((2,), 2)
    assert (branch.shape, branch.dim, Steps.accepts((7, 7))) == ((2,), 2, True)
    assert branch(torch.tensor([[0.0, 1.0]])).tolist() == [[10, 20]]


@pytest.mark.parametrize("ask", [
    lambda: Branch((1,), 1).maps(torch.ones(1)), lambda: Branch((1,), 1).pool(torch.ones(1)),
    lambda: Branch((1,), 1)(torch.ones(1)), lambda: Strategy({}, 2).forward({}),
])  # fmt: skip
def test_what_a_network_must_bring_is_not_there_by_default(ask):
    with pytest.raises(NotImplementedError):
        ask()


@pytest.mark.parametrize("given", [(), ({"a": 2}, 3), ({"a": 2}, 3, "more")])
def test_a_strategy_may_pass_its_arguments_on_or_not(given):
    class Mine(Strategy):
        def __init__(self):
            super().__init__(*given)
            self.head = nn.Linear(2, 3)  # torch refuses it without Module.__init__

    assert len(list(Mine().parameters())) == 2


def test_a_plain_strategy_asks_for_nothing_and_calibrates_nothing():
    class Plain(Weighted):
        held_out_parameters = Strategy.held_out_parameters

    plain = Plain({"a": 2, "b": 2}, 2)
    inputs = {"a": torch.eye(2), "b": -torch.eye(2)}
    plain.calibrate(inputs, torch.arange(2))
    plain.adopt({})
    assert [p.item() for p in plain.parameters()] == [0, 1]
    assert plain.modality_weights(inputs) is None
    assert (plain.takes, plain.accepts_missing, plain.needs_baselines) == (
        "embeddings", False, False,
    )  # fmt: skip


@pytest.mark.parametrize(("right", "sign"), [("a", 1), ("b", -1)])
def test_calibration_finds_which_modality_to_trust_and_moves_nothing_else(right, sign):
    strategy = Weighted({"a": 2, "b": 2}, 2)
    labels = torch.arange(20) % 2
    inputs = {m: (3.0 if m == right else -3.0) * nn.functional.one_hot(labels) for m in "ab"}
    strategy.calibrate(inputs, labels)
    assert sign * strategy.balance.item() > 1
    assert strategy.scale.item() == 1 and strategy.scale.grad is None


def test_one_size_for_all_or_an_error_with_what_was_given():
    assert equal_dims({"a": 8}, "sum") == equal_dims({"a": 8, "b": 8}, "sum") == 8
    for dims in ({"a": 8, "b": 6}, {}):
        with pytest.raises(ParameterError) as error:
            equal_dims(dims, "sum")
        assert error.value.message == (
            f"Strategy 'sum' needs embeddings of one size, and was given {dims}."
        )
    assert "--set train.dim=64" in error.value.hint
