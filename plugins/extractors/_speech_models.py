"""Speech models on disk: where one is, what it is made of, and what tells it from others."""

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
# By preference, as transformers has it; each with the parts and the index of a divided file.
_WEIGHTS = (
    ("model.safetensors", "model-*.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model-*.bin", "pytorch_model.bin.index.json"),
)

# Names in config.json: number of transformer layers, size of their states.
_SIZES = {
    "wav2vec2": ("num_hidden_layers", "hidden_size"),
    "hubert": ("num_hidden_layers", "hidden_size"),
    "wavlm": ("num_hidden_layers", "hidden_size"),
    "whisper": ("encoder_layers", "d_model"),
}


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model as its folder describes it; no weights are read.

    Attributes
    ----------
    name : str
        How it is found again from any working folder: its absolute path, or its name on the hub.
    path : Path
        Absolute.
    family : {"wav2vec2", "hubert", "wavlm", "whisper"}
        The architecture.
    layers : int
        Transformer layers; there is one hidden state more, the input of the first.
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
        """``"sha256:..."`` of everything that decides its numbers, wherever it lies."""
        total = hashlib.sha256()
        for file in (self.path / _CONFIG, *_preprocessors(self.path), *weights_of(self.path)):
            total.update(f"{file.name} {_file_digest(file)}\n".encode())
        return f"sha256:{total.hexdigest()}"


def find_model(name: str, owner: str) -> ModelFolder:
    """The model of that name, downloaded if it is not on this machine.

    Parameters
    ----------
    name : str
        A folder, or a name on the Hugging Face hub.
    owner : str
        The parameter that named it, as messages say it.

    Raises
    ------
    ParameterError
        If it is nowhere, incomplete, or not of a family that is known here.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _described(str(folder.absolute()), folder.absolute(), owner)
    if folder.exists():
        raise ParameterError(
            f"{owner}: {name!r} is a file, and a model is a folder of several.",
            hint=f"Give the folder that holds it: {folder.parent}",
        )
    return _described(name, _from_hub(name, owner), owner)


# -- the hub ----------------------------------------------------------------------------


def _from_hub(name: str, owner: str) -> Path:
    """The folder of a model in the hub's local cache; only what is not there is downloaded."""
    hub = required("huggingface_hub", extra="transformers", by=f"{owner}={name}")
    with contextlib.suppress(OSError, ValueError):
        folder = Path(hub.snapshot_download(name, local_files_only=True))
        if not _missing(folder):
            return folder
    small = [_CONFIG, *_PREPROCESSORS]
    nowhere = f"{owner}: no model {name!r}. There is no such folder here ({Path.cwd()})"
    try:
        for weights in _WEIGHTS:  # mostly there are both, of which one is enough
            folder = Path(hub.snapshot_download(name, allow_patterns=[*small, *weights]))
            if weights_of(folder):
                break
    except hub.errors.HFValidationError:
        raise ParameterError(
            f"{nowhere}, and the Hugging Face hub has no names of that form.",
            hint=f"{owner} takes a folder, or a name such as facebook/wav2vec2-base.",
        ) from None
    except (OSError, ValueError) as error:
        raise ParameterError(
            f"{nowhere}, nothing of that name in {hub.constants.HF_HUB_CACHE}, and it can't be "
            f"downloaded: {str(error).strip().splitlines()[0]}",
            hint=f"Where there is a network: hf download {name}, which puts it into that folder "
            f"(HF_HOME names another place); or --local-dir FOLDER, and then {owner}=FOLDER.",
        ) from None
    return folder


# -- a folder ---------------------------------------------------------------------------


def weights_of(folder: Path) -> list[Path]:
    """The files of the weights that transformers would load, by name; empty if there are none."""
    for patterns in _WEIGHTS:
        found = sorted({file for pattern in patterns for file in folder.glob(pattern)})
        if any(file.suffix != ".json" for file in found):
            return found
    return []


