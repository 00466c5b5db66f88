"""Helpers for strategies that accept clips with missing modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def stack_embeddings(
    inputs: Mapping[str, Tensor], order: Sequence[str], present: Tensor | None
) -> Tensor:
    """Stack the embeddings, (B, M, D); replace the embedding of a missing modality by zeros."""
    together = torch.stack([inputs[m] for m in order], dim=1)
    return together if present is None else together.masked_fill(~present[:, :, None], 0.0)


def equal_weights(present: Tensor) -> Tensor:
    """Return equal weights, (B, M) float32, over the modalities that each clip has, (B, M) bool.

    A missing modality has weight 0.
    """
    return present.float() / present.sum(dim=1, keepdim=True)
