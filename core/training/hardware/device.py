"""Which device and arithmetic a training uses."""

from __future__ import annotations

import os

import torch

from ...contracts.errors import ParameterError
from . import distributed


def choose_device(wanted: str) -> torch.device:
    """``"auto"`` is the first of CUDA, MPS and CPU that is there.

    Raises
    ------
    ParameterError
        If the device is no torch device or is not there.
    """
    if wanted == "auto":
        if torch.cuda.is_available():
            return _own_card()
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(wanted)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ParameterError(
            f"--device {wanted} can't be used here: {reason}",
            hint="Possible: auto, cpu, cuda, cuda:N, mps; auto takes the fastest that is there.",
        ) from error
    return _own_card() if device.type == "cuda" and device.index is None else device


def _own_card() -> torch.device:
    """The first, or among several processes each its own."""
    if not distributed.launched():
        return torch.device("cuda")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def choose_precision(wanted: str, device: torch.device) -> torch.dtype:
    """``"auto"`` is bfloat16 where the device computes it natively, else float32."""
    if wanted == "auto":
        return torch.bfloat16 if _native_bfloat16(device) else torch.float32
    return torch.bfloat16 if wanted == "bfloat16" else torch.float32


def _native_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        # torch has no public question for this; without it float32 is right everywhere.
        checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, check, lambda: False)() for check in checks)
    return False
