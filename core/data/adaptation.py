"""Standardisation of features by the unlabelled clips of each speaker.

Speaker s has n clips, and a feature has mean m_s and variance v_s over these n clips. The
training population has mean m and within-speaker variance v; both are averages over the
training speakers' clips. A value x is standardised to x'::

    w    = n / (n + k)                                k = 1 pseudo-clip
    mean = w m_s + (1 - w) m
    var  = w v_s + (1 - w) v
    x'   = (x - mean) / sqrt(var)

The pseudo-clip preserves information about a speaker with a single clip: half of the clip's own
offset from the population's mean remains. A feature without variance is centred and not scaled.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..contracts import Modality
from ..contracts.data import Clip
from ..contracts.errors import RunError, StorageError
from ..toolkit.weights import load_weights, save_weights
from .dataset import RunData
from .features import Arrays, Indices, kept_axes
from .split_modes import Group, speaker_of

Floats = npt.NDArray[np.float64]

PSEUDO_CLIPS = 1.0
FOLDER = "speakers"  # in a run directory
_CHUNK = 64  # clips read at a time


@dataclass(frozen=True)
class Moments:
    """Mean and variance of a modality's values for each speaker.

    Attributes
    ----------
    count : array
        (S,) float64, number of clips that have the modality.
    mean, variance : array
        (S, *kept) float64; pooled axes have length 1. Values are 0 for a speaker without a clip.
    """

    count: Floats
    mean: Floats
    variance: Floats


@dataclass(frozen=True)
class Population:
    """Mean and within-speaker variance of a modality's values over the training speakers.

    Attributes
    ----------
    mean, variance : array
        (*kept) float64; pooled axes have length 1.
    """

    mean: Floats
    variance: Floats


class Collector:
    """Running mean and variance of each speaker over batches of clips (Chan et al. 1983).

    Parameters
    ----------
    speakers : int
        Number of speakers, S.
    shape : tuple of int
        Shape of one clip's array.
    keep : tuple of int
        Axes that have separate statistics; the other axes are pooled.
    """

    def __init__(self, speakers: int, shape: tuple[int, ...], keep: tuple[int, ...]) -> None:
        self._pooled = tuple(axis + 1 for axis in range(len(shape)) if axis not in keep)
        kept_shape = tuple(size if axis in keep else 1 for axis, size in enumerate(shape))
        self._count = np.zeros(speakers)
        self._mean = np.zeros((speakers, *kept_shape))
        self._squares = np.zeros((speakers, *kept_shape))  # sum over clips of squared deviations

    def add(self, speakers: Indices, rows: npt.NDArray[Any]) -> None:
        """Add clips, (B, *shape), of speakers, (B,), except clips that contain NaN or infinity.

        All clips have the same weight, because all have the same number of values.
        """
        values = rows.astype(np.float64)
        means = values.mean(axis=self._pooled, keepdims=True)  # (B, *kept)
        variances = values.var(axis=self._pooled, keepdims=True)
        finite = np.isfinite(variances).reshape(len(rows), -1).all(axis=1)
        for s, mean, variance in zip(
            speakers[finite], means[finite], variances[finite], strict=True
        ):
            self._count[s] += 1
            step = mean - self._mean[s]
            self._mean[s] += step / self._count[s]
            self._squares[s] += variance + step * (mean - self._mean[s])

    def moments(self) -> Moments:
        """Return the statistics of the clips added so far."""
        clips = np.maximum(self._count, 1).reshape(-1, *[1] * (self._mean.ndim - 1))
        return Moments(self._count.copy(), self._mean.copy(), self._squares / clips)


def adapted_axes(modality: Modality, rule: str) -> tuple[int, ...]:
    """Return the axes with separate speaker statistics under a rule of ``train.normalise``.

    The rule "none" counts as "feature".
    """
    return kept_axes(modality, "feature" if rule == "none" else rule)


def moments_of(
    arrays: Arrays, modality: Modality, rule: str, speakers: Indices, clips: Indices
) -> Moments:
    """Compute every speaker's statistics, with 64 clips in memory at a time.

    Parameters
    ----------
    speakers : array
        (n,) int64, the index of each clip's speaker.
    clips : array
        (k,) int64, the clips that have the modality.
    """
    count = int(speakers.max()) + 1
    collector = Collector(count, modality.shape, adapted_axes(modality, rule))
    for start in range(0, len(clips), _CHUNK):
        part = clips[start : start + _CHUNK]
        collector.add(speakers[part], arrays.take(part))
    return collector.moments()


def population_of(moments: Moments, speakers: Indices) -> Population:
    """Average the statistics of speakers, weighted by clips; without clips, mean 0 and variance 1.

    Parameters
    ----------
    speakers : array
        (T,) int64, indices of the training speakers, each once.
    """
    count = moments.count[speakers]
    if not count.sum():
        blank = np.zeros(moments.mean.shape[1:])
        return Population(blank, blank + 1)
    weights = count / count.sum()
    return Population(
        np.tensordot(weights, moments.mean[speakers], axes=1),
        np.tensordot(weights, moments.variance[speakers], axes=1),
    )


def offset_and_scale(
    moments: Moments, population: Population, pseudo_clips: float = PSEUDO_CLIPS
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the offset and scale of each speaker, for ``(x - offset) * scale``.

    Returns
    -------
    tuple of array
        Offset and scale, (S, *kept) float32 each.
    """
    count = moments.count.reshape(-1, *[1] * (moments.mean.ndim - 1))
    weight = count / np.maximum(count + pseudo_clips, 1e-12)
    mean = weight * moments.mean + (1 - weight) * population.mean
    deviation = np.sqrt(weight * moments.variance + (1 - weight) * population.variance)
    # A feature without variance is centred and not scaled, as in Standardise.set.
    varies = deviation > 1e-6 * np.abs(mean)
    scale = np.divide(1.0, deviation, out=np.ones_like(deviation), where=varies)
    return mean.astype(np.float32), scale.astype(np.float32)


