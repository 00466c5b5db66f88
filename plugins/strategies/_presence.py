"""What strategies that know absence share: what a clip has, and nothing of the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def stacked(inputs: Mapping[str, Tensor], order: Sequence[str], present: Tensor | None) -> Tensor:
    """Embeddings side by side, (B, M, D); those that a clip lacks are zero."""
    together = torch.stack([inputs[m] for m in order], dim=1)
    return together if present is None else together.masked_fill(~present[:, :, None], 0.0)


def shares(present: Tensor) -> Tensor:
    """Equal weights for what each clip has, 0 for the rest: (B, M) bool -> (B, M) float32."""
    return present.float() / present.sum(dim=1, keepdim=True)
