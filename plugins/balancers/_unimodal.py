"""Losses of single modalities in whatever pass a step is in."""

from __future__ import annotations

from torch import Tensor

from ...core.contracts import Step


def unimodal_losses(step: Step, weight: float) -> dict[str, Tensor]:
    """``{"unimodal.<modality>": weight * l(f_m)}``; their gradient reaches the branches.

    In a step of several passes each modality's own loss belongs to the passes that it is part
    of: added to all of them, it would count several times.
    """
    return {f"unimodal.{m}": weight * step.unimodal_loss(m) for m in step.shown}
