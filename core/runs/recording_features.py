"""Features of new recordings, by the extractors of a run's chosen model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy.typing as npt

from ..contracts import Extractor, Recording
from ..contracts.errors import MissingModalityError, ParameterError, RecordingError, RunError
from ..data.extraction import extract_all, fingerprint_of
from ..data.windows import limit_of
from ..registry.parameters import as_text
from ..registry.provenance import message_of
from .bundle import Bundle
from .config import RunConfig
from .feature_changes import Change, changes
from .plan import make_extractors
from .prediction_windows import Piece
from .record import FeatureRecord
from .run import Run

Extracted = tuple[dict[str, npt.NDArray[Any]], str | None]
"""Array of each modality that a piece has, and None; or an empty dict, and why it has none."""


class RecordingFeatures:
    """Extractors that the chosen model of a run needs.

    Parameters
    ----------
    run : Run
        A finished run.
    bundle : Bundle
        The chosen model of the run.
    settings : mapping
        Parameters that differ from the run's, by extractor.

    Attributes
    ----------
    extractors : dict
        Extractor by modality.
    warnings : list of str
        Libraries that differ from those of the training, and settings without effect.

    Raises
    ------
    RunError
        If an installed extractor differs from the extractor that the model was trained with.
    ParameterError
        If `settings` names an owner that is not a feature of the run.
    """

    def __init__(self, run: Run, bundle: Bundle, settings: Mapping[str, Mapping[str, Any]]) -> None:
        self._bundle = bundle
        # Make only the extractors that the model needs: imported features that it does not need
        # may have been removed from the cache.
        used = replace(run.config, features=tuple(bundle.modalities))
        _check_owners(settings, run.config, used.features)
        self.extractors = make_extractors(_with_overrides(used, settings), run.registry)
        self.warnings = _changed(self.extractors, run.record.features)
        self.warnings += [
            f"the settings of {m} have no effect: the chosen model takes no {m}"
            for m in settings
            if m not in used.features
        ]
        # Arrays of the recording whose windows are not all extracted, by modality.
        self._of_whole: dict[str, tuple[Recording, npt.NDArray[Any] | Exception]] = {}

    def extract(self, pieces: Sequence[Piece]) -> list[Extracted]:
        """Extract the features of pieces, in batches if an extractor supports them.

        An extractor that sees a recording of any length extracts the whole recording once, for all
        windows of the recording. A recording without any modality that the model takes is a
        failure, but a window without any is not: other windows may have the modalities.
        """
        arrays: list[dict[str, npt.NDArray[Any]]] = [{} for _ in pieces]
        reasons: dict[int, str] = {}  # one failure per index of a piece
        for m, extractor in self.extractors.items():
            remaining = [i for i in range(len(pieces)) if i not in reasons]
            extracted = self._extract(m, extractor, [pieces[i] for i in remaining])
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
            if i in reasons or pieces[i].divided:
                continue
            if lacks := self._bundle.lacks(row):
                reasons[i] = lacks
        return [
            ({}, _located(piece, reasons[i])) if i in reasons else (arrays[i], None)
            for i, piece in enumerate(pieces)
        ]

    def _extract(
        self, modality: str, extractor: Extractor, pieces: Sequence[Piece]
    ) -> list[npt.NDArray[Any] | Exception]:
        if limit_of(extractor) is not None:
            return extract_all(extractor, [piece.part for piece in pieces])
        arrays = dict([self._of_whole[modality]] if modality in self._of_whole else [])
        wholes = [p.whole for p in pieces if p.first or p.whole not in arrays]
        wanted = list(dict.fromkeys(wholes))
        arrays |= dict(zip(wanted, extract_all(extractor, wanted), strict=True))
        self._of_whole.pop(modality, None)
        if pieces and not pieces[-1].last:  # the next pieces are of the same recording
            self._of_whole[modality] = (pieces[-1].whole, arrays[pieces[-1].whole])
        return [arrays[piece.whole] for piece in pieces]


def _located(piece: Piece, reason: str) -> str:
    """Return the reason of a failure with the file, and the window of a divided recording."""
    path = piece.whole.path
    text = reason if str(path) in reason else f"{path}: {reason}"
    if not piece.divided:
        return text
    return f"{text} (in the window from {piece.part.start:g} s to {piece.part.end:g} s)"


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
