"""Predictions for new recordings by the chosen model of a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..contracts import Extractor, Recording
from ..contracts.errors import MissingModalityError, ParameterError, RecordingError, RunError
from ..data.adaptation import Collector, Moments
from ..data.extraction import extract_all, fingerprint_of
from ..data.task import NAME, task_sentence
from ..registry.parameters import as_text
from ..registry.provenance import message_of
from ..toolkit.filenames import AUDIO, audio_files
from .bundle import Bundle
from .config import RunConfig
from .feature_changes import Change, changes
from .plan import make_extractors
from .record import FeatureRecord
from .run import Run

BATCH = 32  # recordings held in memory at a time
FEWEST = 4  # minimum number of recordings that give a speaker's statistics


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predicted label and class probabilities of one recording.

    Attributes
    ----------
    path : Path
        The file.
    label : str or None
        The most probable class; None if the recording could not be labelled.
    probabilities : dict
        Probability of each class, summing to 1; empty if the recording could not be labelled.
    error : str or None
        Reason why the recording could not be labelled; None for a labelled recording.
    lacking : tuple of str
        Modalities that the model takes and the recording lacks; the recording was labelled without
        these modalities.
    """

    path: Path
    label: str | None
    probabilities: dict[str, float]
    error: str | None = None
    lacking: tuple[str, ...] = ()


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
        config = run.config
        self.bundle = Bundle(run)
        # Make only the extractors that the model needs: imported features that it does not need
        # may have been removed from the cache.
        used = replace(config, features=tuple(self.bundle.modalities))
        overrides = settings or {}
        _check_owners(overrides, config, used.features)
        self.extractors = make_extractors(_with_overrides(used, overrides), run.registry)
        self.warnings = _changed(self.extractors, run.record.features)
        self.warnings += [
            f"the settings of {m} have no effect: the chosen model takes no {m}"
            for m in overrides
            if m not in used.features
        ]
        self.speaker: dict[str, Moments] = {}  # statistics of the recordings' speaker, by modality

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

    def adapt_to(self, files: Sequence[Path], folder: Path | None = None) -> list[str]:
        """Compute the statistics of the speaker of `files`.

        Nothing is computed for a run without adaptation.

        Parameters
        ----------
        files : sequence of Path
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
        recordings = list(files) if folder is None else audio_files(folder)
        if not recordings:
            raise RecordingError(
                f"{folder} holds no recordings ({', '.join(AUDIO)}) of the speaker.",
                hint="Name another folder: --speaker-from DIR",
            )
        source = "the files themselves" if folder is None else str(folder)
        return self._take_statistics(recordings, source)

    def _take_statistics(self, paths: Sequence[Path], source: str) -> list[str]:
        """Compute and keep a speaker's statistics, with `BATCH` recordings in memory at a time."""
        collectors = {
            m: Collector(1, e.shape, self.bundle.kept_axes(m)) for m, e in self.extractors.items()
        }
        reasons: list[str] = []
        for start in range(0, len(paths), BATCH):
            for arrays, reason in self.extracted_all(paths[start : start + BATCH]):
                if reason is not None:
                    reasons.append(reason)
                for m, array in arrays.items():
                    collectors[m].add(np.zeros(1, np.int64), array[None])
        if len(reasons) == len(paths):
            raise RecordingError(
                f"None of the {len(paths)} recordings of the speaker can be read. {reasons[0]}",
                hint="Name a folder of the speaker's recordings: --speaker-from DIR",
            )
        self.speaker = {m: collector.moments() for m, collector in collectors.items()}
        count = len(paths) - len(reasons)
        notes = [f"{NAME}: the speaker's statistics come from {source}, {count} recordings"]
        if reasons:
            notes.append(
                f"{len(reasons)} of {len(paths)} recordings of the speaker can't be read and are "
                f"left out; the first: {reasons[0]}"
            )
        notes += [
            f"no recording of the speaker has {m}: the training speakers' statistics are used"
            for m, moments in self.speaker.items()
            if not moments.count.sum()
        ]
        return notes

    def predict(self, paths: Iterable[Path]) -> Iterator[Prediction]:
        """Return one prediction per recording, in order; `error` is set where labelling failed.

        For a speaker-adapted run, call :meth:`adapt_to` first.
        """
        waiting: list[Path] = []
        for path in paths:
            waiting.append(path)
            if len(waiting) == BATCH:
                yield from self._batch(waiting)
                waiting = []
        if waiting:
            yield from self._batch(waiting)

    def _batch(self, paths: list[Path]) -> list[Prediction]:
        predictions: list[Prediction] = []
        features: dict[str, list[npt.NDArray[Any] | None]] = {m: [] for m in self.extractors}
        for path, (arrays, reason) in zip(paths, self.extracted_all(paths), strict=True):
            if reason is not None:
                predictions.append(Prediction(path, None, {}, reason))
                continue
            lacking = tuple(m for m in self.extractors if m not in arrays)
            predictions.append(Prediction(path, "", {}, lacking=lacking))
            for m, column in features.items():
                column.append(arrays.get(m))
        if not any(p.error is None for p in predictions):
            return predictions
        rows = iter(self.bundle.probabilities(features, self.speaker))
        return [p if p.error else self._labelled(p, next(rows)) for p in predictions]

    def extracted(self, path: Path) -> tuple[dict[str, npt.NDArray[Any]], str | None]:
        """Extract the features of a recording.

        Returns
        -------
        tuple
            A dict with the array of each modality that the recording has, and None. If extraction
            fails: an empty dict, and the reason as text.
        """
        return self.extracted_all([path])[0]

    def extracted_all(
        self, paths: Sequence[Path]
    ) -> list[tuple[dict[str, npt.NDArray[Any]], str | None]]:
        """Extract the features of several recordings, in batches if an extractor supports them.

        Returns
        -------
        list of tuple
            Result of :meth:`extracted` for each recording.
        """
        arrays: list[dict[str, npt.NDArray[Any]]] = [{} for _ in paths]
        reasons: dict[int, str] = {}  # one failure per index of a recording
        for m, extractor in self.extractors.items():
            remaining = [i for i in range(len(paths)) if i not in reasons]
            extracted = extract_all(extractor, [Recording(paths[i]) for i in remaining])
            for i, array in zip(remaining, extracted, strict=True):
                if isinstance(array, MissingModalityError):
                    continue
                if isinstance(array, RecordingError):  # the recording is bad, not the plugin
                    reasons[i] = array.message
                elif isinstance(array, Exception):
                    reasons[i] = message_of(array)
                else:
                    arrays[i][m] = array
        for i, row in enumerate(arrays):
            if i not in reasons and (lacks := self.bundle.lacks(row)):
                reasons[i] = lacks
        return [
            ({}, _with_path(path, reasons[i])) if i in reasons else (arrays[i], None)
            for i, path in enumerate(paths)
        ]

    def _labelled(self, prediction: Prediction, row: npt.NDArray[Any]) -> Prediction:
        by_class = {name: float(p) for name, p in zip(self.classes, row, strict=True)}
        label = max(by_class, key=by_class.__getitem__)
        return replace(prediction, label=label, probabilities=by_class)


