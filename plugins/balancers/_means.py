"""Means over the clips of a batch that count."""

from __future__ import annotations

from torch import Tensor


def mean_over(values: Tensor, clips: Tensor | None) -> Tensor:
    """Mean of (..., B) over all clips, or over those marked, (..., B) bool; 0 where none is."""
    if clips is None:
        return values.mean(dim=-1)
    return (values * clips).sum(dim=-1) / clips.sum(dim=-1).clamp_min(1)
