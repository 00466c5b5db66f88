"""Learned modality gap: how closely the modalities must agree is learned on validation."""

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
    """Classification and agreement of the modalities, weighed by what helps on validation.

        L = 2 (a0 * l(f) + a1 * JS(p_1, .. p_M)),    a0 = 1 - a1,

    with p_m the softmax of the probes' scores (the gradient reaches the branch, not the probe)
    and JS the Jensen-Shannon divergence of all modalities, mean over the batch:

        JS = 1/M * sum over m of KL(p_m || p),    p = 1/M * sum of p_m.

    Where clips lack modalities, JS of a clip is that of the modalities that it has, and the mean
    is over the clips that have two or more.

    a1 is learned. A step changes the branches by -lr * g(a1), so one step ahead

        d l_val(theta - lr g) / d a1 = -lr * <grad l_val, d g / d a1>,
        d g / d a1 = 2 (grad JS - grad l(f)),

    and every `every` steps, with l_val the fused loss of a random batch of validation clips in
    evaluation mode,

        a1 <- clip(a1 + rate * cos(grad l_val, d g / d a1), 0.05, 0.95),

    a step towards a smaller l_val, of a size that depends on how well the two agree and not on
    how long they are. The derivative itself, with the published rate of 1e-4, is far too small
    to move a1 within a training: the step of a1 is a rate times lr times two gradients, and
    under Adam, whose steps are far longer than lr times the gradient, it says little about
    them. (A published version of the code has, in place of the rule, a curve over the epochs
    that was fitted to learned weights: from 0.2 to 0.5 in 80 epochs.) The curve ``lfm.gap``
    shows a1.

    Departures beside that: the paper's l is that of the mean of single-modality scores, which
    is its fusion; here l(f) takes its place, whatever the strategy. The gradients are of the
    branches alone: JS reaches nothing else. grad l_val is taken at theta, not one step ahead,
    and the step is taken as a plain gradient step: Adam's divides each entry of g by its running
    size, so the sign of every entry's share in the inner product is right and its size is not.
    Public code differentiates the loss of a validation batch twice and takes the mean over the
    entries of the first parameter, which is not the derivative by a1; it also has the arguments
    of KL turned round.

    Parameters
    ----------
    start : float
        First value of a1, in [0.05, 0.95]; 0.5 makes L = l(f) + JS.
    rate : float
        The most that a1 moves at once, >= 0; 0 keeps it. This project's choice.
    every : int
        Steps from one change of a1 to the next, >= 1.

    When to use
    -----------
    Where the modalities should say the same of a clip and one of them lags. Where they are
    right on different clips, agreement costs what fusion could gain.

    Cost
    ----
    A backward pass for each of the losses instead of one for their sum; every `every` steps a
    forward and backward pass of a validation batch.

    References
    ----------
    Yang, Wan, Jiang and Xu (2024), "Facilitating Multimodal Classification via Dynamically
    Learning Modality Gap", NeurIPS.
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
        gap = jensen_shannon(step.unimodal_logits, step.there)
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
        """<grad l_val, d g / d a1> over the branches, a scalar, and the most that it can be."""
        size = step.context.config.batch_size
        validation = step.context.batch("val", size, step.generator).fused_loss
        assert validation is not None
        names = gradients.modalities
        wanted = [p for m in names for p in gradients.parameters(m)]
        found = torch.autograd.grad(validation, wanted, allow_unused=True)
        towards = [
            torch.zeros_like(p) if g is None else g for p, g in zip(wanted, found, strict=True)
        ]
        agree = [t / self._gap for m in names for t in gradients.part(_GAP, m)]
        classify = [t / (1 - self._gap) for m in names for t in gradients.part("fused", m)]
        change = torch._foreach_sub(agree, classify)
        return inner(towards, change), norm_of(towards) * norm_of(change)

    def metrics(self) -> dict[str, float]:
        return {"lfm.gap": float(self._gap)}


def jensen_shannon(
    logits: Mapping[str, Tensor], there: Mapping[str, Tensor] | None = None
) -> Tensor:
    """Class scores by modality, (B, C) -> their divergence in nats, mean over the batch.

    With `there`, (B,) bool by modality, of the modalities that a clip has, over the clips that
    have two or more; 0 where none has.
    """
    logs = torch.stack(list(logits.values())).log_softmax(dim=2)  # (M, B, C)
    if there is not None:
        return _of_those_there(logs, torch.stack([there[m] for m in logits]))
    middle = logs.logsumexp(dim=0) - math.log(len(logs))  # (B, C), log of the mean
    return (logs.exp() * (logs - middle)).sum(dim=2).mean()


def _of_those_there(logs: Tensor, there: Tensor) -> Tensor:
    """Log probabilities (M, B, C), and which clips have what, (M, B) -> mean divergence."""
    counted = there.sum(dim=0) > 1  # (B,)
    # Clips that don't count are given everything: minus infinity alone has no gradient.
    there = (there | ~counted)[:, :, None]
    middle = logs.masked_fill(~there, -torch.inf).logsumexp(dim=0)  # (B, C)
    number = there.sum(dim=0)  # (B, 1)
    parts = logs.exp() * (logs - (middle - number.log()))  # (M, B, C)
    divergence = parts.masked_fill(~there, 0.0).sum(dim=(0, 2)) / number[:, 0]  # (B,)
    return mean_over(divergence, counted)


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [LFM]