def _with_path(path: Path, reason: str) -> str:
    return reason if str(path) in reason else f"{path}: {reason}"


def _check_owners(settings: Mapping[str, Any], config: RunConfig, features: Sequence[str]) -> None:
    """Raise ParameterError if the owner of a setting is not a feature of the run."""
    for owner in settings:
        if owner not in config.features:
            raise ParameterError(
                f"--set {owner}.…: {owner!r} is not a feature of this run. The model is trained, "
                "so only features can be set.",
                hint="A setting can, for instance, name the table that lists new recordings. The "
                f"model takes: {', '.join(features)}.",
            )


def _with_overrides(config: RunConfig, overrides: Mapping[str, Mapping[str, Any]]) -> RunConfig:
    """Return the run's configuration with some extractor parameters replaced."""
    settings = {m: {**config.settings.get(m, {}), **overrides.get(m, {})} for m in config.features}
    return replace(config, settings={**config.settings, **settings})


def _changed(
    extractors: Mapping[str, Extractor],
    trained: Mapping[str, FeatureRecord],
) -> list[str]:
    """Compare the installed extractors with those of the training, and return warnings.

    A changed version of an extractor is an error, because the extractor computes other features. A
    changed version of a library is a warning, because the features are most likely the same.

    Raises
    ------
    RunError
        If the version, a parameter or the shape of an extractor differs.
    """
    warnings: list[str] = []
    for name, extractor in extractors.items():
        then = trained[name]
        if differences := changes(extractor, then, skip=extractor.sources):
            text = "; ".join(change.text for change in differences)
            raise RunError(
                f"The feature {name} has changed since the training: {text}.",
                hint=_remedy(name, differences),
            )
        for library, version in fingerprint_of(extractor).libraries.items():
            before = then.libraries.get(library)
            if before != version:
                warnings.append(
                    f"{name} was computed with {library} {before} for training and is computed "
                    f"with {version} now"
                )
    return warnings


def _remedy(name: str, differences: Sequence[Change]) -> str:
    """Return a hint that tells the user how to undo the first change."""
    first = differences[0]
    if first.content:
        return (
            "Restore the old content, or choose another source with it: "
            f"--set {name}.{first.field}=..."
        )
    if first.setting:
        return f"Use the value of the training: --set {name}.{first.field}={as_text(first.stored)}"
    return "Install the version of the plugin that is in the run's run.json."
