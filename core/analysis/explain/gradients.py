"""Integrated gradients: how much each input value brings to a score (Sundararajan 2017)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .model import Inputs

# A trained network of ReLUs: 32 points do for five clips in six, 128 for nearly all the others.
STEPS = (32, 128)
TOLERANCE = 0.02


@dataclass(frozen=True, slots=True)
class Attribution:
    """What each input value brings to one class's score.

    Attributes
    ----------
    values : dict of Tensor
        In the shape of the inputs, (B, *shape).
    difference : Tensor
        (B,): score of the input minus score of the baseline.
    gap : Tensor
        (B,): sum of all values minus `difference`; zero but for the error of the integral.
    steps : Tensor
        (B,) int64: points at which the gradient was taken.
    """

    values: Inputs
    difference: Tensor
    gap: Tensor
    steps: Tensor


def integrated_gradients(
    scores: Callable[[Inputs], Tensor],
    inputs: Inputs,
    targets: Tensor,
    *,
    steps: Sequence[int] = STEPS,
    tolerance: float = TOLERANCE,
) -> Attribution:
    """Integrate the gradient on the straight line from zero to the input, times the input.

    phi_i = x_i * integral over t from 0 to 1 of d f(t x) / d x_i (Sundararajan, Taly and Yan
    2017, *Axiomatic attribution for deep networks*, eq. 1, with the baseline 0: of standardised
    inputs the mean of the training clips). The values sum to f(x) - f(0). The integral is a
    Gauss-Legendre sum. Networks with kinks (ReLU) need more points in some clips than in
    others: a clip whose sum is off gets the next number of points.

    Parameters
    ----------
    scores : callable
        Inputs -> (B, C), each row by itself (evaluation mode).
    inputs : dict of Tensor
        (B, *shape) float.
    targets : Tensor
        (B,) int64: whose score is explained.
    steps : sequence of int
        Numbers of points to try, one after the other.
    tolerance : float
        A clip is done when its gap is at most this, or this share of its difference.
    """
    with torch.no_grad():
        blank = scores({key: torch.zeros_like(x) for key, x in inputs.items()})
        difference = _of(scores(inputs) - blank, targets)  # (B,)
    values = {key: torch.zeros_like(x) for key, x in inputs.items()}
    gap = torch.full_like(difference, torch.inf)
    taken = torch.zeros_like(targets)
    allowed = tolerance * difference.abs().clamp_min(1.0)
    for number in steps:
        todo = torch.nonzero(gap.abs() > allowed)[:, 0]
        if not len(todo):
            break
        found = _integral(scores, {k: x[todo] for k, x in inputs.items()}, targets[todo], number)
        for key, part in found.items():
            values[key][todo] = part
        total = torch.stack([part.flatten(1).sum(dim=1) for part in found.values()]).sum(dim=0)
        gap[todo] = total - difference[todo]
        taken[todo] = number
    return Attribution(values, difference, gap, taken)


def _integral(
    scores: Callable[[Inputs], Tensor], inputs: Inputs, targets: Tensor, number: int
) -> Inputs:
    """Input times mean gradient on the way to it, by a Gauss-Legendre sum of `number` points."""
    points, weights = np.polynomial.legendre.leggauss(number)  # on [-1, 1]
    total = {key: torch.zeros_like(x) for key, x in inputs.items()}
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        here = {key: (float(point) * x).requires_grad_() for key, x in inputs.items()}
        with torch.enable_grad():
            score = _of(scores(here), targets).sum()
        if not score.requires_grad:  # a model that ignores all of its inputs
            break
        # One that ignores some of them has no gradient there, which is zero.
        found = torch.autograd.grad(
            score, list(here.values()), allow_unused=True, materialize_grads=True
        )
        for key, gradient in zip(here, found, strict=True):
            total[key] += float(weight) * gradient
    return {key: inputs[key] * mean for key, mean in total.items()}


def _of(scores: Tensor, targets: Tensor) -> Tensor:
    """(B, C), (B,) -> the score of each row's own class, (B,)."""
    return scores.gather(1, targets[:, None])[:, 0]
