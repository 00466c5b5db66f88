"""An extractor: how loud a recording is and how often it crosses zero, part by part."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
from fusion import Extractor, ParameterError, Recording, hookimpl
from fusion.core.toolkit.audio import load_waveform

api_version = 1

RATE = 16000  # in hertz; recordings are resampled to it
SILENCE = 1e-5  # root mean square that counts as silence, -100 dB of full scale


class MyPlugin(Extractor):
    """Level and zero crossings in equal parts of the recording, (2, parts) float32.

    The first row is the level in decibels relative to full scale, from -100 (silence) to about
    0. The second is the share of samples whose sign is another than that of the sample before,
    in [0, 1]: low in vowels, high in fricatives and noise.

    Parameters
    ----------
    parts : int
        How many parts of equal length, >= 1. Clips of any length have as many.
    """

    name = "my_plugin"
    axes = ("channel", "time")
    channels = ("level", "zero crossings")
    # Their versions decide the numbers, so they are part of what cached arrays are found by.
    libraries = ("numpy", "soundfile", "soxr")

    def __init__(self, *, parts: int = 64) -> None:
        if parts < 1:
            raise ParameterError(f"{self.name}.parts must be 1 or more, and is {parts}.")
        self.parts = parts
        self.shape = (2, parts)

    def extract(self, recording: Recording) -> npt.NDArray[np.float32]:
        return contours(load_waveform(recording, RATE), self.parts)


def contours(samples: npt.NDArray[np.float32], parts: int) -> npt.NDArray[np.float32]:
    """(n,) samples, n >= 1 -> (2, parts) float32."""
    crossed = np.diff(np.signbit(samples), prepend=np.signbit(samples[:1]))  # (n,) bool
    edges = np.linspace(0, len(samples), parts + 1)
    found = np.empty((2, parts), np.float32)
    for index, (start, end) in enumerate(pairwise(edges)):
        first = int(start)
        part = slice(first, max(int(end), first + 1))  # a sample at least, in a short clip
        rms = np.sqrt(np.mean(np.square(samples[part], dtype=np.float64)))
        found[:, index] = 20 * np.log10(max(rms, SILENCE)), crossed[part].mean()
    return found


@hookimpl
def fusion_extractors() -> list[type[Extractor]]:
    return [MyPlugin]