def _preprocessors(folder: Path) -> list[Path]:
    return [folder / name for name in _PREPROCESSORS if (folder / name).is_file()]


def _missing(folder: Path) -> str | None:
    """What a folder lacks to be a model."""
    if not (folder / _CONFIG).is_file():
        return _CONFIG
    if not _preprocessors(folder):
        return f"{_PREPROCESSORS[0]} (sampling rate and normalisation of the input)"
    if not weights_of(folder):
        return f"{_WEIGHTS[0][0]} or {_WEIGHTS[1][0]} (the weights)"
    return None


def _described(name: str, folder: Path, owner: str) -> ModelFolder:
    missing = _missing(folder)
    if missing is not None:
        raise ParameterError(
            f"{owner}: {folder} holds no {missing}.",
            hint="A model's folder is what save_pretrained() of the model and of its feature "
            "extractor write, or `hf download NAME --local-dir FOLDER`.",
        )
    try:
        config: Mapping[str, Any] = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        family = config.get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise ParameterError(f"{owner}: {folder / _CONFIG} can't be read: {error}") from None
    if family not in _SIZES:
        raise ParameterError(
            f"{owner}: {folder} is a model of the type {family!r}. Known: {', '.join(_SIZES)}."
        )
    sizes: list[Any] = [config.get(key) for key in _SIZES[family]]
    if not all(isinstance(size, int) and size >= 1 for size in sizes):
        raise ParameterError(
            f"{owner}: {folder / _CONFIG} does not say {' and '.join(_SIZES[family])}; they are "
            f"{' and '.join(map(str, sizes))}."
        )
    return ModelFolder(name, folder, str(family), int(sizes[0]), int(sizes[1]))


# -- digests ----------------------------------------------------------------------------

# Two fine-tuned models differ in nothing but the values of their weights: neither the size of the
# file nor the header of a safetensors file tells them apart, so all of it is digested. That takes
# seconds per gigabyte, and every command and worker asks: what was found is kept by the file's
# path, size and times. The time of change of the inode is among them, because copying tools
# restore the other one.
_SMALL = 2**20  # bytes that are digested sooner than looked up


def _file_digest(file: Path) -> str:
    target = file.resolve()
    if target.parent.name == "blobs" and re.fullmatch("[0-9a-f]{64}", target.name):
        return target.name  # the hub's cache names large files by their SHA-256
    status = target.stat()
    if status.st_size <= _SMALL:
        return _digest(target)
    return _known_digest(target, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@functools.lru_cache(maxsize=64)
def _known_digest(file: Path, *state: int) -> str:
    memory = _memory()
    known = _remembered(memory).get(str(file))
    if isinstance(known, list) and known[:-1] == list(state):
        return str(known[-1])
    digest = _digest(file)
    # Read again: another process may have added its own since. One that is lost in a race is
    # only digested once more; where nothing can be written, at every start.
    with contextlib.suppress(OSError, StorageError):
        _remember(memory, {**_remembered(memory), str(file): [*state, digest]})
    return digest


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _memory() -> Path:
    import platformdirs

    return platformdirs.user_cache_path("fusion") / "model-digests.json"


def _remembered(memory: Path) -> dict[str, Any]:
    try:
        found = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _remember(memory: Path, known: Mapping[str, Any]) -> None:
    memory.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(memory) as file:
        file.write_text(json.dumps(known, indent=1), encoding="utf-8")


# -- frames -----------------------------------------------------------------------------


def frames_of(samples: int, kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Frames that convolutions without padding make of so many samples; may be below 1."""
    for kernel, stride in zip(kernels, strides, strict=True):
        samples = (samples - kernel) // stride + 1
    return samples


def samples_of_one_frame(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """The shortest input of which they make a frame."""
    samples = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples


def pieces_of(samples: int, most: int) -> int:
    """Into how many equal pieces of at most `most` samples a recording is divided."""
    return max(1, math.ceil(samples / most))
