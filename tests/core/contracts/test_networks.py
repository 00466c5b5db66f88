"""Base classes of branches and strategies."""

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
    """A single weight between two modalities; both have equal weights at 0."""

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


def test_a_branch_applies_pool_after_maps():
    branch = Steps((2,), 2)
    assert (branch.shape, branch.dim, Steps.accepts((7, 7))) == ((2,), 2, True)
    assert branch(torch.tensor([[0.0, 1.0]])).tolist() == [[10, 20]]


@pytest.mark.parametrize("ask", [
    lambda: Branch((1,), 1).maps(torch.ones(1)), lambda: Branch((1,), 1).pool(torch.ones(1)),
    lambda: Branch((1,), 1)(torch.ones(1)), lambda: Strategy({}, 2).forward({}),
])  # fmt: skip
def test_required_methods_of_a_network_are_not_implemented_by_default(ask):
    with pytest.raises(NotImplementedError):
        ask()


@pytest.mark.parametrize("passed", [(), ({"a": 2}, 3), ({"a": 2}, 3, "more")])
def test_a_strategy_may_omit_arguments_of_the_base_class(passed):
    class Mine(Strategy):
        def __init__(self):
            super().__init__(*passed)
            self.head = nn.Linear(2, 3)  # torch raises an error without Module.__init__

    assert len(list(Mine().parameters())) == 2


def test_a_plain_strategy_has_no_requirements_and_no_calibration():
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
def test_calibration_finds_the_better_modality_and_changes_nothing_else(right, sign):
    strategy = Weighted({"a": 2, "b": 2}, 2)
    labels = torch.arange(20) % 2
    inputs = {m: (3.0 if m == right else -3.0) * nn.functional.one_hot(labels) for m in "ab"}
    strategy.calibrate(inputs, labels)
    assert sign * strategy.balance.item() > 1
    assert strategy.scale.item() == 1 and strategy.scale.grad is None


def test_equal_dims_returns_the_common_size_or_raises():
    assert equal_dims({"a": 8}, "sum") == equal_dims({"a": 8, "b": 8}, "sum") == 8
    for dims in ({"a": 8, "b": 6}, {}):
        with pytest.raises(ParameterError) as error:
            equal_dims(dims, "sum")
        assert error.value.message == (
            f"Strategy 'sum' needs embeddings of one size, and was given {dims}."
        )
    assert "--set train.dim=64" in error.value.hint
