"""Windows of new recordings that are longer than the part that the model's extractors see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..contracts import Extractor, Recording
from ..data.windows import limit_of
from ..toolkit.audio import duration_of
from ..toolkit.windows import windows_of
from .config import RunConfig
from .run import Run


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a recording that the model labels in one step.

    Attributes
    ----------
    whole : Recording
        The recording.
    part : Recording
        A window of the recording; `whole` itself for a recording without windows.
    length : float or None
        Length of the recording in seconds; None if unknown.
    first, last : bool
        Whether the piece is the first or the last of the recording.
    """

    whole: Recording
    part: Recording
    length: float | None
    first: bool = True
    last: bool = True

    @property
    def divided(self) -> bool:
        """True if the piece is a window."""
        return not (self.first and self.last)

    @property
    def end(self) -> float | None:
        """End of the recording in its file, in seconds; None if unknown."""
        return self.whole.end if self.length is None else self.whole.start + self.length


def window_of(extractors: Iterable[Extractor], run: Run) -> float | None:
    """Return the length of a window in seconds; None if the model sees recordings of any length.

    A run that was trained on windows stores the length, which a feature that the chosen model does
    not take may have determined. Otherwise, also for a run on the middles of recordings, the length
    is the smallest limit of the extractors.
    """
    limits = [limit for e in extractors if (limit := limit_of(e)) is not None]
    if not limits:
        return None
    long_clips = run.record.long_clips
    if long_clips and trained_on_windows(run.config):
        return min(long_clips.seconds.values())
    return min(limits)


def trained_on_windows(config: RunConfig) -> bool:
    """Return True if the run was trained on all parts of long recordings.

    The stored settings are read without defaults: a run of an older version lacks the setting, and
    was trained on the middles of recordings.
    """
    setting: str = config.settings.get("train", {}).get("windows", "middle")
    return setting != "middle"


def pieces_of(
    recordings: Iterable[Path | Recording], window: float | None, *, divide: bool
) -> Iterator[Piece]:
    """Yield the pieces of recordings one after the other, without reading samples.

    Parameters
    ----------
    recordings : iterable of Path or Recording
        Files, or parts of files.
    window : float or None
        Length of a window in seconds; None means that recordings are not divided.
    divide : bool
        Whether to divide recordings of at least 1.5 windows
        (:func:`fusion.core.toolkit.windows.windows_of`).
    """
    for item in recordings:
        recording = item if isinstance(item, Recording) else Recording(item)
        length = duration_of(recording)
        parts = windows_of(recording, length, window) if divide and length is not None else []
        parts = parts or [recording]
        for index, part in enumerate(parts):
            yield Piece(recording, part, length, index == 0, index == len(parts) - 1)
