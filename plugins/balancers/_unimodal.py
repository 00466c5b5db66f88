"""Single-modality losses of the current pass of a step."""

from __future__ import annotations

from torch import Tensor

from ...core.contracts import Step


def unimodal_losses(step: Step, weight: float) -> dict[str, Tensor]:
    """Return ``{"unimodal.<modality>": weight * l(f_m)}``; the gradient reaches the branches.

    In a step of several passes, each modality's loss is added only in the passes that show the
    modality. Otherwise the loss would count several times.
    """
    return {f"unimodal.{m}": weight * step.unimodal_loss(m) for m in step.shown}
