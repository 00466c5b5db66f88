"""Label new recordings with the model that a run handed out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from .blame import told
from .bundle import Bundle
from .config import RunConfig
from .contracts import Extractor, Recording
from .errors import MissingModalityError, RecordingError, RunError
from .extraction import extract_all, fingerprint_of
from .prepare import make_extractors
from .registry import Registry
from .run_dir import RunDirectory

BATCH = 32  # recordings held in memory at a time


def plugins_of(run: Path) -> tuple[str, ...]:
    """Plugins that the run was made with, as given to ``-p``."""
    return RunConfig.from_json(RunDirectory.existing(run).info()["config"]).plugins


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
    """

    path: Path
    label: str | None
    probabilities: dict[str, float]
    error: str | None = None


class Predictor:
    """The model that a run handed out, with the extractors it needs.

    Parameters
    ----------
    run : Path
        A finished run directory.
    registry : Registry
        Plugins; those that the run was made with must be there.

    Raises
    ------
    RunError
        If there is no finished run at that path, or an installed extractor is not the one
        that the model was trained with.
    """

    def __init__(self, run: Path, registry: Registry) -> None:
        directory = RunDirectory.existing(run)
        info = directory.info()
        config = RunConfig.from_json(info["config"])
        self.bundle = Bundle(directory, registry)
        # Only what the model takes: of the others, an imported one may have gone.
        used = replace(config, features=tuple(self.bundle.modalities))
        self.extractors = make_extractors(used, registry)
        self.warnings = _changed(self.extractors, info["features"])

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the probabilities."""
        return self.bundle.classes

    def predict(self, paths: Iterable[Path]) -> Iterator[Prediction]:
        """Label recordings, in the order given; one that can't be read has its `error` set."""
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
            found.append(Prediction(path, "", {}))
            for m, rows_of in features.items():
                rows_of.append(arrays.get(m))
        if not any(p.error is None for p in found):
            return found
        rows = iter(self.bundle.probabilities(features))
        return [p if p.error else self._labelled(p.path, next(rows)) for p in found]

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
                    reasons[i] = told(array)
                else:
                    arrays[i][m] = array
        for i, found in enumerate(arrays):
            if i not in reasons and (lacks := self.bundle.lacks(found)):
                reasons[i] = lacks
        return [
            ({}, _at(path, reasons[i])) if i in reasons else (arrays[i], None)
            for i, path in enumerate(paths)
        ]

    def _labelled(self, path: Path, row: npt.NDArray[Any]) -> Prediction:
        by_class = {name: float(p) for name, p in zip(self.classes, row, strict=True)}
        return Prediction(path, max(by_class, key=by_class.__getitem__), by_class)


def _at(path: Path, reason: str) -> str:
    return reason if str(path) in reason else f"{path}: {reason}"


def _changed(
    extractors: Mapping[str, Extractor], trained: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """What differs between the extractors here and those of the training.

    Another version of the extractor makes other numbers: that is an error. Another version
    of a library most likely does not: that is worth a warning.
    """
    warnings: list[str] = []
    for name, extractor in extractors.items():
        now, then = fingerprint_of(extractor), trained[name]
        parameters = json.loads(json.dumps(dict(now.parameters)))  # tuples are lists there
        made = (now.version, list(now.shape), parameters)
        if made != (then["version"], then["shape"], then["parameters"]):
            raise RunError(
                f"The model was trained on {name} version {then['version']} with parameters "
                f"{then['parameters']}; installed is version {now.version} with {parameters}.",
                hint="Install the version of the plugin that the run's run.json names.",
            )
        for library, version in now.libraries.items():
            before = then["libraries"].get(library)
            if before != version:
                warnings.append(f"{name} was trained with {library} {before}, here is {version}")
    return warnings
