"""Asynchronous copies of tensors to a device, and the free memory of a device."""

from __future__ import annotations

import os

import torch
from torch import Tensor


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a CPU tensor to `device` without waiting for pending work of the device."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()  # a copy from pageable memory waits for the device
    # On MPS a non-blocking copy could read the memory after the caller has overwritten it.
    return tensor.to(device, non_blocking=device.type not in ("cpu", "mps"))


def free_memory(device: torch.device) -> int:
    """Return the number of bytes that a training may allocate on `device`."""
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        # Memory that this process has reserved but not allocated is free for its own tensors.
        unused = torch.cuda.memory_reserved(index) - torch.cuda.memory_allocated(index)
        return torch.cuda.mem_get_info(index)[0] + unused
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        # Systems such as macOS and Windows do not report free memory. A low guess is safe, because
        # features that do not fit into memory are read from a memory map.
        return 2 * 1024**3
