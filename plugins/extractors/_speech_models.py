"""Speech models on disk: location, architecture and digest."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...cache.shards.files import written_whole
from ...core.contracts.errors import ParameterError, StorageError
from ...core.toolkit.optional import required

_CONFIG = "config.json"
_PREPROCESSORS = ("preprocessor_config.json", "processor_config.json")
# In the order of preference of transformers. Each entry: a single file, the shards of a divided
# file, and the index of the shards.
_WEIGHTS = (
    ("model.safetensors", "model-*.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model-*.bin", "pytorch_model.bin.index.json"),
)

# Keys in config.json: number of transformer layers, size of their states.
_SIZES = {
    "wav2vec2": ("num_hidden_layers", "hidden_size"),
    "hubert": ("num_hidden_layers", "hidden_size"),
    "wavlm": ("num_hidden_layers", "hidden_size"),
    "whisper": ("encoder_layers", "d_model"),
}


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """Description of a model, read from its folder without loading the weights.

    Attributes
    ----------
    name : str
        Name that identifies the model from any working directory: its absolute path, or its name
        on the Hugging Face hub.
    path : Path
        Absolute path of the folder.
    family : {"wav2vec2", "hubert", "wavlm", "whisper"}
        The architecture.
    layers : int
        Number of transformer layers. A frame has ``layers + 1`` hidden states, because the input of
        the first layer counts as well.
    width : int
        Size of a hidden state.
    """

    name: str
    path: Path
    family: str
    layers: int
    width: int

    @property
    def digest(self) -> str:
        """SHA-256 (``"sha256:..."``) of the model's files, independent of the folder.

        The digest covers the names and contents of the config, preprocessor and weight files.
        """
        total = hashlib.sha256()
        for file in (self.path / _CONFIG, *_preprocessors(self.path), *weights_of(self.path)):
            total.update(f"{file.name} {_file_digest(file)}\n".encode())
        return f"sha256:{total.hexdigest()}"


def find_model(name: str, owner: str) -> ModelFolder:
    """Return the model called `name`, downloading it if it is not on this machine.

    Parameters
    ----------
    name : str
        A folder, or a name on the Hugging Face hub.
    owner : str
        Name of the parameter, for messages, e.g. ``"ssl.model"``.

    Raises
    ------
    ParameterError
        If the model is not found, is incomplete, or has an unsupported architecture.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _read_folder(str(folder.absolute()), folder.absolute(), owner)
    if folder.exists():
        raise ParameterError(
            f"{owner}={name!r} is a file; a model is a folder.",
            hint=f"Give the folder that contains the file: {folder.parent}",
        )
    return _read_folder(name, _from_hub(name, owner), owner)


# -- the hub ----------------------------------------------------------------------------


def _from_hub(name: str, owner: str) -> Path:
    """Return a model's folder in the hub's local cache; download only the missing files."""
    hub = required("huggingface_hub", extra="transformers", by=f"{owner}={name}")
    with contextlib.suppress(OSError, ValueError):
        folder = Path(hub.snapshot_download(name, local_files_only=True))
        if not _missing(folder):
            return folder
    small = [_CONFIG, *_PREPROCESSORS]
    nowhere = f"{owner}: no model {name!r}. No such folder exists in {Path.cwd()}"
    try:
        for weights in _WEIGHTS:  # most models have both formats; one format is enough
            folder = Path(hub.snapshot_download(name, allow_patterns=[*small, *weights]))
            if weights_of(folder):
                break
    except hub.errors.HFValidationError:
        raise ParameterError(
            f"{nowhere}, and the name is not valid on the Hugging Face hub.",
            hint=f"Set {owner} to a folder, or to a name such as facebook/wav2vec2-base.",
        ) from None
    except (OSError, ValueError) as error:
        raise ParameterError(
            f"{nowhere}, the cache {hub.constants.HF_HUB_CACHE} does not contain the model, and "
            f"the download failed: {str(error).strip().splitlines()[0]}",
            hint=f"On a machine with network access run hf download {name}. The command stores "
            "the model in that cache (HF_HOME sets another location), or in a folder with "
            f"--local-dir FOLDER; then set {owner}=FOLDER.",
        ) from None
    return folder


# -- a folder ---------------------------------------------------------------------------


def weights_of(folder: Path) -> list[Path]:
    """Return the weight files that transformers would load, sorted by name; may be empty."""
    for patterns in _WEIGHTS:
        files = sorted({file for pattern in patterns for file in folder.glob(pattern)})
        if any(file.suffix != ".json" for file in files):
            return files
    return []


