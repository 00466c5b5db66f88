"""Predictions for new recordings by the chosen model of a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..contracts import Recording
from ..contracts.errors import ParameterError, RecordingError
from ..data.adaptation import Collector, Moments
from ..data.task import NAME, task_sentence
from ..toolkit.filenames import audio_files
from .bundle import Bundle
from .prediction import Prediction, Window, mean_of, most_probable
from .prediction_windows import Piece, pieces_of, trained_on_windows, window_of
from .recording_features import Extracted, RecordingFeatures
from .run import Run

BATCH = 32  # recordings or windows held in memory at a time
_TOLERANCE = 1e-3  # seconds by which a recording may exceed the length that the model sees
FEWEST = 4  # minimum number of recordings that give a speaker's statistics


class Predictor:
    """Chosen model of a run with the extractors that it needs.

    Parameters
    ----------
    run : Run
        A finished run; the run's plugins must be installed.
    settings : mapping, optional
        Parameters that differ from the run's, by extractor, such as a device or the table in which
        new recordings are looked up (`Extractor.sources`). The features that the model reads must
        not change.

    Attributes
    ----------
    window : float or None
        Length in seconds that the extractors see; None if the extractors see any length.
    divides : bool
        Whether longer recordings are labelled over windows: the run was trained on windows.

    Raises
    ------
    RunError
        If the run is not finished, or an installed extractor differs from the extractor that the
        model was trained with.
    ParameterError
        If `settings` names an owner that is not a feature of the run.
    """

    def __init__(
        self,
        run: Run,
        *,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.bundle = Bundle(run)
        self.features = RecordingFeatures(run, self.bundle, settings or {})
        self.extractors = self.features.extractors
        self.warnings = self.features.warnings
        self.window = window_of(self.extractors.values(), run)
        self.divides = trained_on_windows(run.config)
        self.speaker: dict[str, Moments] = {}  # statistics of the recordings' speaker, by modality
        self._counts = {"all": 0, "longer": 0, "divided": 0}  # recordings of the last prediction

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the probabilities."""
        return self.bundle.classes

    @property
    def adapted(self) -> bool:
        """True if the model standardises a recording by other recordings of the same speaker."""
        return self.bundle.adapt == "speaker"

    @property
    def task(self) -> list[str]:
        """List of one sentence that names the task; an empty list for a run without adaptation."""
        return [sentence] if (sentence := task_sentence(self.bundle.adapt)) else []

    def adapt_to(self, files: Sequence[Path | Recording], folder: Path | None = None) -> list[str]:
        """Compute the statistics of the speaker of `files`.

        Nothing is computed for a run without adaptation.

        Parameters
        ----------
        files : sequence of Path or Recording
            The recordings to label, all of one speaker. Without `folder`, the statistics are
            computed from these recordings.
        folder : Path, optional
            Folder with unlabelled recordings of that speaker, subfolders included.

        Returns
        -------
        list of str
            Notes for the user: the source of the statistics, and recordings that could not be read.

        Raises
        ------
        ParameterError
            If `folder` is given and the run is not speaker-adapted, or `folder` is not given and
            there are fewer than four files.
        CorpusError
            If the folder can't be read.
        RecordingError
            If no recording can be read.
        """
        if not self.adapted:
            if folder is not None:
                raise ParameterError(
                    f"The run is not {NAME}: it uses no statistics of a speaker.",
                    hint="Leave out --speaker-from, or train with: fusion run --adapt speaker",
                )
            return []
        if folder is None and len(files) < FEWEST:
            raise ParameterError(
                f"Too few recordings of the speaker: {len(files)}. The run is {NAME} and needs "
                f"{FEWEST} or more unlabelled recordings of the files' speaker.",
                hint="Name a folder of the speaker's recordings: --speaker-from DIR",
            )
        recordings: Sequence[Path | Recording] = (
            list(files) if folder is None else audio_files(folder)
        )
        if not recordings:
            raise RecordingError(
                f"{folder} holds no recordings of the speaker.",
                hint="Name another folder: --speaker-from DIR. The command fusion plugins show "
                "audio lists the formats.",
            )
        source = "the files themselves" if folder is None else str(folder)
        return self._take_statistics(recordings, source)

    def _take_statistics(self, items: Sequence[Path | Recording], source: str) -> list[str]:
        """Compute and keep a speaker's statistics, with `BATCH` recordings in memory at a time."""
        collectors = {
            m: Collector(1, e.shape, self.bundle.kept_axes(m)) for m, e in self.extractors.items()
        }
        failures: dict[Recording, str] = {}
        for pieces in self._batches(items):
            for piece, (arrays, reason) in zip(pieces, self.features.extract(pieces), strict=True):
                if reason is not None:
                    failures.setdefault(piece.whole, reason)
                for m, array in arrays.items():
                    collectors[m].add(np.zeros(1, np.int64), array[None])
        reasons = list(failures.values())
        if len(reasons) == len(items):
            raise RecordingError(
                f"None of the {len(items)} recordings of the speaker can be read. {reasons[0]}",
                hint="Name a folder of the speaker's recordings: --speaker-from DIR",
            )
        self.speaker = {m: collector.moments() for m, collector in collectors.items()}
        count = len(items) - len(reasons)
        notes = [f"{NAME}: the speaker's statistics come from {source}, {count} recordings"]
        if reasons:
            notes.append(
                f"{len(reasons)} of {len(items)} recordings of the speaker can't be read and are "
                f"left out; the first: {reasons[0]}"
            )
        notes += [
            f"no recording of the speaker has {m}: the training speakers' statistics are used"
            for m, moments in self.speaker.items()
            if not moments.count.sum()
        ]
        return notes

    def predict(self, recordings: Iterable[Path | Recording]) -> Iterator[Prediction]:
        """Return one prediction per recording, in order; `error` is set where labelling failed.

        If the run was trained on windows, a recording of at least 1.5 times the length that the
        extractors see is divided into windows. The prediction is the mean of the windows'
        probabilities. At most `BATCH` windows are in memory at a time. If a window can't be read,
        the recording can't be labelled. A window that lacks a modality is left out, unless all
        windows lack one.

        For a speaker-adapted run, call :meth:`adapt_to` first. Afterwards, :meth:`length_note`
        returns how many recordings are longer than the model sees.
        """
        self._counts = dict.fromkeys(self._counts, 0)
        parts: list[_Labelled] = []
        for pieces in self._batches(recordings):
            for piece, labelled in zip(pieces, self._label(pieces), strict=True):
                parts.append(labelled)
                if piece.last:
                    self._count(piece)
                    yield self._combined(parts)
                    parts = []

    def length_note(self) -> str | None:
        """Return how many recordings of the last prediction are longer than the model sees.

        Returns
        -------
        str or None
            Number of recordings, and how the recordings were labelled; None if there are none.
        """
        longer, divided = self._counts["longer"], self._counts["divided"]
        if self.window is None or not (divided or (longer and not self.divides)):
            return None
        if self.divides:
            return (
                f"{divided} of {self._counts['all']} recordings are labelled by the mean over "
                f"windows of {self.window:.3g} s"
            )
        return (
            f"{longer} of {self._counts['all']} recordings are longer than the {self.window:.3g} s "
            "that the model sees, and are labelled from their middle"
        )

    def extracted(self, path: Path) -> Extracted:
        """Extract the features of a recording, without windows.

        Returns
        -------
        tuple
            A dict with the array of each modality that the recording has, and None. If extraction
            fails: an empty dict, and the reason as text.
        """
        return self.features.extract([Piece(Recording(path), Recording(path), None)])[0]

    def _batches(self, recordings: Iterable[Path | Recording]) -> Iterator[list[Piece]]:
        pieces = pieces_of(recordings, self.window, divide=self.divides)
        while batch := list(islice(pieces, BATCH)):
            yield batch

    def _count(self, piece: Piece) -> None:
        self._counts["all"] += 1
        if piece.length is not None and self.window is not None:
            self._counts["longer"] += piece.length > self.window + _TOLERANCE
        self._counts["divided"] += piece.divided

    def _label(self, pieces: Sequence[Piece]) -> list[_Labelled]:
        extracted = self.features.extract(pieces)
        usable = [reason is None and not self.bundle.lacks(a) for a, reason in extracted]
        columns: dict[str, list[npt.NDArray[Any] | None]] = {
            m: [a.get(m) for (a, _), use in zip(extracted, usable, strict=True) if use]
            for m in self.extractors
        }
        rows: Iterator[Any] = iter(
            self.bundle.probabilities(columns, self.speaker) if any(usable) else ()
        )
        labelled: list[_Labelled] = []
        for piece, (arrays, reason), use in zip(pieces, extracted, usable, strict=True):
            shares = dict(zip(self.classes, map(float, next(rows)), strict=True)) if use else {}
            if not all(map(math.isfinite, shares.values())):
                shares = {}
                reason = f"{piece.whole.path}: the model gives no finite probabilities for it"
            lacking = tuple(m for m in self.extractors if m not in arrays)
            labelled.append(_Labelled(piece, shares, lacking, reason))
        return labelled

    def _combined(self, parts: Sequence[_Labelled]) -> Prediction:
        """Return the prediction for a recording, given all its pieces."""
        piece = parts[0].piece
        path, start, end = piece.whole.path, piece.whole.start, piece.end
        used = _complete(parts)
        reason = next((part.reason for part in parts if part.reason is not None), None)
        if reason is None and not used:
            reason = f"{path}: {self.bundle.lacks(())}"
        if reason is not None:
            return Prediction(path, None, {}, reason, start=start, end=end)
        lacking = tuple(m for m in self.extractors if any(m in part.lacking for part in used))
        if not piece.divided:
            shares = used[0].probabilities
            return Prediction(path, most_probable(shares), shares, None, lacking, (), start, end)
        windows = tuple(
            Window(part.piece.part.start, part.piece.part.end or 0.0, part.probabilities)
            for part in used
        )
        mean = mean_of([window.probabilities for window in windows])
        return Prediction(path, most_probable(mean), mean, None, lacking, windows, start, end)


class _Labelled(NamedTuple):
    """Probabilities of one piece; empty if the piece can't be labelled."""

    piece: Piece
    probabilities: dict[str, float]
    lacking: tuple[str, ...]
    reason: str | None


def _complete(parts: Sequence[_Labelled]) -> list[_Labelled]:
    """Return the labelled pieces that have every modality that any piece of the recording has.

    If there are none, all labelled pieces are returned.
    """
    labelled = [part for part in parts if part.probabilities]
    fewest = set.intersection(*(set(part.lacking) for part in parts))
    return [part for part in labelled if set(part.lacking) == fewest] or labelled
