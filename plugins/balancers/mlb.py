"""Multi-loss balancing: single-modality losses, and steps scaled by relative scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from ...core.contracts import Balancer, Gradients, LogUniform, Space, Step, Uniform, hookimpl
from ...core.toolkit.ranges import check_ranges
from ._curves import Curved
from ._scores import known_scores, ratios
from ._unimodal import unimodal_losses


class MLB(Curved):
    """Single-modality losses, with smaller steps for the leading modality and larger for others.

    ::

        L     = l(f) + gamma * sum over m of l(f_m)
        s_m   = sum over the batch of p_m(right class)
        rho_m = mean over j != m of s_j / s_m
        k_m   = 1 + (boost - 1) * tanh(alpha * (rho_m - 1))   if rho_m > 1
        k_m   = 1 + tanh(alpha * (rho_m - 1))                 else
        g_m  <- k_m * g_m

    k_m is in (1 - tanh(alpha), boost), and approaches 1 as the scores s_m become equal. With boost
    2 both lines are the same. As in the paper, k_m applies to the whole gradient of the branch,
    from l(f) and from l(f_m). Departure from the paper: k_m scales the step of the branch, because
    Adam would cancel a factor on the gradient.

    Parameters
    ----------
    alpha : float
        Strength, >= 0. The default is that of the authors' example on CREMA-D.
    boost : float
        Upper bound on the factor, >= 1; with 1 the rule only makes steps smaller. At the default 2
        the rule for larger steps is the same as the rule for smaller steps.
    gamma : float
        Weight of each single-modality loss, >= 0.

    When to use
    -----------
    Instead of `ogm_ge`: the rule has no jump at equal scores, and the single-modality losses keep
    the lagging modality learning.

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
        factors = self.factors(known_scores(step))
        self.curve.add(factors)
        for m in gradients.modalities:
            if m in factors:
                gradients.scale(m, factors[m])

    def factors(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the factors k_m, scalars by modality, given the scores s_m."""
        factors: dict[str, Tensor] = {}
        for m, ratio in ratios(scores).items():
            gap = torch.tanh(self.alpha * (1 / ratio - 1))
            factors[m] = 1 + torch.where(gap > 0, (self.boost - 1) * gap, gap)
        return factors


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [MLB]
