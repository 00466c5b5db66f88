"""Integrated gradients, compared with integrals by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.core.analysis.explain.gradients import integrated_gradients

A, B = (0, "a"), (0, "b")


def test_gradients_of_a_linear_score_are_weight_times_value():
    weights = torch.tensor([[0.0, 2.0, -1.0], [1.0, 0.0, 0.5]])  # (C, 3)
    x = torch.tensor([[1.0, 3.0, -2.0], [4.0, 5.0, 6.0]])

    result = integrated_gradients(
        lambda inputs: inputs[A] @ weights.T, {A: x}, torch.tensor([0, 1]), steps=(1,)
    )

    assert result.values[A].tolist() == [[0.0, 6.0, 2.0], [4.0, 0.0, 3.0]]
    assert result.difference.tolist() == [8.0, 7.0]
    assert result.gap.tolist() == [0.0, 0.0]


def test_each_factor_of_a_product_has_half_of_the_value():
    """The gradient of x y on the path is (t y, t x): integral times input are x y / 2 each."""
    result = integrated_gradients(
        lambda inputs: inputs[A] * inputs[B],
        {A: torch.tensor([[3.0]]), B: torch.tensor([[4.0]])},
        torch.tensor([0]),
        steps=(1,),
    )

    assert result.values[A].item() == result.values[B].item() == 6.0


def test_a_clip_on_a_kink_gets_more_points_and_the_others_do_not():
    """The gradient of relu(x - 1) up to x = 4 has the mean 3/4, which few points don't resolve."""
    result = integrated_gradients(
        lambda inputs: (inputs[A] - 1).relu() + 5 * inputs[A].clamp(max=0),
        {A: torch.tensor([[4.0], [-1.0]])},
        torch.tensor([0, 0]),
        steps=(2, 512),
        tolerance=0.01,
    )

    assert result.steps.tolist() == [512, 2]
    assert result.difference.tolist() == [3.0, -5.0]
    assert result.values[A][:, 0].tolist() == pytest.approx([3.0, -5.0], abs=0.02)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), clips=st.integers(1, 5), channels=st.integers(1, 4))
def test_values_sum_to_the_score_minus_that_of_the_baseline(seed, clips, channels):
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.randn(s, generator=generator) for s in ((channels + 2, 6), (6, 3)))
    inputs = {
        A: 2 * torch.randn(clips, channels, generator=generator),
        B: 2 * torch.randn(clips, 2, generator=generator),
    }

    def scores(given):
        return ((torch.cat([given[A], given[B]], 1) @ first).tanh() @ second).log_softmax(1)

    targets = torch.randint(3, (clips,), generator=generator)
    result = integrated_gradients(scores, inputs, targets, steps=(64,))
    total = sum(v.sum(1) for v in result.values.values())
    blank = scores({key: torch.zeros_like(x) for key, x in inputs.items()})
    expected = (scores(inputs) - blank).gather(1, targets[:, None])[:, 0]

    assert torch.allclose(total, expected, atol=1e-3)
    assert torch.allclose(result.gap, total - expected, atol=1e-5)


def test_a_constant_score_has_zero_gradients():
    result = integrated_gradients(
        lambda inputs: torch.ones(2, 3), {A: torch.ones(2, 4)}, torch.tensor([0, 1])
    )

    assert not result.values[A].any()
    assert not result.gap.any()
