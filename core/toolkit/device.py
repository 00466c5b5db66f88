"""Tensors on their way to a device, and the memory that a training may plan with there."""

from __future__ import annotations

import os

import torch
from torch import Tensor


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on `device`, without a wait for what the device is still doing."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()  # from other memory, a copy waits
    # Elsewhere the memory that is copied could be written again before it was read.
    return tensor.to(device, non_blocking=device.type not in ("cpu", "mps"))


def free_memory(device: torch.device) -> int:
    """Bytes that a training may plan with on `device`."""
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        # What this process keeps for its next tensors is as free as what nobody has.
        kept = torch.cuda.memory_reserved(index) - torch.cuda.memory_allocated(index)
        return torch.cuda.mem_get_info(index)[0] + kept
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        # No such question on this system (macOS, Windows): a modest guess is safe, because
        # the alternative to holding features in memory is a memory map, not a failure.
        return 2 * 1024**3
