"""Single-modality losses added to the fused loss: the standard baseline of balancing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from ...core.contracts import Balancer, LogUniform, Space, Step, hookimpl
from ...core.toolkit.ranges import check_ranges
from ._unimodal import unimodal_losses


class UnimodalLoss(Balancer):
    """Fused loss plus the loss of each modality alone, so that every branch has to learn.

    ::

        L = l(f) + gamma * sum over m of l(f_m)

    f are the fused scores. f_m are the scores of modality m's probe, a linear classifier on the
    embedding. The gradient of l(f_m) reaches branch m. The probe itself learns from its own loss,
    with the same step for any gamma. In a step of several passes, l(f_m) counts in the passes that
    show m.

    A model with a single modality has two losses: that of the head and that of the probe.

    Parameters
    ----------
    gamma : float
        Weight of each single-modality loss, >= 0.

    When to use
    -----------
    Always as a comparison, and often as the final choice: many published methods do not beat this
    baseline.

    Cost
    ----
    One linear layer per modality and step; with a strategy on feature maps also one pooling.

    References
    ----------
    The multi-task baseline of Wang et al. (2020), "What Makes Training Multi-Modal Classification
    Networks Hard?", CVPR, with equal weights.
    """

    name = "unimodal_loss"
    control = True
    takes_over = ("unimodal_losses",)
    space: ClassVar[Mapping[str, Space]] = {"gamma": LogUniform(0.1, 10.0)}

    def __init__(self, *, gamma: float = 1.0) -> None:
        check_ranges(self.name, "gamma >= 0", locals())
        self.gamma = gamma

    def losses(self, losses: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        return losses | unimodal_losses(step, self.gamma)


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [UnimodalLoss]
