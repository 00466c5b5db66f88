"""Samples of recordings, and the reasons why recordings can't be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fusion import Recording
from fusion.core.contracts.errors import RecordingError
from fusion.core.toolkit.audio import load_waveform


def load_at(rate: int, path: Path, start: float = 0.0, end: float | None = None) -> np.ndarray:
    """Return the samples of a recording at a sampling rate."""
    return load_waveform(Recording(path, start, end), rate)


def why_not_at(rate: int, path: Path, start: float = 0.0, end: float | None = None) -> str:
    """Return the message of the error for a recording, which must name the file."""
    with pytest.raises(RecordingError) as caught:
        load_at(rate, path, start, end)
    assert str(path) in caught.value.message
    return caught.value.message
