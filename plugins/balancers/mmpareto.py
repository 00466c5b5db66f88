"""MMPareto: the fused loss and a modality's own, joined so that neither suffers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from ...core.contracts import Balancer, Gradients, Space, Step, Uniform, hookimpl, inner, norm_of
from ...core.contracts.errors import ParameterError
from ...core.contracts.training import Domain
from ._curves import Curved
from ._unimodal import unimodal_losses

_STATIONARY = 1e-5  # a joined gradient shorter than this share of its parts is rounding error


class MMPareto(Curved):  # the curve: weight of the fused loss, 0.5 while nothing conflicts
    """Joins each branch's gradients of the fused and of its own loss, minding their conflicts.

    Every branch m learns from l(f) and from l(f_m); their gradients g and u are joined as

        h_m = 2 w g + 2 (1 - w) u
        w   = 1/2                               if <g, u> > 0 (then h_m = g + u, the plain sum)
            = clip(<u - g, u> / |g - u|^2, 0, 1)  else: the shortest vector between g and u,
                                                with which no loss grows to first order
        h_m <- h_m * max(1, |g + u| / |h_m|)    not shorter than the plain sum
        step of the branch * boost

    Losses that other balancers add, and what they did to the gradient before, stay beside h_m
    as they are.

    The method is Wei and Hu 2024. Each gradient is taken alone; a published version takes the
    second on top of the first, which always agrees with it, so that its conflict branch never
    runs. Two things differ from the paper. A branch that one of the losses does not reach has
    no conflict (the formula would stop it); where the losses oppose each other exactly, the
    branch stands still instead of following the rounding error of a vanishing h_m. And `boost`
    scales the step and not the gradient, because Adam's step does not depend on the size of
    its gradient. The stretching to |g + u| stays on the gradient: Adam compares the gradient
    with those of other steps, so a step in conflict weighs as much as another.

    A single modality is left alone: nothing is added to its loss.

    Parameters
    ----------
    boost : float
        Factor on the branches' steps, > 0; 1.5 in the paper, which found that more noise in
        the steps generalises better. 1 leaves their pace alone.

    When to use
    -----------
    Where `unimodal_loss` helps already, and the fused loss pulls a branch away from what it
    would learn alone. On branches that agree it does the same as `unimodal_loss`.

    Cost
    ----
    One backward pass more per modality, and the gradients of all losses in memory at once.

    References
    ----------
    Y. Wei, D. Hu: MMPareto: Boosting Multimodal Learning with Innocent Unimodal Assistance.
    ICML 2024.
    """

    name = "mmpareto"
    space: ClassVar[Mapping[str, Space]] = {"boost": Uniform(1.0, 2.0)}
    takes_over: ClassVar[tuple[Domain, ...]] = ("unimodal_losses", "gradients")
    separate: ClassVar[bool] = True

    def __init__(self, *, boost: float = 1.5) -> None:
        if boost <= 0:
            raise ParameterError(f"mmpareto.boost must be above 0, and is {boost}.")
        self.boost = boost

    def losses(self, losses: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        if len(step.modalities) < 2:
            return losses
        return losses | unimodal_losses(step, 1.0)

    def gradients(self, gradients: Gradients, step: Step) -> None:
        for m in gradients.modalities:
            if {"fused", f"unimodal.{m}"} <= set(gradients.losses):
                self._join(gradients, m)

    def _join(self, gradients: Gradients, m: str) -> None:
        fused, own = gradients.part("fused", m), gradients.part(f"unimodal.{m}", m)
        w = fused_weight(norm_of(fused).square(), norm_of(own).square(), inner(fused, own))
        plain = torch._foreach_add(fused, own)
        joined = torch._foreach_add(
            torch._foreach_mul(fused, 2 * w), torch._foreach_mul(own, 2 * (1 - w))
        )
        largest = torch.maximum(norm_of(fused), norm_of(own))
        torch._foreach_mul_(joined, _stretch(norm_of(joined), norm_of(plain), largest))
        # As a change, so that what others added stays; without a conflict it is zero exactly.
        torch._foreach_add_(gradients[m], torch._foreach_sub(joined, plain))
        gradients.scale(m, self.boost)
        self.curve.add({m: w})


def fused_weight(fused: Tensor, own: Tensor, product: Tensor) -> Tensor:
    """Weight of the first of two gradients, from their squared norms and inner product."""
    shortest = (own - product) / (fused + own - 2 * product).clamp_min(1e-30)
    conflict = (product <= 0) & (fused > 0) & (own > 0)
    return torch.where(conflict, shortest.clamp(0, 1), torch.full_like(shortest, 0.5))


def _stretch(joined: Tensor, plain: Tensor, part: Tensor) -> Tensor:
    """Factor >= 1 that makes `joined` as long as `plain`; 1 where it is rounding error."""
    factor = (plain / joined.clamp_min(1e-30)).clamp_min(1)
    return torch.where(joined > _STATIONARY * part, factor, torch.ones_like(factor))


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [MMPareto]
