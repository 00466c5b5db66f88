"""Choice of the device and the precision of a training."""

from __future__ import annotations

import os

import torch

from ...contracts.errors import ParameterError
from . import distributed


def choose_device(wanted: str) -> torch.device:
    """Return the device to use; ``"auto"`` is the first available of CUDA, MPS and CPU.

    Raises
    ------
    ParameterError
        If `wanted` is no torch device or is not available.
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
            hint="Accepted: auto, cpu, cuda, cuda:N, mps; auto takes the first available of CUDA, "
            "MPS and CPU.",
        ) from error
    return _own_card() if device.type == "cuda" and device.index is None else device


def _own_card() -> torch.device:
    """Return the current CUDA device or, in distributed training, the device of this process."""
    if not distributed.launched():
        return torch.device("cuda")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def choose_precision(wanted: str, device: torch.device) -> torch.dtype:
    """Return the dtype of `wanted`; ``"auto"`` is bfloat16 on a `device` with native support."""
    if wanted == "auto":
        return torch.bfloat16 if _native_bfloat16(device) else torch.float32
    return torch.bfloat16 if wanted == "bfloat16" else torch.float32


def _native_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        # torch has no public function for this check. Without the private functions, use float32.
        checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, check, lambda: False)() for check in checks)
    return False