class Adapted:
    """Float32 arrays of all clips, each standardised by the statistics of the clip's speaker.

    Parameters
    ----------
    arrays : Arrays
        Row i belongs to clip i.
    speakers : array
        (n,) int64, the index of each clip's speaker.
    offset, scale : array
        (S, *kept) float32, one row per speaker.
    """

    def __init__(
        self,
        arrays: Arrays,
        speakers: Indices,
        offset: npt.NDArray[np.float32],
        scale: npt.NDArray[np.float32],
    ) -> None:
        self._arrays = arrays
        self._speakers = speakers
        self._offset = offset
        self._scale = scale

    @property
    def nbytes(self) -> int:
        """Bytes of all rows as float32."""
        return len(self) * int(self._arrays.take(np.zeros(1, np.int64)).size) * 4

    def __len__(self) -> int:
        return len(self._arrays)

    def take(self, indices: Any) -> npt.NDArray[np.float32]:
        """Return the standardised rows `indices`, (B, *shape) float32."""
        index = np.asarray(indices, dtype=np.int64)
        speakers = self._speakers[index]
        rows = self._arrays.take(index).astype(np.float32)  # a copy
        rows -= self._offset[speakers]
        rows *= self._scale[speakers]
        return rows


def adapt_tensor(x: Tensor, moments: Moments, population: Population) -> Tensor:
    """Standardise clips of one speaker, (B, *shape), as :class:`Adapted` does."""
    offset, scale = offset_and_scale(moments, population)
    return (x.float() - torch.from_numpy(offset).to(x.device)) * torch.from_numpy(scale).to(
        x.device
    )


# -- a run ---------------------------------------------------------------------------


def numbered_speakers(clips: Sequence[Clip]) -> Indices:
    """Return the index of each clip's speaker, (n,) int64; speakers are sorted."""
    groups = [speaker_of(clip) for clip in clips]
    number: dict[Group, int] = {group: i for i, group in enumerate(sorted(set(groups)))}
    return np.array([number[group] for group in groups], dtype=np.int64)


def run_moments(
    run: Path, fingerprint: str, modality: Modality, rule: str, arrays: Arrays, data: RunData
) -> Moments:
    """Return the statistics of every speaker of a run; compute them once, then read them.

    The statistics are stored in the run directory if it is writable. Each window of a long clip
    counts as a clip.

    Parameters
    ----------
    run : Path
        The run directory.
    fingerprint : str
        Identifier of the feature that `arrays` holds.
    """
    path = run / FOLDER / f"{modality.name}-{fingerprint}.safetensors"
    if (stored := _stored(path)) is not None:
        return stored
    of_row = data.clips_of(modality.name)
    having = np.ones(len(of_row), dtype=np.bool_)
    if modality.name in data.absent:
        having = ~data.absent[modality.name][of_row]
    speakers = numbered_speakers(data.clips)[of_row]
    moments = moments_of(arrays, modality, rule, speakers, np.flatnonzero(having))
    with contextlib.suppress(StorageError, OSError):  # the run directory may be read-only
        path.parent.mkdir(exist_ok=True)
        tensors = {name: torch.from_numpy(value) for name, value in vars(moments).items()}
        save_weights(path, tensors, {"modality": modality.name})
    return moments


def _stored(path: Path) -> Moments | None:
    if not path.is_file():
        return None
    try:
        tensors = {name: x.numpy() for name, x in load_weights(path).items()}
        return Moments(**tensors)
    except (RunError, TypeError):  # a damaged file: compute the statistics again
        return None


def training_population(moments: Moments, data: RunData, fold: int | None) -> Population:
    """Average the statistics of a fold's training speakers; of all speakers if `fold` is None."""
    speakers = numbered_speakers(data.clips)
    chosen = speakers if fold is None else speakers[data.splits[fold].train]
    return population_of(moments, np.unique(chosen))


def adapted(
    arrays: Arrays, moments: Moments, data: RunData, fold: int | None, modality: str
) -> Adapted:
    """Return a run's arrays, standardised by speaker and shrunk towards a fold's population."""
    offset, scale = offset_and_scale(moments, training_population(moments, data, fold))
    speakers = numbered_speakers(data.clips)[data.clips_of(modality)]
    return Adapted(arrays, speakers, offset, scale)


# -- the chosen model -----------------------------------------------------------------


def population_tensors(prefix: str, populations: Mapping[str, Population]) -> dict[str, Tensor]:
    """Return populations by modality as named tensors for a safetensors file."""
    return {
        f"{prefix}/{m}/{name}": torch.from_numpy(value)
        for m, population in populations.items()
        for name, value in vars(population).items()
    }


def populations_from(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Population]:
    """Return populations by modality from tensors that :func:`population_tensors` made."""
    own = {k[len(prefix) + 1 :]: v for k, v in tensors.items() if k.startswith(f"{prefix}/")}
    names = dict.fromkeys(key.rpartition("/")[0] for key in own)
    return {m: Population(own[f"{m}/mean"].numpy(), own[f"{m}/variance"].numpy()) for m in names}
