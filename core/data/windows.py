"""Windows of clips that are longer than what the arrays of an extractor represent."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...cache.builds.progress import BuildReport, Failure
from ..contracts import Clip, Extractor, Recording
from ..toolkit.audio import duration_of
from ..toolkit.windows import LONG, windows_of

Indices = npt.NDArray[np.int64]

_THREADS = 8  # headers read at a time


class Window(NamedTuple):
    """Part of a clip that has its own arrays: its location and its key in the cache."""

    recording: Recording
    key: str


@dataclass(frozen=True)
class LongClips:
    """Number of a run's clips that are longer than what some of its features represent.

    Attributes
    ----------
    seconds : mapping of str to float
        Longest part of a recording that one array represents, in seconds, by feature; only the
        features that have a limit.
    clips : int
        Number of clips that last at least 1.5 times the smallest of these lengths.
    windows : int
        Number of windows of these clips; 0 if the run uses only the middle of each.
    """

    seconds: Mapping[str, float]
    clips: int
    windows: int = 0

    def text(self, clips: int) -> str:
        """Return a sentence without a full stop for the user; `clips` is the number of all clips.

        ``"2 of 9 are longer than 6.1 s (1.5 x the 4.1 s that mel sees): training on ..."``
        """
        window = min(self.seconds.values())
        names = " and ".join(m for m, seconds in self.seconds.items() if seconds == window)
        see = "see" if " and " in names else "sees"
        if self.windows:
            use = "training on random windows, evaluation by the mean over their windows"
        elif max(self.seconds.values()) == window:
            use = f"only their middle {window:.3g} s are used"
        else:
            use = "each feature uses only the middle of the clip"
        return (
            f"{self.clips} of {clips} are longer than {LONG * window:.3g} s "
            f"({LONG:g} x the {window:.3g} s that {names} {see}): {use}"
        )


def limit_of(extractor: Extractor) -> float | None:
    """Return the longest part that one array represents, in seconds; None if it has no limit.

    An extractor that looks recordings up by their path has no limit: a table has no row for a
    window.
    """
    return None if extractor.by_place else extractor.seconds


def limited(extractors: Mapping[str, Extractor]) -> dict[str, float]:
    """Return the longest part that one array represents, in seconds, of features with a limit."""
    limits = {name: limit_of(extractor) for name, extractor in extractors.items()}
    return {name: limit for name, limit in limits.items() if limit is not None}


def find_windows(clips: Sequence[Clip], window: float | None) -> dict[int, list[Recording]]:
    """Return the windows of each clip that is long enough to be divided, by index of the clip.

    Lengths are read from the headers of the files. A clip of unknown length is not divided.

    Parameters
    ----------
    window : float or None
        Length of a window in seconds; None means that no clip is divided.
    """
    if window is None:
        return {}
    candidates = {i: clip.recording for i, clip in enumerate(clips) if _may_be_long(clip, window)}
    lengths = _lengths(recording.path for recording in candidates.values())
    windows: dict[int, list[Recording]] = {}
    for index, recording in candidates.items():
        end = lengths[recording.path]
        if end is None:
            continue
        if recording.end is not None:
            end = min(end, recording.end)
        if parts := windows_of(recording, end - recording.start, window):
            windows[index] = parts
    return windows


def _may_be_long(clip: Clip, window: float) -> bool:
    start, end = clip.recording.start, clip.recording.end
    return end is None or end - start >= LONG * window


def _lengths(paths: Iterable[Path]) -> dict[Path, float | None]:
    unique = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(_THREADS) as pool:
        each = pool.map(lambda path: duration_of(Recording(path)), unique)
        return dict(zip(unique, each, strict=True))


def by_clip(
    report: BuildReport, keys: Sequence[str], windows: Mapping[int, Sequence[Window]]
) -> tuple[BuildReport, dict[int, tuple[Window, ...]]]:
    """Replace the failures of windows in a report by failures of their clips.

    A clip fails if one of its windows fails. A window that lacks a modality is left out, as long as
    the clip keeps a window. Otherwise the clip lacks the modality.

    Parameters
    ----------
    keys : sequence of str
        Key of each clip.
    windows : mapping
        Windows of each divided clip, by index of the clip.

    Returns
    -------
    tuple
        The report, and the windows that the run uses, by index of the clip.
    """
    if not windows:
        return report, {}
    clips_of: dict[str, dict[int, None]] = {}  # clips by key of an array, in order
    for index, key in enumerate(keys):
        clips_of.setdefault(key, {})[index] = None
    for index, own in windows.items():
        for window in own:
            clips_of.setdefault(window.key, {})[index] = None
    failures: dict[tuple[str, str], Failure] = {}
    for item in report.failures:
        for index in clips_of.get(item.key, ()):
            _add(failures, item, keys[index])
    absent: dict[tuple[str, str], Failure] = {}
    lacking: dict[str, dict[str, Failure]] = {}  # by feature and key
    for item in report.absent:
        lacking.setdefault(item.feature, {})[item.key] = item
        for index in clips_of.get(item.key, ()):
            if keys[index] == item.key:
                _add(absent, item, keys[index])
    used: dict[int, tuple[Window, ...]] = {}
    for index, own in windows.items():
        used[index], without = _complete(own, lacking)
        for feature in without:
            first = next(w.key for w in own if w.key in lacking[feature])
            _add(absent, lacking[feature][first], keys[index])
    changed = replace(report, failures=list(failures.values()), absent=list(absent.values()))
    return changed, used


def _add(items: dict[tuple[str, str], Failure], item: Failure, clip: str) -> None:
    """Add an item under the key of its clip, unless the clip has an item of this feature."""
    items.setdefault((item.feature, clip), replace(item, key=clip))


def _complete(
    windows: Sequence[Window], lacking: Mapping[str, Collection[str]]
) -> tuple[tuple[Window, ...], list[str]]:
    """Return the windows to use, and the modalities that the clip lacks."""
    tables = {m: [window.key in keys for window in windows] for m, keys in lacking.items()}
    without = [m for m, flags in tables.items() if all(flags)]
    some = [flags for m, flags in tables.items() if m not in without]
    complete = tuple(w for i, w in enumerate(windows) if not any(flags[i] for flags in some))
    if complete:
        return complete, without
    return tuple(windows), [m for m, flags in tables.items() if any(flags)]


# -- rows of arrays ------------------------------------------------------------------


@dataclass(frozen=True)
class ClipRows:
    """Rows of arrays that belong to each clip: one row per window.

    Attributes
    ----------
    first : array
        (n + 1,) int64: the rows ``first[i]`` to ``first[i + 1] - 1`` belong to clip i.
    divided : collection of str
        Modalities whose rows differ between the windows of a clip.
    """

    first: Indices
    divided: Collection[str]

    def middle(self, clips: Indices) -> Indices:
        """Return the row of the middle window of each clip, (B,)."""
        first = self.first[clips]
        middle: Indices = first + (self.first[clips + 1] - first) // 2
        return middle

    def drawn(self, clips: Indices, rng: np.random.Generator) -> Indices:
        """Return the row of a random window of each clip, (B,)."""
        return rng.integers(self.first[clips], self.first[clips + 1])

    def every(self, clips: Indices) -> tuple[Indices, Indices]:
        """Return the rows of all windows of the clips, (R,), and the position in `clips` of each.

        The rows of a clip follow each other, and clips keep their order.
        """
        counts = self.first[clips + 1] - self.first[clips]
        position = np.repeat(np.arange(len(clips)), counts)
        within = np.arange(len(position)) - np.repeat(np.cumsum(counts) - counts, counts)
        return self.first[clips][position] + within, position


class Selected:
    """View of arrays: row i is row ``rows[i]`` of the arrays.

    Parameters
    ----------
    arrays : Arrays
        The arrays.
    rows : array
        (n,) int64; a row may occur several times.
    """

    def __init__(self, arrays: Any, rows: Indices) -> None:
        self._arrays = arrays
        self._rows = rows

    @property
    def nbytes(self) -> int:
        """Bytes of all rows, including repeated rows."""
        return int(self._arrays.nbytes) // max(1, len(self._arrays)) * len(self)

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, indices: Any) -> npt.NDArray[Any]:
        """Return the rows `indices`, (B, *shape)."""
        rows: npt.NDArray[Any] = self._arrays.take(self._rows[np.asarray(indices)])
        return rows
