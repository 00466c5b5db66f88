"""Copies of the baselines' heads, for strategies with one head per modality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torch import nn

from ...core.contracts import Baseline


def adopt_heads(heads: nn.ModuleDict, baselines: Mapping[str, Baseline]) -> None:
    """Copy the linear head of each modality's baseline into `heads`, modality by modality."""
    for m, head in heads.items():
        head.load_state_dict(cast(Any, baselines[m].model.strategy).linear.state_dict())
