"""Single-modality losses beside the fused one: the plain baseline of all balancing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from ...core.contracts import Balancer, LogUniform, Space, Step, hookimpl
from ...core.toolkit.ranges import check_ranges
from ._unimodal import unimodal_losses


class UnimodalLoss(Balancer):
    """Adds the loss of each modality alone, so that no branch can rest on another.

    ::

        L = l(f) + gamma * sum over m of l(f_m)

    f are the fused scores, f_m the scores of modality m's probe. The gradient of l(f_m) reaches
    branch m; the probe itself learns from its own loss, at its own pace, whatever gamma is. In a
    step of several passes l(f_m) counts in the passes that show m.

    A single modality has two losses then, of the head and of its probe.

    Parameters
    ----------
    gamma : float
        Weight of each single-modality loss, >= 0.

    When to use
    -----------
    Always as a comparison, and often as the answer: many published methods do not beat it.

    Cost
    ----
    One linear layer per modality and step; with a strategy on feature maps, one pooling too.

    References
    ----------
    The multi-task baseline of Wang et al. (2020), "What Makes Training Multi-Modal
    Classification Networks Hard?", CVPR, with equal weights.
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
