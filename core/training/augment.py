"""Augmentation of standardised inputs, on the device, for a whole batch at once."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor

from ..contracts import Modality
from ..contracts.train_config import TrainConfig
from ..toolkit.device import on_device


def augment(x: Tensor, modality: Modality, config: TrainConfig, rng: torch.Generator) -> Tensor:
    """Shift and mask the inputs of one modality along the axes called "time" and "frequency".

    Masked cells become 0, the mean of standardised inputs (SpecAugment, Park et al. 2019).
    Random numbers are drawn on the CPU, so that every device uses the same random numbers.

    Parameters
    ----------
    x : Tensor
        Standardised inputs, (B, *shape).
    """
    for axis, meaning in enumerate(modality.axes, start=1):
        shift = {"time": config.shift_time, "frequency": config.shift_frequency}.get(meaning, 0.0)
        if shift > 0:
            x = shift_axis(x, axis, shift, circular=meaning == "time", rng=rng)
    hidden: list[Tensor] = []  # masks by axis, which broadcast to x
    for axis, meaning in enumerate(modality.axes, start=1):
        width = {"time": config.mask_time, "frequency": config.mask_frequency}.get(meaning, 0.0)
        bands = [band(x, axis, width, rng) for _ in range(config.masks if width > 0 else 0)]
        if bands:
            hidden.append(on_device(reduce(torch.logical_or, bands), x.device))
    # All masks are applied at once, because each masked_fill is a pass over the whole batch.
    return x.masked_fill(reduce(torch.logical_or, hidden), 0.0) if hidden else x


def band(x: Tensor, axis: int, width: float, rng: torch.Generator) -> Tensor:
    """Draw one random band of an axis per clip, and return the mask of the bands on the CPU.

    The mask broadcasts over `x` and is True inside the band. The width of a band is at most the
    share `width` of the axis.
    """
    batch, length = x.shape[0], x.shape[axis]
    widths = torch.rand(batch, generator=rng) * (width * length + 1)  # floor: 0 .. width*length
    widths = widths.floor()
    starts = (torch.rand(batch, generator=rng) * (length - widths + 1)).floor()
    cells = torch.arange(length)
    masked = (cells >= starts[:, None]) & (cells < (starts + widths)[:, None])  # (B, length)
    return _along(masked, x, axis)


def shift_axis(
    x: Tensor, axis: int, share: float, *, circular: bool, rng: torch.Generator
) -> Tensor:
    """Shift each clip along an axis, in either direction, by up to a share of the axis's length.

    If `circular`, cells that leave at one end enter at the other end. Otherwise the cell at the
    border is repeated.
    """
    batch, length = x.shape[0], x.shape[axis]
    most = int(share * length)
    shifts = torch.randint(-most, most + 1, (batch, 1), generator=rng)
    index = torch.arange(length) - shifts  # (B, length)
    index = index % length if circular else index.clamp(0, length - 1)
    return x.gather(axis, on_device(_along(index, x, axis), x.device).expand_as(x))


def _along(values: Tensor, x: Tensor, axis: int) -> Tensor:
    """Reshape `values`, (B, length), to broadcast over `x` with `length` on `axis`."""
    shape = [1] * x.dim()
    shape[0], shape[axis] = values.shape
    return values.view(shape)
