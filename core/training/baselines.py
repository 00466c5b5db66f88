"""Start of a training from the single-modality baselines."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from ..contracts import Baseline
from .model import FusionModel, LinearHead


@torch.no_grad()
def warm_start(model: FusionModel, baselines: Mapping[str, Baseline]) -> None:
    """Set the weights of every branch and probe to those of its single-modality baseline."""
    for m, baseline in baselines.items():
        model.branches[m].load_state_dict(baseline.model.branches[m].state_dict())
        head = baseline.model.strategy
        probe = model.probes[m]
        assert isinstance(head, LinearHead) and isinstance(probe, nn.Linear)
        probe.load_state_dict(head.linear.state_dict())


def adopt(
    model: FusionModel, baselines: Mapping[str, Baseline], *, everywhere: bool = False
) -> None:
    """Copy the baselines' weights to branches and probes, and let the strategy adopt the baselines.

    Unless `everywhere` is True, the function changes only a model whose strategy needs the
    baselines.
    """
    if everywhere or model.strategy.needs_baselines:
        warm_start(model, baselines)
        model.strategy.adopt(baselines)


def frozen(modality: str, model: FusionModel, val_uar: float) -> Baseline:
    """Freeze a trained single-modality model, and return it as a baseline for other trainings."""
    return Baseline(modality, model.requires_grad_(False).eval(), val_uar)
