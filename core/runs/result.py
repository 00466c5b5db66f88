"""Result of a finished run: its figures, history, report and predictions."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .outcome.results import Results, points
from .recordings_from_python import Given, as_files
from .result_table import result_table
from .run import Run
from .trainings import FUSED

if TYPE_CHECKING:
    from .prediction import Prediction


@dataclass(frozen=True, repr=False)
class RunResult:
    """Result of a finished run; ``print(result)`` and notebooks show its table.

    Attributes
    ----------
    run : Run
        The run directory.
    results : Results
        Table, comparisons and verdict.
    """

    run: Run
    results: Results

    @classmethod
    def read(cls, run: Run) -> RunResult:
        """Read the result of a finished run.

        Raises
        ------
        RunError
            If results.json is missing or damaged.
        """
        return cls(run, Results.read(run))

    @property
    def path(self) -> Path:
        """Path of the run directory."""
        return self.run.path

    @property
    def info(self) -> dict[str, Any]:
        """Content of run.json as plain values."""
        return self.run.record.to_json()

    @property
    def gain(self) -> float:
        """Test UAR of the fused model minus that of the best single modality, -1 to 1."""
        return self.results.comparisons[FUSED].difference

    @property
    def verdict(self) -> str:
        """Two sentences: whether fusion helps, and which model was chosen and why."""
        return self.results.verdict

    @property
    def report(self) -> Path:
        """Path of the HTML report; ``fusion report RUN`` writes the report if it is missing."""
        return self.path / "report.html"

    def history(self) -> dict[str, list[dict[str, Any]]]:
        """Read the figures of every epoch of every training.

        Returns
        -------
        dict
            For each training (``"fold0/mel"``, ``"fold0/fused"``), a list with one dict per epoch,
            in order. ``pandas.DataFrame`` accepts the list. The keys of a dict are ``epoch`` (from
            1), ``train_loss``, ``val_uar`` (0 to 1) and further figures. The name of a figure of
            one modality ends in the modality: ``val_uar.mel``. An undefined figure is None.
        """
        from .outcome.history import read_history

        return read_history(self.run)

    def predict(
        self,
        recordings: Given | Iterable[Given],
        *,
        sample_rate: int | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        speaker_from: str | Path | None = None,
    ) -> list[Prediction]:
        """Label recordings with the model that validation chose.

        Parameters
        ----------
        recordings : path, array, tensor or mapping, or iterable of these
            Recordings; each is one clip. A path is an audio file, or, as for ``fusion predict``, a
            folder, a pattern or a table of recordings. An array (numpy) or tensor
            (torch) has the shape (n,), (n, channels) or (channels, n), with at most 8 channels: the
            longer axis is time. Floating-point samples have full scale 1, and integers the full
            scale of their dtype. A mapping has ``array`` and ``sampling_rate``, like the Audio
            feature of a Hugging Face dataset. A ``fusion.Recording`` is a part of a file.
        sample_rate : int, optional
            Sample rate of arrays and tensors in hertz, which must be given for them. Mappings have
            their own sample rate.
        settings : mapping, optional
            Parameters that differ from the run's, by extractor, such as the table in which
            `recordings` are looked up: ``{"precomputed": {"table": "new.csv"}}``.
        speaker_from : path, optional
            For a speaker-adapted run: a folder of unlabelled recordings of the speaker of
            `recordings`. All `recordings` must have the same speaker. Without a folder, the
            speaker's statistics are computed from `recordings`, with a warning; at least four
            recordings are needed.

        Returns
        -------
        list of Prediction
            One prediction per recording, in the order given: ``label``, ``probabilities``, and in
            ``lacking`` the modalities that the recording lacks. If the run was trained on windows,
            a long recording has the predictions for its windows in ``windows``. If a recording
            can't be labelled, ``error`` holds the reason. The ``path`` of an array is its position,
            such as ``array-0``.

        Raises
        ------
        RunError
            If an installed extractor differs from the extractor that the model was trained with.
        ParameterError
            If an item of `recordings` is no recording, an array or tensor is given without
            `sample_rate`, or a folder, pattern or table has no recording. If the run is
            speaker-adapted and there are too few recordings to compute the speaker's statistics, or
            the run is not speaker-adapted and `speaker_from` is given.

        Examples
        --------
        >>> result.predict(samples, sample_rate=48000)[0].label    # doctest: +SKIP
        'happy'
        """
        from .predictor import Predictor

        with as_files(recordings, sample_rate) as items:
            predictor = Predictor(self.run, settings=settings)
            folder = None if speaker_from is None else Path(speaker_from)
            for note in items.notes:
                warnings.warn(note, stacklevel=2)
            notes = predictor.adapt_to(items.recordings, folder)
            for note in notes if folder is None else notes[1:]:
                warnings.warn(note, stacklevel=2)
            predictions = [items.renamed(p) for p in predictor.predict(items.recordings)]
        if not predictor.divides and (note_on_length := predictor.length_note()):
            warnings.warn(note_on_length, stacklevel=2)
        return predictions

    def __repr__(self) -> str:
        best = self.results.best_single
        figures = {name: self.results.model(name).uar.value for name in (FUSED, best)}
        uars = ", ".join(f"{name} {100 * uar:.1f}" for name, uar in figures.items())
        return f"RunResult({str(self.path)!r}: UAR {uars}, gain {points(self.gain)})"

    def __str__(self) -> str:
        return result_table(self.results, self.run.record, self.path).text()

    def _repr_html_(self) -> str:
        return result_table(self.results, self.run.record, self.path).html()
