"""Disentangled gradient learning: branches and head learn from losses of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from ...core.contracts import Balancer, Gradients, LogUniform, Space, Step, hookimpl
from ...core.contracts.errors import ParameterError
from ...core.contracts.training import Domain
from ._unimodal import unimodal_losses


class DGL(Balancer):
    """Cuts the fused loss off from the branches: each learns from its own loss alone.

        head:      d/d(head)    l(f(detached z_1 .. z_M))
        branch m:  d/d(theta_m) alpha * l(f_m)

    The fused loss, sent through a head that has come to lean on one modality, disturbs the
    branches of all others; here it never reaches them (Wei et al. 2025). The probes stand for
    the paper's single-modality heads, and are trained on losses of their own.

    In the paper alpha is on the loss. There it would not count under Adam: a branch receives
    nothing else, and Adam's step does not depend on the size of its gradient. So it scales the
    branches' steps, which is what the paper's SGD makes of it; what other balancers send into
    a branch is scaled with it.

    A single modality is left alone: its fused loss is its own loss.

    Parameters
    ----------
    alpha : float
        Factor on the branches' steps, > 0; 4 in the paper. 1 leaves their pace alone.

    When to use
    -----------
    Where the branches of the joint training end below the same branches trained alone. It can
    not find what shows only in both modalities together: no branch learns from that.

    Cost
    ----
    As plain training: one forward and backward pass.

    References
    ----------
    S. Wei, C. Luo, Y. Luo: Boosting Multimodal Learning via Disentangled Gradient Learning.
    ICCV 2025.
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
