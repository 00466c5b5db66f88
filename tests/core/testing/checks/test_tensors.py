"""Seeds, small steps and comparisons of tensors."""

import pytest
import torch
from torch import nn

from fusion.core.testing.checks.tensors import (
    channels_last,
    close,
    descend,
    difference,
    equal,
    leaves,
    listed,
    reached,
    seeded,
)


def test_a_seed_applies_inside_the_context_only():
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    with seeded(1):
        inside = torch.rand(3)
    assert torch.equal(torch.rand(2), expected)
    with pytest.raises(RuntimeError, match="mine"), seeded(1):
        assert torch.equal(torch.rand(3), inside)
        raise RuntimeError("mine")


def test_descend_subtracts_a_twentieth_of_the_gradient():
    network = nn.Linear(2, 1)
    with torch.no_grad():
        network.weight.fill_(1.0)
    network.bias.requires_grad_(False)
    bias = network.bias.clone()
    network.weight.grad = torch.full((1, 2), 1e6)  # from an earlier step: ignored
    descend(network, (network.weight * torch.tensor([[4.0, 0.0]])).sum())
    assert network.weight.tolist() == [[pytest.approx(0.8), 1.0]]
    assert torch.equal(network.bias, bias)


def test_gradients_of_rounding_size_do_not_count_as_reached():
    tensors = {name: torch.zeros(2, requires_grad=True) for name in ("big", "small", "dust")}
    tensors["none"] = torch.zeros(2, requires_grad=True)
    for name, size in (("big", -1.0), ("small", 1e-5), ("dust", 1e-7)):
        tensors[name].grad = torch.tensor([0.0, size])
    assert reached(tensors) == {"big", "small"}
    tensors["big"].grad.zero_()
    tensors["small"].grad.zero_()
    assert reached(tensors) == {"dust"}  # relative to the largest
    assert reached({"none": tensors["none"]}) == set()


def test_leaves_are_the_tensors_that_receive_gradients():
    weight, other = (torch.ones(2, requires_grad=True) for _ in range(2))
    constant = torch.ones(2)
    shared = weight * constant
    result = leaves((shared + shared * other.detach()).sum())
    assert len(result) == 1 and result[0] is weight
    assert {id(x) for x in leaves(shared * other)} == {id(weight), id(other)}
    assert leaves(constant * 2) == []


def test_channels_last_changes_the_layout_only():
    image = torch.rand(2, 3, 4, 5)
    assert torch.equal(channels_last(image), image)
    assert channels_last(image).stride() != image.stride()
    row = torch.rand(2, 3)
    assert channels_last(row) is row


def test_comparisons_of_tensors():
    a = torch.tensor([1.0, 1000.0])
    assert equal(a, a.clone()) and not equal(a, a + 1) and not equal(a, [1.0])
    assert equal(3, 3) and not equal("a", "b")
    # Tolerance: 1e-4 of the largest number or of 1, plus a thousandth of each number.
    assert close(a + torch.tensor([0.09, 0.0]), a)
    assert not close(a + torch.tensor([0.2, 0.0]), a)
    assert not close(torch.tensor([2e-4]), torch.tensor([0.0]))
    assert not close(a[None], a)
    assert not close(a * float("nan"), a)
    assert difference(a, a + torch.tensor([0.5, 0.0])) == "0.5"
    assert difference(a, a[None]) == "their shapes, (2,) and (1, 2)"
    assert listed({"b": 1, "a": 2}) == "a, b"
