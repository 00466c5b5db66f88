"""Disentangled gradient learning: separate losses for the branches and for the head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from ...core.contracts import Balancer, Gradients, LogUniform, Space, Step, hookimpl
from ...core.contracts.errors import ParameterError
from ...core.contracts.training import Domain
from ._unimodal import unimodal_losses


class DGL(Balancer):
    """Separate losses: the fused loss trains only the head, single-modality losses the branches.

    ::

        head:      d/d(head)    l(f(detached z_1 .. z_M))
        branch m:  d/d(theta_m) alpha * l(f_m)

    If the head has come to rely on one modality, the gradient of the fused loss through the head
    disturbs the branches of the other modalities. Here the fused loss never reaches the branches
    (Wei et al. 2025). The probes replace the paper's single-modality heads and are trained with
    their own losses.

    Departure from the paper: the paper applies alpha to the loss. Under Adam a factor on the loss
    would have no effect: a branch receives no other gradient, and Adam's step does not depend on
    the size of the gradient. Here alpha scales the steps of the branches, which is the effect of
    the paper's rule with SGD. Gradients that other balancers add to a branch are scaled as well.

    With a single modality, this balancer changes nothing, because the fused loss is the modality's
    own loss.

    Parameters
    ----------
    alpha : float
        Factor on the branches' steps, > 0. The paper uses 4; 1 leaves the steps unchanged.

    When to use
    -----------
    If the branches of the joint training score lower than the same branches trained alone. No
    branch receives the fused loss, so the method can't learn features that only a combination of
    modalities reveals.

    Cost
    ----
    As plain training: one forward and one backward pass.

    References
    ----------
    S. Wei, C. Luo, Y. Luo: Boosting Multimodal Learning via Disentangled Gradient Learning. ICCV
    2025.
    """

    name = "dgl"
    space: ClassVar[Mapping[str, Space]] = {"alpha": LogUniform(0.5, 16.0)}
    takes_over: ClassVar[tuple[Domain, ...]] = ("representations", "unimodal_losses", "gradients")

    def __init__(self, *, alpha: float = 4.0) -> None:
        if alpha <= 0:
            raise ParameterError(f"dgl.alpha must be above 0, and is {alpha}.")
        self.alpha = alpha

    def representations(self, representations: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        if len(step.modalities) < 2:
            return representations
        return {m: x.detach() for m, x in representations.items()}

    def losses(self, losses: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        if len(step.modalities) < 2:
            return losses
        return losses | unimodal_losses(step, 1.0)

    def gradients(self, gradients: Gradients, step: Step) -> None:
        if len(step.modalities) < 2:
            return
        for m in gradients.modalities:
            gradients.scale(m, self.alpha)


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [DGL]
