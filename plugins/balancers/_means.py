"""Mean over the clips of a batch that have a modality."""

from __future__ import annotations

from torch import Tensor


def mean_over(values: Tensor, clips: Tensor | None) -> Tensor:
    """Return the mean of `values`, (..., B), over the clips that `clips`, (..., B) bool, marks.

    Without `clips` the mean is over all clips. If no clip is marked, the mean is 0.
    """
    if clips is None:
        return values.mean(dim=-1)
    return (values * clips).sum(dim=-1) / clips.sum(dim=-1).clamp_min(1)
