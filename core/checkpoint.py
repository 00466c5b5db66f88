"""State of a training on disk: written whole or not at all, read without running code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .errors import RunError, StorageError


def save_checkpoint(path: Path, progress: Any, **state: Any) -> None:
    """Replace the checkpoint at `path`.

    Raises
    ------
    StorageError
        When the disk is full or the folder can't be written.
    """
    assert is_dataclass(progress) and not isinstance(progress, type)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        torch.save({"progress": asdict(progress), **state}, temporary)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        temporary.unlink(missing_ok=True)
        raise StorageError(
            f"The checkpoint {path} could not be written: {error}",
            hint="Free some space, then go on with --resume.",
        ) from error


def load_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Read what :func:`save_checkpoint` wrote: tensors and plain values, never code.

    Raises
    ------
    RunError
        When the file is damaged.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        raise RunError(
            f"The checkpoint {path} can't be read: {error}",
            hint="Delete it: that one training then starts again, the finished ones stay.",
        ) from error
    return state


def save_weights(path: Path, weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors as safetensors, whole or not at all."""
    from safetensors.torch import save

    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        # Written by us, as safetensors' own file is readable by its owner only; and copied, as
        # it refuses tensors that share memory (tied weights).
        plain = {name: t.detach().cpu().contiguous().clone() for name, t in weights.items()}
        temporary.write_bytes(save(plain, metadata=dict(metadata)))
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(f"The weights {path} could not be written: {error}") from error


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises
    ------
    RunError
        When it is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"The weights {path} can't be read: {error}",
            hint=f"Delete {path.parent / 'training.json'} or, in the run directory itself, "
            f"{path.name}; then fusion run --resume makes them again.",
        ) from error
