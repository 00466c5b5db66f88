"""Losses of single modalities in whatever pass a step is in."""

from __future__ import annotations

from torch import Tensor

from ...core.contracts import Step


def shown(step: Step) -> list[str]:
    """Modalities of the pass that is under way.

    In a step of several passes each modality's own loss belongs to the passes that it is part
    of: added to all of them, it would count several times.
    """
    names = step.current.modalities
    return [m for m in step.modalities if names is None or m in names]


def unimodal_losses(step: Step, weight: float) -> dict[str, Tensor]:
    """``{"unimodal.<modality>": weight * l(f_m)}``; their gradient reaches the branches."""
    return {f"unimodal.{m}": weight * step.unimodal_loss(m) for m in shown(step)}
