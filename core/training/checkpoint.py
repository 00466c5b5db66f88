"""Checkpoints of a training: files that are written atomically and contain no code."""

from __future__ import annotations

import io
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import torch

from ...cache.guarded_arrays import check_regular
from ..contracts.errors import RunError, StorageError
from ..toolkit.atomic import replaced


def save_checkpoint(path: Path, progress: Any, **state: Any) -> None:
    """Write the state of a training to `path`, replacing an earlier checkpoint atomically.

    Raises
    ------
    StorageError
        If the disk is full or the folder can't be written.
    """
    assert is_dataclass(progress) and not isinstance(progress, type)
    try:
        buffer = io.BytesIO()  # torch would report a full disk by positions in the file
        torch.save({"progress": asdict(progress), **state}, buffer)
        with replaced(path) as temporary:
            temporary.write_bytes(buffer.getbuffer())
    except OSError as error:
        raise StorageError(
            f"The checkpoint {path} can't be written: {error.strerror or error}.",
            hint="Free some disk space, then continue with --resume.",
        ) from error


def load_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Read a file of :func:`save_checkpoint`; only tensors and plain values are loaded, no code.

    Raises
    ------
    RunError
        If the file is missing or damaged.
    """
    try:
        check_regular(path)
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        if not (isinstance(state, dict) and isinstance(state.get("progress"), dict)):
            raise TypeError("it holds no state of a training")
    except Exception as error:
        raise RunError(
            f"The checkpoint {path} can't be read: {error}",
            hint="Delete the file: this training then starts again. Finished trainings are kept.",
        ) from error
    return state
