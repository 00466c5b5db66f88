"""MMPareto: joint gradient of the fused loss and a modality's own loss, without conflicts."""

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

_STATIONARY = 1e-5  # a joint gradient shorter than this share of its parts is rounding error


class MMPareto(Curved):  # curve: weight of the fused loss, 0.5 without a conflict
    """Pareto combination of the gradients of fused and single-modality loss in each branch.

    ::

        h_m = 2 w g + 2 (1 - w) u
        w   = 1/2                               if <g, u> > 0 (then h_m = g + u, the plain sum)
            = clip(<u - g, u> / |g - u|^2, 0, 1)  else: the shortest vector between g and u,
                                                with which no loss grows to first order
        h_m <- h_m * max(1, |g + u| / |h_m|)    not shorter than the plain sum
        step of branch m <- boost * step of branch m

    g is the gradient of the fused loss l(f) in branch m, and u the gradient of the loss l(f_m) of
    modality m alone. The gradients of losses
    that other balancers add, and earlier changes of other balancers to the gradient, are added to
    h_m unchanged.

    Each gradient is computed separately (Wei and Hu 2024). A public version accumulates the second
    gradient on top of the first, so the two nearly always agree and the rule for conflicts almost
    never applies.

    Departures from the paper: the branch as a whole is rescaled to the norm |g + u|; the authors'
    code rescales each parameter tensor to its own norm. If one of the losses does not reach a
    branch, there is no conflict (the formula would stop the branch). If the losses oppose each
    other exactly, the branch stands still instead of following the rounding error of a vanishing
    h_m. `boost` scales the step and not the gradient, because Adam's step does not depend on the
    size of the gradient. The rescaling to |g + u| remains on the gradient: Adam scales a gradient
    by the gradients of earlier steps, and with the rescaling a step with a conflict counts as much
    as a step without conflict.

    With a single modality, this balancer changes nothing: no loss is added.

    Parameters
    ----------
    boost : float
        Factor on the branches' steps, > 0. The paper uses 1.5, because more noise in the steps
        generalised better. 1 leaves the steps unchanged.

    When to use
    -----------
    If `unimodal_loss` helps already, and the fused loss pulls a branch away from what it would
    learn alone. If the gradients of a branch agree, the method is the same as `unimodal_loss`,
    apart from `boost`.

    Cost
    ----
    One more backward pass per modality, and the gradients of all losses in memory at once.

    References
    ----------
    Y. Wei, D. Hu: MMPareto: Boosting Multimodal Learning with Innocent Unimodal Assistance. ICML
    2024.
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
        # Added as a change, so that contributions of other balancers are kept. Without a conflict
        # the change is exactly zero.
        torch._foreach_add_(gradients[m], torch._foreach_sub(joined, plain))
        gradients.scale(m, self.boost)
        self.curve.add({m: w})


def fused_weight(fused: Tensor, own: Tensor, product: Tensor) -> Tensor:
    """Return the weight of the first of two gradients, from squared norms and inner product."""
    shortest = (own - product) / (fused + own - 2 * product).clamp_min(1e-30)
    conflict = (product <= 0) & (fused > 0) & (own > 0)
    return torch.where(conflict, shortest.clamp(0, 1), torch.full_like(shortest, 0.5))


def _stretch(joined: Tensor, plain: Tensor, part: Tensor) -> Tensor:
    """Return the factor >= 1 that makes `joined` as long as `plain`; 1 if `joined` is near zero."""
    factor = (plain / joined.clamp_min(1e-30)).clamp_min(1)
    return torch.where(joined > _STATIONARY * part, factor, torch.ones_like(factor))


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [MMPareto]
