"""MLB: single-modality losses, and branches slowed or pushed by how far they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from ...core.contracts import Balancer, Gradients, LogUniform, Space, Step, Uniform, hookimpl
from ...core.toolkit.ranges import check_ranges
from ._curves import Curved
from ._scores import compared, ratios
from ._unimodal import unimodal_losses


class MLB(Curved):
    """Slows the modality that is ahead, pushes the one behind, and teaches each by itself.

    ::

        L     = l(f) + gamma * sum over m of l(f_m)
        s_m   = sum over the batch of p_m(right class)
        rho_m = mean over j != m of s_j / s_m
        k_m   = 1 + (boost - 1) * tanh(alpha * (rho_m - 1))   if rho_m > 1
        k_m   = 1 + tanh(alpha * (rho_m - 1))                 else
        g_m  <- k_m * g_m

    So k_m is in (1 - tanh(alpha), boost), is 1 where the modalities are level, and fades to 1 as
    they become so. With boost 2 both lines are the same. k_m acts on all that reaches the branch,
    of l(f) and of l(f_m), as in the paper; here it goes to the step of the branch, because Adam
    would divide it out of the gradient.

    Parameters
    ----------
    alpha : float
        Strength, >= 0. As in the authors' example on CREMA-D.
    boost : float
        What a branch can be pushed to, >= 1: 1 only slows. The authors' bound for the slowed
        side.
    gamma : float
        Weight of each single-modality loss, >= 0.

    When to use
    -----------
    In place of `ogm_ge`: it has no jump at equality, and keeps the modality that is behind
    learning.

    Cost
    ----
    One linear layer per modality and step.

    References
    ----------
    Kontras et al. (2024), "Improving Multimodal Learning with Multi-Loss Gradient Modulation",
    BMVC.
    """

    name = "mlb"
    takes_over = ("unimodal_losses",)
    space: ClassVar[Mapping[str, Space]] = {
        "alpha": Uniform(0.1, 3.0),
        "gamma": LogUniform(0.1, 10.0),
    }

    def __init__(self, *, alpha: float = 1.5, boost: float = 2.0, gamma: float = 1.0) -> None:
        check_ranges(self.name, "alpha >= 0, boost >= 1 and gamma >= 0", locals())
        self.alpha = alpha
        self.boost = boost
        self.gamma = gamma

    def losses(self, losses: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        return losses | unimodal_losses(step, self.gamma)

    def gradients(self, gradients: Gradients, step: Step) -> None:
        factors = self.factors(compared(step))
        self.curve.add(factors)
        for m in gradients.modalities:
            if m in factors:
                gradients.scale(m, factors[m])

    def factors(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """k_m for given s_m, scalars by modality."""
        found: dict[str, Tensor] = {}
        for m, ratio in ratios(scores).items():
            gap = torch.tanh(self.alpha * (1 / ratio - 1))
            found[m] = 1 + torch.where(gap > 0, (self.boost - 1) * gap, gap)
        return found


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [MLB]
