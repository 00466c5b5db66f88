"""Conformance suite, scores computed by hand, and a function that no sum can express."""

from __future__ import annotations

import pytest
import torch
from fusion import ParameterError
from fusion.testing import StrategySuite
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fusion_multiplicative import Multiplicative


class TestConformance(StrategySuite):
    plugin = Multiplicative


class TestWithDropout(StrategySuite):
    plugin = Multiplicative
    parameters = {"width": 3, "dropout": 0.3}  # noqa: RUF012


def by_hand() -> Multiplicative:
    """Return a strategy on embeddings of one number that computes 1 + 2 a + 3 b + 5 a b."""
    strategy = Multiplicative({"a": 1, "b": 1}, 1, width=1)
    with torch.no_grad():
        strategy.bias.fill_(1.0)
        strategy.linear["a"].weight.fill_(2.0)
        strategy.linear["b"].weight.fill_(3.0)
        for project in strategy.project.values():
            project.weight.fill_(1.0)
        strategy.interactions[0].fill_(5.0)
    return strategy.eval()


def test_by_hand() -> None:
    inputs = {"b": torch.tensor([[4.0]]), "a": torch.tensor([[2.0]])}  # not in the order of dims
    assert by_hand()(inputs).item() == 1 + 2 * 2 + 3 * 4 + 5 * 2 * 4


def test_an_absent_modality_takes_its_terms_along() -> None:
    inputs = {"a": torch.tensor([[2.0], [2.0]]), "b": torch.tensor([[4.0], [4.0]])}
    present = torch.tensor([[True, False], [False, True]])
    assert by_hand()(inputs, present).flatten().tolist() == [1 + 2 * 2, 1 + 3 * 4]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_one_tensor_for_every_two(count: int) -> None:
    dims = {f"m{index}": 6 for index in range(count)}
    strategy = Multiplicative(dims, 3, width=2)
    assert [tuple(w.shape) for w in strategy.interactions] == [(3, 2, 2)] * (
        count * (count - 1) // 2
    )


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 40), st.integers(1, 32))
def test_products_start_no_larger_than_what_they_are_of(size: int, width: int) -> None:
    """The interaction of standard normal projections starts near the variance of a product."""
    torch.manual_seed(size)
    strategy = Multiplicative({"a": size, "b": size}, 4, width=width)
    a, b = torch.randn(2000, width), torch.randn(2000, width)
    scores = torch.einsum("bi,cij,bj->bc", a, strategy.interactions[0], b)
    assert scores.square().mean().sqrt() < 2.5


def test_it_learns_a_product() -> None:
    """The sign of a * b is learned, for which a linear head on both is right half of the time."""
    torch.manual_seed(0)
    inputs = {name: torch.randn(400, 1) for name in ("a", "b")}
    labels = (inputs["a"] * inputs["b"] > 0).long()[:, 0]
    strategy = Multiplicative({"a": 1, "b": 1}, 2, width=4)
    optimiser = torch.optim.Adam(strategy.parameters(), lr=0.05)
    for _ in range(100):
        loss = nn.functional.cross_entropy(strategy(inputs), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert (strategy(inputs).argmax(dim=1) == labels).float().mean() > 0.95


@pytest.mark.parametrize("wrong", [{"width": 0}, {"dropout": 1.0}, {"dropout": -0.1}])
def test_wrong_parameters_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ParameterError, match=f"{next(iter(wrong))}={next(iter(wrong.values()))}"):
        Multiplicative({"a": 1}, 2, **wrong)
