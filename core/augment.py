"""Augmentation of standardised inputs, on the device, for a whole batch at once."""

from __future__ import annotations

import torch
from torch import Tensor

from .config import TrainConfig
from .contracts import Modality


def augment(x: Tensor, modality: Modality, config: TrainConfig, rng: torch.Generator) -> Tensor:
    """Shift and mask one modality along the axes it calls "time" and "frequency".

    Masked cells become 0, the mean of standardised inputs (SpecAugment, Park et al. 2019).
    Random numbers are drawn on the CPU, so that every device sees the same ones.

    Parameters
    ----------
    x : Tensor
        (B, *shape), standardised.
    """
    for axis, meaning in enumerate(modality.axes, start=1):
        shift = {"time": config.shift_time, "frequency": config.shift_frequency}.get(meaning, 0.0)
        if shift > 0:
            x = shift_axis(x, axis, shift, circular=meaning == "time", rng=rng)
    for axis, meaning in enumerate(modality.axes, start=1):
        width = {"time": config.mask_time, "frequency": config.mask_frequency}.get(meaning, 0.0)
        for _ in range(config.masks if width > 0 else 0):
            x = mask_axis(x, axis, width, rng)
    return x


def mask_axis(x: Tensor, axis: int, width: float, rng: torch.Generator) -> Tensor:
    """Set one band per clip to 0: up to a share `width` of the axis, anywhere on it."""
    batch, length = x.shape[0], x.shape[axis]
    widths = torch.rand(batch, generator=rng) * (width * length + 1)  # floor: 0 .. width*length
    widths = widths.floor()
    starts = (torch.rand(batch, generator=rng) * (length - widths + 1)).floor()
    where = torch.arange(length)
    masked = (where >= starts[:, None]) & (where < (starts + widths)[:, None])  # (B, length)
    return x.masked_fill(_along(masked, x, axis).to(x.device), 0.0)


def shift_axis(
    x: Tensor, axis: int, share: float, *, circular: bool, rng: torch.Generator
) -> Tensor:
    """Move each clip along an axis by up to a share of its length, either way.

    Circular, or repeating the cells at the border.
    """
    batch, length = x.shape[0], x.shape[axis]
    most = int(share * length)
    shifts = torch.randint(-most, most + 1, (batch, 1), generator=rng)
    index = torch.arange(length) - shifts  # (B, length)
    index = index % length if circular else index.clamp(0, length - 1)
    return x.gather(axis, _along(index, x, axis).to(x.device).expand_as(x))


def _along(values: Tensor, x: Tensor, axis: int) -> Tensor:
    """(B, length) -> the shape that broadcasts over `x` with length on `axis`."""
    shape = [1] * x.dim()
    shape[0], shape[axis] = values.shape
    return values.view(shape)
