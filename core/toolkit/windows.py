"""Windows of long recordings."""

from __future__ import annotations

import math
from dataclasses import replace

from ..contracts.data import Recording
from .recordings import has_samples_before

LONG = 1.5  # recordings of at least this many window lengths are divided
MANY = 1000  # more windows are made only if the announced end of the file can be decoded


def window_starts(length: float, window: float | None) -> list[float]:
    """Return the starts of the windows of a recording, in seconds from its start.

    A recording shorter than 1.5 windows is not divided: its extractor sees the recording's middle.
    A longer recording gets the smallest number of windows that covers it. The windows are evenly
    spaced: the first starts at 0, and the last ends with the recording.

    Parameters
    ----------
    length : float
        Length of the recording in seconds, >= 0.
    window : float or None
        Length of a window in seconds, > 0; None means that recordings are not divided.

    Returns
    -------
    list of float
        Start of each window; empty for a recording that is not divided.
    """
    if window is None or length < LONG * window:
        return []
    count = math.ceil(length / window - 1e-9)  # a rounding error must not add a window
    step = (length - window) / (count - 1)
    return [round(step * index, 6) for index in range(count)]


def windows_of(recording: Recording, length: float, window: float | None) -> list[Recording]:
    """Return the windows of a recording, which start as :func:`window_starts` says.

    One damaged number in a header can announce a length of days. A recording with more than 1000
    windows is therefore divided only if its last 0.1 s can be decoded.

    Parameters
    ----------
    recording : Recording
        The recording.
    length : float
        Its announced length in seconds, >= 0, from its start on.
    window : float or None
        Length of a window in seconds, > 0; None means that recordings are not divided.

    Returns
    -------
    list of Recording
        The windows, none of which ends after a stated end of `recording`; empty for a recording
        that is not divided.
    """
    starts = window_starts(length, window)
    if window is None or (
        len(starts) > MANY and not has_samples_before(recording.path, recording.start + length)
    ):
        return []
    # The times are part of the key of a window, so they must not depend on rounding errors.
    begins = [round(recording.start + start, 6) for start in starts]
    ends = [round(begin + window, 6) for begin in begins]
    last = math.inf if recording.end is None else recording.end
    pairs = zip(begins, ends, strict=True)
    return [replace(recording, start=begin, end=min(end, last)) for begin, end in pairs]
