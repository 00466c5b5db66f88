"""Label new recordings with the model that a run handed out."""

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
FEWEST = 4  # recordings that may give their speaker's statistics themselves


@dataclass(frozen=True, slots=True)
class Prediction:
    """One recording's label.

    Attributes
    ----------
    path : Path
        The file.
    label : str or None
        The most probable class; None where the recording could not be read.
    probabilities : dict
        Class -> probability, summing to 1; empty where the recording could not be read.
    error : str or None
        Why not.
    lacking : tuple of str
        Modalities that the model takes and the recording does not have: it was labelled without
        them.
    """

    path: Path
    label: str | None
    probabilities: dict[str, float]
    error: str | None = None
    lacking: tuple[str, ...] = ()


class Predictor:
    """The model that a run handed out, with the extractors it needs.

    Parameters
    ----------
    run : Run
        A finished run directory; the plugins that it was made with must be there.
    settings : mapping, optional
        Extractor -> parameters that are others than in the run: where new recordings are looked
        up (`Extractor.sources`), a device. What the model reads has to stay the same.

    Raises
    ------
    RunError
        If the run is not finished, or an extractor is not the one that the model
        was trained with.
    ParameterError
        For settings of what is no extractor of the model.
    """

    def __init__(
        self,
        run: Run,
        *,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        config = run.config
        self.bundle = Bundle(run)
        # Only what the model takes: of the others, an imported one may have gone.
        used = replace(config, features=tuple(self.bundle.modalities))
        given = settings or {}
        _check_owners(given, config, used.features)
        self.extractors = make_extractors(_with(used, given), run.registry)
        self.warnings = _changed(self.extractors, run.record.features)
        self.warnings += [
            f"what was set of {m} decides nothing: the model that was handed out takes no {m}"
            for m in given
            if m not in used.features
        ]
        self.speaker: dict[str, Moments] = {}  # modality -> of the recordings' speaker

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the probabilities."""
        return self.bundle.classes

    @property
    def adapted(self) -> bool:
        """Whether the model standardises recordings by others of their speaker."""
        return self.bundle.adapt == "speaker"

    @property
    def task(self) -> list[str]:
        """The sentence that names the task; empty for a run without adaptation."""
        return [sentence] if (sentence := task_sentence(self.bundle.adapt)) else []

    def adapt_to(self, files: Sequence[Path], folder: Path | None = None) -> list[str]:
        """Compute the statistics of the speaker of `files`; nothing for a run without adaptation.

        Parameters
        ----------
        files : sequence of Path
            The recordings to label, all of one speaker. They give the statistics where no folder
            is named.
        folder : Path, optional
            Unlabelled recordings of that speaker, in any folders below it.

        Returns
        -------
        list of str
            What a user has to know: where the statistics come from, what could not be read.

        Raises
        ------
        ParameterError
            If a folder is named and the run is not speaker-adapted, or none is named and there
            are fewer than four files.
        CorpusError
            If the folder can't be read.
        RecordingError
            If no recording can be read.
        """
        if not self.adapted:
            if folder is not None:
                raise ParameterError(
                    f"The run is not {NAME}: it takes no statistics of a speaker.",
                    hint="Leave out --speaker-from, or train with: fusion run --adapt speaker",
                )
            return []
        if folder is None and len(files) < FEWEST:
            raise ParameterError(
                f"The run is {NAME}: it needs unlabelled recordings of the files' speaker. The "
                f"files themselves serve from {FEWEST} on, and {len(files)} were given.",
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
        """Take the speaker's statistics from recordings, `BATCH` in memory at a time."""
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
                f"{len(reasons)} of {len(paths)} recordings of the speaker can't be read and do "
                f"not count; the first: {reasons[0]}"
            )
        notes += [
            f"no recording of the speaker has {m}: the training speakers' statistics serve"
            for m, moments in self.speaker.items()
            if not moments.count.sum()
        ]
        return notes

    def predict(self, paths: Iterable[Path]) -> Iterator[Prediction]:
        """Label recordings, in the order given; one that can't be read has its `error` set.

        Of a speaker-adapted run, :meth:`adapt_to` comes first.
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
        found: list[Prediction] = []
        features: dict[str, list[npt.NDArray[Any] | None]] = {m: [] for m in self.extractors}
        for path, (arrays, reason) in zip(paths, self.extracted_all(paths), strict=True):
            if reason is not None:
                found.append(Prediction(path, None, {}, reason))
                continue
            lacking = tuple(m for m in self.extractors if m not in arrays)
            found.append(Prediction(path, "", {}, lacking=lacking))
            for m, rows_of in features.items():
                rows_of.append(arrays.get(m))
        if not any(p.error is None for p in found):
            return found
        rows = iter(self.bundle.probabilities(features, self.speaker))
        return [p if p.error else self._labelled(p, next(rows)) for p in found]

    def extracted(self, path: Path) -> tuple[dict[str, npt.NDArray[Any]], str | None]:
        """Modality -> the array of a recording, without those that it lacks; or none of them,
        and the reason."""
        return self.extracted_all([path])[0]

    def extracted_all(
        self, paths: Sequence[Path]
    ) -> list[tuple[dict[str, npt.NDArray[Any]], str | None]]:
        """:meth:`extracted` of each, in batches where an extractor works so."""
        arrays: list[dict[str, npt.NDArray[Any]]] = [{} for _ in paths]
        reasons: dict[int, str] = {}  # as in a run: one bad recording is one failure
        for m, extractor in self.extractors.items():
            left = [i for i in range(len(paths)) if i not in reasons]
            made = extract_all(extractor, [Recording(paths[i]) for i in left])
            for i, array in zip(left, made, strict=True):
                if isinstance(array, MissingModalityError):
                    continue
                if isinstance(array, RecordingError):  # no plugin's fault
                    reasons[i] = array.message
                elif isinstance(array, Exception):
                    reasons[i] = message_of(array)
                else:
                    arrays[i][m] = array
        for i, found in enumerate(arrays):
            if i not in reasons and (lacks := self.bundle.lacks(found)):
                reasons[i] = lacks
        return [
            ({}, _at(path, reasons[i])) if i in reasons else (arrays[i], None)
            for i, path in enumerate(paths)
        ]

    def _labelled(self, of: Prediction, row: npt.NDArray[Any]) -> Prediction:
        by_class = {name: float(p) for name, p in zip(self.classes, row, strict=True)}
        label = max(by_class, key=by_class.__getitem__)
        return replace(of, label=label, probabilities=by_class)


def _at(path: Path, reason: str) -> str:
    return reason if str(path) in reason else f"{path}: {reason}"


def _check_owners(given: Mapping[str, Any], config: RunConfig, features: Sequence[str]) -> None:
    """Only of features can anything be set; of the others what is set decides nothing."""
    for owner in given:
        if owner not in config.features:
            raise ParameterError(
                f"--set {owner}.…: {owner!r} is no feature of this run, and the model is trained.",
                hint="What can be set is where new recordings are looked up, of the features "
                f"that it takes: {', '.join(features)}.",
            )


def _with(config: RunConfig, given: Mapping[str, Mapping[str, Any]]) -> RunConfig:
    """The configuration with some parameters of extractors set."""
    settings = {m: {**config.settings.get(m, {}), **given.get(m, {})} for m in config.features}
    return replace(config, settings={**config.settings, **settings})


def _changed(
    extractors: Mapping[str, Extractor],
    trained: Mapping[str, FeatureRecord],
) -> list[str]:
    """What differs between the extractors here and those of the training.

    Another version of the extractor makes other numbers: that is an error. Another version
    of a library most likely does not: that is worth a warning.
    """
    warnings: list[str] = []
    for name, extractor in extractors.items():
        then = trained[name]
        if found := changes(extractor, then, skip=extractor.sources):
            told = "; ".join(change.text for change in found)
            raise RunError(
                f"The model was trained on another {name}: {told}.", hint=_remedy(name, found)
            )
        for library, version in fingerprint_of(extractor).libraries.items():
            before = then.libraries.get(library)
            if before != version:
                warnings.append(f"{name} was trained with {library} {before}, here is {version}")
    return warnings


def _remedy(name: str, found: Sequence[Change]) -> str:
    """What to do about the first change."""
    first = found[0]
    if first.content:
        return f"Put it back as it was, or name one that is: --set {name}.{first.field}=..."
    if first.setting:
        return f"As in training: --set {name}.{first.field}={as_text(first.then)}"
    return "Install the version of the plugin that the run's run.json names."
