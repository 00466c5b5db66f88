"""What a run returns: figures to compute with, and what a person wants of a finished run."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .outcome.results import Results, points
from .result_table import result_table
from .run import Run
from .trainings import FUSED

if TYPE_CHECKING:
    from .predictor import Prediction


@dataclass(frozen=True, repr=False)
class RunResult:
    """A finished run. ``print(result)`` shows its table; a notebook does so by itself.

    Attributes
    ----------
    run : Run
        The run directory.
    results : Results
        Table, comparisons, verdict.
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
        """The run directory's path."""
        return self.run.path

    @property
    def info(self) -> dict[str, Any]:
        """What run.json holds, as plain values."""
        return self.run.record.to_json()

    @property
    def gain(self) -> float:
        """Test UAR of the fused model minus that of the best single modality, -1 to 1."""
        return self.results.comparisons[FUSED].difference

    @property
    def verdict(self) -> str:
        """One sentence on fusion, one on the model that is handed out and why."""
        return self.results.verdict

    @property
    def report(self) -> Path:
        """The run's report, an HTML file; ``fusion report RUN`` writes it where it is missing."""
        return self.path / "report.html"

    def history(self) -> dict[str, list[dict[str, Any]]]:
        """Every epoch of every training.

        Returns
        -------
        dict
            Training (``"fold0/mel"``, ``"fold0/fused"``) -> a dict per epoch, in order:
            ``epoch`` from 1, ``train_loss``, ``val_uar`` (0 to 1), and what else was measured.
            What is of one modality ends in its name: ``val_uar.mel``. An undefined figure is
            None. A list of dicts is what ``pandas.DataFrame`` takes.
        """
        from .outcome.history import read_history

        return read_history(self.run)

    def predict(
        self,
        recordings: str | Path | Iterable[str | Path],
        *,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        speaker_from: str | Path | None = None,
    ) -> list[Prediction]:
        """Label recordings with the model that validation chose.

        Parameters
        ----------
        recordings : path or iterable of paths
            Audio files, each one clip.
        settings : mapping, optional
            Where extractors look these recordings up, such as another table:
            ``{"precomputed": {"table": "new.csv"}}``.
        speaker_from : path, optional
            Of a speaker-adapted run: a folder of unlabelled recordings of the one speaker of
            `recordings`. Without it, four recordings or more give the statistics themselves,
            with a warning.

        Returns
        -------
        list of Prediction
            One per recording, in the order given: ``label``, ``probabilities``, and in
            ``lacking`` the modalities that it was labelled without; of one that can't be read
            ``error`` says why.

        Raises
        ------
        RunError
            If an installed extractor is not the one that the model was trained with.
        ParameterError
            If the run is speaker-adapted and nothing gives the speaker's statistics, or it is
            not and `speaker_from` is given.
        """
        from .predictor import Predictor

        given = [recordings] if isinstance(recordings, str | Path) else recordings
        paths = [Path(path) for path in given]
        predictor = Predictor(self.run, settings=settings)
        folder = None if speaker_from is None else Path(speaker_from)
        notes = predictor.adapt_to(paths, folder)
        for note in notes if folder is None else notes[1:]:
            warnings.warn(note, stacklevel=2)
        return list(predictor.predict(paths))

    def __repr__(self) -> str:
        best = self.results.best_single
        figures = {name: self.results.model(name).uar.value for name in (FUSED, best)}
        said = ", ".join(f"{name} {100 * uar:.1f}" for name, uar in figures.items())
        return f"RunResult({str(self.path)!r}: UAR {said}, gain {points(self.gain)})"

    def __str__(self) -> str:
        return result_table(self.results, self.run.record, self.path).text()

    def _repr_html_(self) -> str:
        return result_table(self.results, self.run.record, self.path).html()
