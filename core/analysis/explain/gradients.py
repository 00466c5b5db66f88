"""Integrated gradients: contribution of each input value to a score (Sundararajan 2017)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .model import Inputs

# In a trained ReLU network 32 points suffice for five clips in six, and 128 points for nearly all
# clips.
STEPS = (32, 128)
TOLERANCE = 0.02


@dataclass(frozen=True, slots=True)
class Attribution:
    """Contribution of each input value to the score of one class.

    Attributes
    ----------
    values : dict of Tensor
        Contributions in the shape of the inputs, (B, *shape).
    difference : Tensor
        (B,): score of the input minus score of the baseline 0.
    gap : Tensor
        (B,): sum of all values minus `difference`, which is the error of the numerical integral.
    steps : Tensor
        (B,) int64: number of points at which the gradient was evaluated.
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
    """Return the input times the mean gradient on the straight line from zero to the input.

    phi_i = x_i * integral over t from 0 to 1 of d f(t x) / d x_i (Sundararajan, Taly and Yan 2017,
    *Axiomatic attribution for deep networks*, eq. 1). The baseline is 0, which for standardised
    inputs is the mean of the training clips. The values sum to f(x) - f(0). The integral is
    approximated by a Gauss-Legendre sum. In networks with kinks (ReLU), some clips need more points
    than others. A clip whose sum is inaccurate is therefore computed again with the next number of
    points.

    Parameters
    ----------
    scores : callable
        Function from inputs to scores (B, C). Each row must depend only on its own clip (evaluation
        mode).
    inputs : dict of Tensor
        Standardised inputs, (B, *shape) float.
    targets : Tensor
        (B,) int64: class whose score is explained.
    steps : sequence of int
        Numbers of points to try, in this order.
    tolerance : float
        A clip is finished when its gap is at most `tolerance` times the larger of 1 and its
        difference.
    """
    with torch.no_grad():
        blank = scores({key: torch.zeros_like(x) for key, x in inputs.items()})
        difference = _of(scores(inputs) - blank, targets)  # (B,)
    values = {key: torch.zeros_like(x) for key, x in inputs.items()}
    gap = torch.full_like(difference, torch.inf)
    points_used = torch.zeros_like(targets)
    allowed = tolerance * difference.abs().clamp_min(1.0)
    for number in steps:
        todo = torch.nonzero(gap.abs() > allowed)[:, 0]
        if not len(todo):
            break
        parts = _integral(scores, {k: x[todo] for k, x in inputs.items()}, targets[todo], number)
        for key, part in parts.items():
            values[key][todo] = part
        total = torch.stack([part.flatten(1).sum(dim=1) for part in parts.values()]).sum(dim=0)
        gap[todo] = total - difference[todo]
        points_used[todo] = number
    return Attribution(values, difference, gap, points_used)


def _integral(
    scores: Callable[[Inputs], Tensor], inputs: Inputs, targets: Tensor, number: int
) -> Inputs:
    """Return input times mean gradient, by a Gauss-Legendre sum of `number` points."""
    points, weights = np.polynomial.legendre.leggauss(number)  # on [-1, 1]
    total = {key: torch.zeros_like(x) for key, x in inputs.items()}
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        scaled = {key: (float(point) * x).requires_grad_() for key, x in inputs.items()}
        with torch.enable_grad():
            score = _of(scores(scaled), targets).sum()
        if not score.requires_grad:  # the model ignores all of its inputs
            break
        # The gradient of an input that the model ignores is materialised as zero.
        gradients = torch.autograd.grad(
            score, list(scaled.values()), allow_unused=True, materialize_grads=True
        )
        for key, gradient in zip(scaled, gradients, strict=True):
            total[key] += float(weight) * gradient
    return {key: inputs[key] * mean for key, mean in total.items()}


def _of(scores: Tensor, targets: Tensor) -> Tensor:
    """Return the score of each row's target class, (B,), from scores (B, C) and targets (B,)."""
    return scores.gather(1, targets[:, None])[:, 0]
