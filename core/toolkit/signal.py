"""Level and damage of a recording's signal: silence, constant stretches and clipping."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..contracts.data import Recording
from ..contracts.errors import RecordingError
from .recordings import open_decoder, span_of
from .sound_files import FloatArray

FULL_SCALE = 0.999  # samples of at least this size count as clipped
STRETCH = 0.05  # shortest constant stretch that counts, in seconds

_BLOCK = 1 << 16  # samples of all channels measured at a time
_UNSCALED = 8.0  # a decoder overshoots full scale by less; larger samples have another scale


@dataclass(frozen=True, slots=True)
class Signal:
    """Measurements of the samples of one recording, in the recording's own sample rate.

    Attributes
    ----------
    seconds : float
        Length, > 0.
    peak : float
        Largest distance of a sample from the mean of its channel, >= 0; full scale is 1. The
        distance from the mean does not count a constant offset as sound.
    rms : float
        Root mean square of these distances, over all channels.
    clipped : float
        Share of the samples of at least 0.999 of full scale, 0 to 1; 0 if the file does not use
        full scale 1 (a float file with samples above 8).
    constant : float
        Share of the length in stretches of 50 ms or more whose samples are all equal, 0 to 1.
        Digital silence, padding and lost packets are such stretches. Several channels must be
        constant at the same time.
    """

    seconds: float
    peak: float
    rms: float
    clipped: float
    constant: float


def measure(recording: Recording) -> Signal:
    """Measure a recording, or a part of it, in one pass and in blocks of bounded size.

    Parameters
    ----------
    recording : Recording
        A file of any format, or a part of it, as for
        :func:`fusion.core.toolkit.audio.load_waveform`.

    Raises
    ------
    RecordingError
        If the file can't be read as audio or is truncated, holds no samples in the part, or holds
        samples that are NaN or infinite.
    """
    meter: _Meter | None = None
    with open_decoder(recording.path) as decoder:
        for block in decoder.blocks(*span_of(recording, decoder)):
            channels = block.shape[1]
            meter = meter or _Meter(decoder.rate, channels)
            size = max(1, _BLOCK // channels)  # a file may have up to 1024 channels
            for start in range(0, len(block), size):
                meter.add(block[start : start + size])
    signal = meter.signal() if meter else None
    if signal is None:
        raise RecordingError(f"{recording}: holds no samples, or samples that are not audio.")
    return signal


class _Meter:
    """Running measurements of a signal that arrives in blocks."""

    def __init__(self, rate: int, channels: int) -> None:
        self._rate = rate
        self._shortest = max(2, math.ceil(STRETCH * rate))  # frames of a constant stretch
        self._frames = self._clipped = self._constant = self._run = 0
        self._last: npt.NDArray[Any] | None = None  # last frame of the block before
        self._low = np.full(channels, np.inf)
        self._high = np.full(channels, -np.inf)
        self._sum = np.zeros(channels)
        self._squares = np.zeros(channels)

    def add(self, block: FloatArray) -> None:
        """Add a block of samples, (n, channels) with n >= 1."""
        low, high = block.min(axis=0), block.max(axis=0)  # NaN if any sample is NaN
        self._low, self._high = np.minimum(self._low, low), np.maximum(self._high, high)
        if max(high.max(), -low.min()) >= FULL_SCALE:
            self._clipped += int(np.count_nonzero(np.abs(block) >= FULL_SCALE))
        exact = block.astype(np.float64)
        self._sum += exact.sum(axis=0)
        self._squares += np.square(exact, out=exact).sum(axis=0)
        self._add_stretches(block)
        self._frames += len(block)

    def _add_stretches(self, block: FloatArray) -> None:
        """Count the frames of constant stretches; a stretch may continue from the block before."""
        first = True if self._last is None else bool((block[0] != self._last).any())
        changes = np.concatenate([[first], (block[1:] != block[:-1]).any(axis=1)])
        self._last = block[-1].copy()  # a view would keep the block in memory
        starts = np.flatnonzero(changes)
        if not len(starts):
            self._run += len(block)
            return
        self._end_stretch(int(starts[0]))
        lengths = np.diff(starts)
        self._constant += int(lengths[lengths >= self._shortest].sum())
        self._run = len(block) - int(starts[-1])

    def _end_stretch(self, more: int) -> None:
        length, self._run = self._run + more, 0
        if length >= self._shortest:
            self._constant += length

    def signal(self) -> Signal | None:
        """Return the measurements; None if a sample is NaN or infinite, or there is none."""
        if not self._frames or not np.isfinite([self._low, self._high]).all():
            return None
        self._end_stretch(0)
        mean = self._sum / self._frames
        variance = np.maximum(self._squares / self._frames - mean * mean, 0.0)
        scaled = max(self._high.max(), -self._low.min()) <= _UNSCALED
        return Signal(
            self._frames / self._rate,
            max(0.0, float(np.maximum(self._high - mean, mean - self._low).max())),
            math.sqrt(float(variance.mean())),
            self._clipped / (self._frames * len(mean)) if scaled else 0.0,
            self._constant / self._frames,
        )
