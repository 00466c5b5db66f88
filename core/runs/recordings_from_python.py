"""Recordings to label that are given in Python: paths, parts of files, arrays and tensors."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from ..contracts import Recording
from ..contracts.errors import ParameterError, StorageError
from ..toolkit.waveforms import audio_suffix, is_waveform, wav_bytes
from .arguments import shortened
from .prediction import Prediction
from .prediction_files import find_recordings

Given = Any  # str, Path, Recording, array, tensor, mapping or decoder


@dataclass
class GivenRecordings:
    """Recordings as files, some of which are temporary.

    Attributes
    ----------
    recordings : list of Recording
        One file, or part of a file, for each recording in the order given.
    notes : list of str
        Sentences on files that are passed over, and on folders, patterns and tables without a
        recording.
    """

    recordings: list[Recording] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _names: dict[Path, str] = field(default_factory=dict)  # name of each temporary file's array

    def renamed(self, prediction: Prediction) -> Prediction:
        """Return a prediction with the name of the array instead of its temporary file."""
        name = self._names.get(prediction.path)
        if name is None:
            return prediction
        error = prediction.error
        error = None if error is None else error.replace(str(prediction.path), name)
        return replace(prediction, path=Path(name), error=error)


@contextlib.contextmanager
def as_files(
    recordings: Given | Iterable[Given], sample_rate: int | None
) -> Iterator[GivenRecordings]:
    """Yield recordings as files; the files of arrays are removed when the context ends.

    Extractors read files. The file of an array has the same samples (32-bit floating point, or the
    integers of the array), so the features are those of the same samples in a file.

    Parameters
    ----------
    recordings : path, Recording, array, tensor or mapping, or iterable of these
        A path is a file, a folder, a pattern or a table
        (:func:`fusion.core.runs.prediction_files.find_recordings`). An array, a tensor, or a
        mapping with ``array`` and ``sampling_rate``, is one recording
        (:func:`fusion.core.toolkit.waveforms.wav_bytes`). So is a mapping with ``path`` or
        ``bytes``, the file's content.
    sample_rate : int or None
        Sample rate of arrays and tensors in hertz; None if there are none.

    Raises
    ------
    ParameterError
        If an item is none of these, an array can't be a recording or has no sample rate, or paths
        name no recording.
    CorpusError
        If a folder can't be read.
    StorageError
        If the temporary files can't be written.
    """
    one = isinstance(recordings, str | Path | Recording | Mapping) or is_waveform(recordings)
    if not one and not isinstance(recordings, Iterable):
        raise _unknown(recordings)
    with tempfile.TemporaryDirectory(prefix="fusion-") as folder:
        items = GivenRecordings()
        numbered = enumerate([recordings] if one else recordings)
        for are_paths, group in groupby(numbered, key=lambda pair: isinstance(pair[1], str | Path)):
            if are_paths:
                _add_paths(items, [str(item) for _, item in group])
                continue
            for number, item in group:
                _add(items, number, _content(item, sample_rate), Path(folder))
        yield items


def _add_paths(items: GivenRecordings, paths: list[str]) -> None:
    """Add the recordings that paths name, as on the command line."""
    named = find_recordings(paths)
    items.recordings += named.recordings
    items.notes += [f"{name}: no recordings were found" for name in named.empty]
    items.notes += filter(None, [named.note()])


def _add(
    items: GivenRecordings, number: int, content: Recording | tuple[bytes, str], folder: Path
) -> None:
    """Add a recording, whose content is written to a file in `folder` if it has no file."""
    if not isinstance(content, tuple):
        items.recordings.append(content)
        return
    data, suffix = content
    path = folder / f"{number}{suffix}"
    try:
        path.write_bytes(data)
    except OSError as error:
        raise StorageError(
            f"Array {number} can't be written to the temporary folder: {error}.",
            hint="Free some disk space, or set TMPDIR to another folder.",
        ) from error
    items._names[path] = f"array-{number}"
    items.recordings.append(Recording(path))


def _content(item: Given, sample_rate: int | None) -> Recording | tuple[bytes, str]:
    """Return a recording in a file; or the content and the suffix of a file to be written."""
    if isinstance(item, Recording):
        return replace(item, path=Path(item.path))  # the path may be a text
    if is_waveform(item):
        return wav_bytes(item, sample_rate), ".wav"
    if isinstance(item, Mapping):
        path, data = item.get("path"), item.get("bytes")
        if isinstance(data, bytes):
            return data, audio_suffix(data, str(path or "")) or ".wav"
        if isinstance(path, str | Path):
            return Recording(Path(path))
    raise _unknown(item)


def _unknown(item: Any) -> ParameterError:
    return ParameterError(
        f"A recording must be a path, an array, a tensor, or a mapping with 'array' and "
        f"'sampling_rate', and {shortened(item)} is none of these.",
        hint="For samples in a list: numpy.array(samples).",
    )