def _preprocessors(folder: Path) -> list[Path]:
    return [folder / name for name in _PREPROCESSORS if (folder / name).is_file()]


def _missing(folder: Path) -> str | None:
    """Describe the first file that a model's folder lacks; None if the folder is complete."""
    if not (folder / _CONFIG).is_file():
        return _CONFIG
    if not _preprocessors(folder):
        return f"{_PREPROCESSORS[0]} (sampling rate and normalisation of the input)"
    if not weights_of(folder):
        return f"{_WEIGHTS[0][0]} or {_WEIGHTS[1][0]} (the weights)"
    return None


def _read_folder(name: str, folder: Path, owner: str) -> ModelFolder:
    """Read the config of a model's folder; raise ParameterError if the folder is unusable."""
    missing = _missing(folder)
    if missing is not None:
        raise ParameterError(
            f"{owner}: {folder} contains no {missing}.",
            hint="Create the folder with save_pretrained() of the model and of its feature "
            "extractor, or with `hf download NAME --local-dir FOLDER`.",
        )
    try:
        config: Mapping[str, Any] = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        family = config.get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise ParameterError(f"{owner}: {folder / _CONFIG} can't be read: {error}") from None
    if family not in _SIZES:
        raise ParameterError(
            f"{owner}: {folder} is a model of the type {family!r}. Supported: {', '.join(_SIZES)}."
        )
    sizes: list[Any] = [config.get(key) for key in _SIZES[family]]
    if not all(isinstance(size, int) and size >= 1 for size in sizes):
        raise ParameterError(
            f"{owner}: {folder / _CONFIG} has no valid {' and '.join(_SIZES[family])}: the values "
            f"are {' and '.join(map(str, sizes))}; integers from 1 are required."
        )
    return ModelFolder(name, folder, str(family), int(sizes[0]), int(sizes[1]))


# -- digests ----------------------------------------------------------------------------

# Two fine-tuned models may differ only in the values of their weights: the file size and the header
# of a safetensors file can be equal. The digest therefore covers the whole file. Computing the
# digest takes seconds per gigabyte, and every command and every worker needs it, so digests are
# stored in a file, under the weight file's path, size and times. The times include the inode's
# change time, because copying tools restore the modification time.
_SMALL = 2**20  # bytes; computing the digest of a smaller file is faster than a look-up


def _file_digest(file: Path) -> str:
    """Return the SHA-256 of a file, without reading the file if its digest is already known."""
    target = file.resolve()
    if target.parent.name == "blobs" and re.fullmatch("[0-9a-f]{64}", target.name):
        return target.name  # the hub's cache names large files by their SHA-256
    status = target.stat()
    if status.st_size <= _SMALL:
        return _digest(target)
    return _stored_digest(target, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@functools.lru_cache(maxsize=64)
def _stored_digest(file: Path, *state: int) -> str:
    """Return the SHA-256 of a file; reuse the stored digest if size and times are unchanged."""
    store = _digest_file()
    entry = _read_digests(store).get(str(file))
    if isinstance(entry, list) and entry[:-1] == list(state):
        return str(entry[-1])
    digest = _digest(file)
    # Read the file again, because another process may have added digests meanwhile. A digest
    # that is lost in a race is computed once more. If the file can't be written, digests are
    # computed at every start.
    with contextlib.suppress(OSError, StorageError):
        _write_digests(store, {**_read_digests(store), str(file): [*state, digest]})
    return digest


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _digest_file() -> Path:
    """Return the path of the file with the stored digests."""
    import platformdirs

    return platformdirs.user_cache_path("fusion") / "model-digests.json"


def _read_digests(store: Path) -> dict[str, Any]:
    try:
        digests = json.loads(store.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return digests if isinstance(digests, dict) else {}


def _write_digests(store: Path, digests: Mapping[str, Any]) -> None:
    store.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(store) as file:
        file.write_text(json.dumps(digests, indent=1), encoding="utf-8")


# -- frames -----------------------------------------------------------------------------


def frames_of(samples: int, kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Return how many frames unpadded convolutions output for `samples`; may be below 1."""
    for kernel, stride in zip(kernels, strides, strict=True):
        samples = (samples - kernel) // stride + 1
    return samples


def samples_of_one_frame(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Return the shortest input, in samples, for which the convolutions output a frame."""
    samples = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples


def pieces_of(samples: int, most: int) -> int:
    """Return the number of equal pieces of at most `most` samples that make up a recording."""
    return max(1, math.ceil(samples / most))
