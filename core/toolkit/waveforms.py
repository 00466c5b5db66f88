"""Audio in memory: samples of arrays and tensors as wav files, and the format of bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..contracts.errors import ParameterError
from .filenames import is_audio
from .recordings import HIGHEST_RATE

# Suffix of an audio format by the first bytes of a file: offset, bytes, suffix.
_FORMATS = (
    (8, b"WAVE", ".wav"),
    (0, b"fLaC", ".flac"),
    (0, b"OggS", ".ogg"),
    (0, b"ID3", ".mp3"),
    (8, b"AIFF", ".aiff"),
    (8, b"AIFC", ".aiff"),
    (0, b".snd", ".au"),
    (4, b"ftypM4A", ".m4a"),
    (4, b"ftyp", ".mp4"),
    (0, b"\x1a\x45\xdf\xa3", ".webm"),
)
CHANNELS = 8  # largest number of channels; more are probably several recordings in one array
_STORED = ("uint8", "int16", "int32", "float32")  # dtypes that a wav file stores as they are


def is_waveform(value: Any) -> bool:
    """Return True if `value` is an array, a tensor, or a mapping or decoder with audio samples."""
    if isinstance(value, Mapping):
        return "array" in value and "sampling_rate" in value
    return isinstance(value, np.ndarray) or any(
        hasattr(value, name) for name in ("detach", "get_all_samples")
    )


def has_sample_rate(value: Any) -> bool:
    """Return True if a waveform states its sample rate: a mapping or a decoder."""
    return isinstance(value, Mapping) or hasattr(value, "get_all_samples")


def wav_bytes(value: Any, sample_rate: int | None) -> bytes:
    """Return a wav file with the samples of `value`.

    The same samples give the same bytes, and reading the file gives the same samples.

    Parameters
    ----------
    value : array, tensor, mapping or decoder
        Samples (n,), (n, channels) or (channels, n), at most 8 channels: the longer axis is time,
        and if the axes have equal length, the first axis is time. Floating-point samples have full
        scale 1; samples of 64 and 16 bits are stored with 32 bits. Integers (uint8, int16, int32)
        have the full scale of their dtype. A mapping has ``array`` and ``sampling_rate``, as the
        Audio feature of `datasets` has. A decoder has ``get_all_samples()``, as in torchcodec.
    sample_rate : int or None
        Sample rate in hertz of arrays and tensors, 1 to 768,000. Mappings and decoders have their
        own, and need none.

    Raises
    ------
    ParameterError
        If an array or a tensor has no sample rate, or the shape, the dtype or the sample rate
        can't be that of a recording.
    """
    import scipy.io.wavfile

    if sample_rate is None and not has_sample_rate(value):
        raise ParameterError(
            "An array or a tensor does not state its sample rate, and none is given.",
            hint="Give the rate of the samples in hertz, such as sample_rate=16000; or a mapping "
            "with 'array' and 'sampling_rate'.",
        )
    samples, rate = _samples_and_rate(value, sample_rate)
    stream = io.BytesIO()
    # soundfile would write the time of day into wav files with floating-point samples.
    scipy.io.wavfile.write(stream, _checked_rate(rate), _storable(samples))
    return stream.getvalue()


def _samples_and_rate(value: Any, sample_rate: Any) -> tuple[npt.NDArray[Any], Any]:
    if isinstance(value, Mapping):
        return _numpy(value["array"]), value["sampling_rate"]
    if hasattr(value, "get_all_samples"):
        decoded = value.get_all_samples()
        return _numpy(decoded.data), decoded.sample_rate
    return _numpy(value), sample_rate


def _numpy(value: Any) -> npt.NDArray[Any]:
    if hasattr(value, "detach"):  # a tensor, maybe on a GPU, or with a dtype that numpy lacks
        tensor = value.detach().cpu()
        try:
            return np.asarray(tensor.numpy())
        except TypeError:
            return np.asarray(tensor.float().numpy())
    return np.asarray(value)


def _checked_rate(rate: Any) -> int:
    try:
        whole = int(rate)
    except (TypeError, ValueError, OverflowError):
        whole = 0
    if whole != rate or not 1 <= whole <= HIGHEST_RATE:
        raise ParameterError(
            f"The sample rate must be a whole number of hertz from 1 to {HIGHEST_RATE}, and is "
            f"{rate!r}."
        )
    return whole


def _storable(samples: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the samples as (n,) or (n, channels), in a dtype that a wav file can store."""
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and min(samples.shape) > CHANNELS):
        raise ParameterError(
            f"An array of the shape {samples.shape} is not a recording: accepted are (n,), "
            f"(n, channels) and (channels, n) with at most {CHANNELS} channels.",
            hint="For several recordings, give a list of arrays.",
        )
    if samples.dtype.kind == "f":
        samples = samples.astype(np.float32)
    if samples.dtype.name not in _STORED:
        raise ParameterError(
            f"An array of the dtype {samples.dtype} holds no audio samples.",
            hint="Accepted are floating-point samples (full scale 1), int16, int32 and uint8.",
        )
    if samples.ndim == 2 and samples.shape[1] > samples.shape[0]:
        samples = samples.T
    return np.ascontiguousarray(samples)


def audio_suffix(data: bytes, name: str = "") -> str | None:
    """Return the suffix of the audio format of `data`.

    Parameters
    ----------
    data : bytes
        Content of a file, or its first 12 bytes.
    name : str
        Name of the file, whose suffix is returned if the content starts like no known format.

    Returns
    -------
    str or None
        Suffix with the dot, such as ``".wav"``; None if neither content nor name is that of a
        recording.
    """
    for offset, start, suffix in _FORMATS:
        if data[offset : offset + len(start)] == start:
            return suffix
    if len(data) > 1 and data[0] == 0xFF and data[1] >= 0xE0:  # the sync word of an MPEG frame
        return ".mp3"
    return Path(name).suffix.lower() if is_audio(Path(name).name) else None
