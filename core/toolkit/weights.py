"""Tensors in safetensors files, which are written atomically and read without executing code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ...cache.guarded_arrays import check_regular
from ..contracts.errors import RunError, StorageError
from .atomic import replaced


def save_weights(path: Path, weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors as a safetensors file, atomically.

    Raises
    ------
    StorageError
        If the file can't be written.
    """
    from safetensors.torch import save

    # The writer of safetensors makes files that only their owner can read, so write the bytes here.
    # Copies are needed because safetensors rejects tensors that share memory (tied weights).
    plain = {name: t.detach().cpu().contiguous().clone() for name, t in weights.items()}
    try:
        with replaced(path) as temporary:
            temporary.write_bytes(save(plain, metadata=dict(metadata)))
    except OSError as error:
        raise StorageError(
            f"The weights {path} can't be written: {error.strerror or error}.",
            hint="Free some disk space, then continue with --resume.",
        ) from error


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises
    ------
    RunError
        If the file is missing or damaged, or a weight is NaN or infinite.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    hint = (
        f"Delete {path.parent / 'training.json'} (if there is none, delete {path.name}), then "
        "start fusion run --resume: the run creates the weights again."
    )
    try:
        check_regular(path)
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"The weights {path} can't be read: {error}", hint=hint) from error
    for name, tensor in weights.items():
        if not tensor.float().isfinite().all():
            raise RunError(f"The weights {path} are damaged: {name} is not finite.", hint=hint)
    return weights
