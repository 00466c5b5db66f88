"""Learned modality gap: the weight of agreement between modalities is learned on validation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from ...core.contracts import (
    Balancer,
    Context,
    Gradients,
    LogUniform,
    Space,
    Step,
    Uniform,
    hookimpl,
    inner,
    norm_of,
)
from ...core.contracts.training import Domain
from ...core.toolkit.ranges import check_ranges
from ._means import mean_over

_GAP = "lfm.gap"


class LFM(Balancer):
    """Fused loss plus a loss on disagreement of the modalities, weighted as learned on validation.

    ::

        L  = 2 (a0 * l(f) + a1 * JS(p_1, .. p_M)),    a0 = 1 - a1
        JS = mean over the batch of 1/M * sum over m of KL(p_m || p),    p = 1/M * sum of p_m
        every `every` steps:
        a1 <- clip(a1 + rate * cos(grad l_val, d g / d a1), 0.05, 0.95)
        d g / d a1 = 2 (grad JS - grad l(f)),    g the gradient of L

    p_m is the softmax of the probe's scores; the gradient reaches the branch, not the probe. JS is
    the Jensen-Shannon divergence of all modalities. l_val is the fused loss of a random batch of
    validation clips in evaluation mode.

    If clips lack modalities, the divergence of a clip is that of the modalities that it has, and
    the mean is over the clips with two or more modalities.

    How a1 is learned: a step changes the branches by -lr * g. The derivative of the validation loss
    one step later is d l_val(theta - lr g) / d a1 = -lr * <grad l_val, d g / d a1>. The update
    moves a1 towards a smaller l_val. The size of the update depends on the cosine between the two
    gradients and not on their lengths. The curve ``lfm.gap`` shows a1.

    Departure from the paper, step size: the derivative itself, with the published rate of 1e-4, is
    far too small to change a1 within a training. The step of a1 would be the product of a rate, lr
    and two gradients. The steps of Adam are far longer than lr times the gradient, so the
    derivative describes Adam's steps poorly. (A public version of the code replaces the rule by a
    curve that rises from 0.2 to 0.5 in 80 epochs. The curve was fitted to learned weights.)

    Further departures: the paper fuses by the mean of the single-modality scores, and the paper's l
    is the loss of this mean. Here l(f) is the fused loss of any strategy. All gradients are taken
    with respect to the branches alone, because JS has no gradient in other weights. grad l_val is
    computed at theta instead of one step later. g is treated as the step, as in plain gradient
    descent. Adam divides each entry of g by its running size, so in the inner product every entry's
    contribution has the right sign and a wrong size. Public code differentiates the loss of a
    validation batch twice and takes the mean over the entries of the first parameter, which is not
    the derivative with respect to a1. Public code also swaps the arguments of KL.

    Parameters
    ----------
    start : float
        Initial value of a1, in [0.05, 0.95]; 0.5 makes L = l(f) + JS.
    rate : float
        Largest change of a1 in one update, >= 0; 0 keeps a1 constant. The default is this project's
        choice.
    every : int
        Number of steps between two updates of a1, >= 1.

    When to use
    -----------
    If the modalities should agree on a clip and one modality lags. If the modalities are right on
    different clips, forcing them to agree loses the gain of fusion.

    Cost
    ----
    One backward pass for each of the losses instead of one for their sum. Every `every` steps one
    forward and backward pass of a validation batch.

    References
    ----------
    Yang, Wan, Jiang and Xu (2024), "Facilitating Multimodal Classification via Dynamically Learning
    Modality Gap", NeurIPS.
    """

    name = "lfm"
    reads_validation = True
    space: ClassVar[Mapping[str, Space]] = {
        "start": Uniform(0.05, 0.95),
        "rate": LogUniform(0.002, 0.2),
    }
    takes_over: ClassVar[tuple[Domain, ...]] = ("fused_loss",)
    separate: ClassVar[bool] = True
    checkpointed = ("_gap",)

    def __init__(self, *, start: float = 0.5, rate: float = 0.05, every: int = 10) -> None:
        check_ranges(self.name, "0.05 <= start <= 0.95, rate >= 0 and every >= 1", locals())
        self.start = start
        self.rate = rate
        self.every = every

    def setup(self, context: Context) -> None:
        self._gap = torch.tensor(self.start, device=context.device)

    def losses(self, losses: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        if len(step.modalities) < 2 or "fused" not in losses:
            return losses
        gap = jensen_shannon(step.unimodal_logits, step.has_modality)
        return {
            **losses,
            "fused": 2 * (1 - self._gap) * losses["fused"],
            _GAP: 2 * self._gap * gap,
        }

    def gradients(self, gradients: Gradients, step: Step) -> None:
        due = self.rate > 0 and step.index % self.every == 0
        if due and {"fused", _GAP} <= set(gradients.losses):
            slope, largest = self._slope(gradients, step)
            cosine = slope / largest.clamp_min(1e-30)
            self._gap = (self._gap + self.rate * cosine).clamp(0.05, 0.95)

    def _slope(self, gradients: Gradients, step: Step) -> tuple[Tensor, Tensor]:
        """Return <grad l_val, d g / d a1> over the branches, and the upper bound of this scalar."""
        size = step.context.config.batch_size
        validation = step.context.batch("val", size, step.generator).fused_loss
        assert validation is not None
        names = gradients.modalities
        wanted = [p for m in names for p in gradients.parameters(m)]
        gradient = torch.autograd.grad(validation, wanted, allow_unused=True)
        target = [
            torch.zeros_like(p) if g is None else g for p, g in zip(wanted, gradient, strict=True)
        ]
        agree = [t / self._gap for m in names for t in gradients.part(_GAP, m)]
        classify = [t / (1 - self._gap) for m in names for t in gradients.part("fused", m)]
        change = torch._foreach_sub(agree, classify)
        return inner(target, change), norm_of(target) * norm_of(change)

    def metrics(self) -> dict[str, float]:
        return {"lfm.gap": float(self._gap)}


def jensen_shannon(
    logits: Mapping[str, Tensor], present: Mapping[str, Tensor] | None = None
) -> Tensor:
    """Return the mean divergence, in nats, of the class scores (B, C) of the modalities.

    With `present`, (B,) bool by modality, the divergence of a clip is that of the modalities that
    the clip has. The mean is over the clips with two or more modalities. If there is no such clip,
    the mean is 0.
    """
    logs = torch.stack(list(logits.values())).log_softmax(dim=2)  # (M, B, C)
    if present is not None:
        return _divergence_of_present(logs, torch.stack([present[m] for m in logits]))
    middle = logs.logsumexp(dim=0) - math.log(len(logs))  # (B, C), log of the mean
    return (logs.exp() * (logs - middle)).sum(dim=2).mean()


def _divergence_of_present(logs: Tensor, present: Tensor) -> Tensor:
    """Return the mean divergence from log probabilities (M, B, C) and presence (M, B) bool."""
    counted = present.sum(dim=0) > 1  # (B,)
    # Clips that do not count are treated as complete, because a row of -inf has no gradient.
    present = (present | ~counted)[:, :, None]
    middle = logs.masked_fill(~present, -torch.inf).logsumexp(dim=0)  # (B, C)
    number = present.sum(dim=0)  # (B, 1)
    parts = logs.exp() * (logs - (middle - number.log()))  # (M, B, C)
    divergence = parts.masked_fill(~present, 0.0).sum(dim=(0, 2)) / number[:, 0]  # (B,)
    return mean_over(divergence, counted)


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [LFM]
