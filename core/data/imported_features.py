"""Imported features: arrays that another tool made and the cache stores, for use in runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from ...cache import FeatureCache, Fingerprint, digest_recording
from ...cache.exchange.imports import imported_features
from ..contracts import Extractor, Recording
from ..contracts.errors import (
    CacheError,
    MissingModalityError,
    ParameterError,
    RecordingError,
    UnknownNameError,
)
from ..registry.collecting import is_module_attribute, well_formed
from ..registry.parameters import bind
from ..registry.registry import RESERVED, Registry


class Imported(Extractor):
    """Extractor of an imported feature, which reads its arrays from the cache.

    Parameters
    ----------
    fingerprint : Fingerprint
        Fingerprint that is stored with the feature.
    cache : str or None
        Folder or URL of the cache that stores the feature; None means the user's cache.
    """

    def __init__(self, fingerprint: Fingerprint, cache: str | None) -> None:
        # Set `name` and `version` without assignment: the attributes belong to a plugin's class,
        # but each instance of this class has different values.
        vars(self).update(name=fingerprint.name, version=fingerprint.version)
        self.fingerprint = fingerprint
        self.shape = fingerprint.shape
        self.dtype = fingerprint.dtype
        self.parameters = {"version": fingerprint.version}
        self._cache = cache

    def extract(self, recording: Recording) -> npt.NDArray[Any]:
        """Read the imported array of a recording.

        Raises
        ------
        RecordingError
            If the recording can't be read.
        MissingModalityError
            If no array was imported for the recording.
        """
        cache = FeatureCache(self._cache)
        try:
            key = digest_recording(recording.path, recording.start, recording.end)
        except CacheError as error:
            raise RecordingError(error.message) from None
        missing = cache.missing(self.fingerprint, [key])
        if missing and not cache.fetch(self.fingerprint, missing):
            raise self._lacks(recording)
        return cache.open(self.fingerprint, [key], verify="always")[0]

    def compute(self, recording: Recording) -> npt.NDArray[Any]:
        """Raise MissingModalityError; builds call this method only if the cache lacks the array."""
        raise self._lacks(recording)

    def _lacks(self, recording: Recording) -> MissingModalityError:
        return MissingModalityError(f"no array of {self.name!r} was imported for {recording}")


@dataclass
class _Choice:
    """Parameters of an imported feature.

    Parameters
    ----------
    version : str
        Version to use if the cache has several; may be empty if the cache has one version.
    """

    version: str = ""


def find_imported(
    unknown: UnknownNameError,
    name: str,
    settings: Mapping[str, Any],
    registry: Registry,
    cache: str | None,
) -> Imported:
    """Return the imported feature called `name`, for a name that no extractor has.

    Parameters
    ----------
    unknown : UnknownNameError
        Error of the registry for `name`.
    settings : mapping
        Settings of the feature: ``version`` chooses one of several versions.

    Raises
    ------
    UserError
        If the cache holds no feature with this name, if no version is chosen out of several, or if
        the feature can't be used in a run.
    """
    if unknown.hint is not None:  # a plugin with this name exists, but is broken
        raise unknown
    features = _candidates(name, settings, FeatureCache(cache))
    own = [feature for feature in features if feature.name == name]
    if not own:
        extractor_names = {entry.name for entry in registry.entries("extractor")}
        raise UnknownNameError(
            "extractor",
            name,
            extractor_names | {feature.name for feature in features},
            hint="Features that another tool made: fusion cache import NAME SOURCE",
        )
    problem = name_problem(name, registry)
    if problem is not None:
        raise ParameterError(
            f"The imported feature {name!r} can't be used in a run: {problem}",
            hint="Import it under another name: fusion cache import NAME SOURCE",
        )
    choice = _Choice(**bind(_Choice, settings, owner=name))
    return Imported(_chosen(name, choice.version, own), cache)


def _candidates(name: str, settings: Mapping[str, Any], cache: FeatureCache) -> list[Fingerprint]:
    """Return the local imported features if the requested version is among them, else all features.

    "All features" includes the features of a cache on another machine. Without a requested version,
    all features are returned.
    """
    local = imported_features(cache, elsewhere=False)
    requested = (name, settings.get("version"))
    if any((feature.name, feature.version) == requested for feature in local):
        return local
    return imported_features(cache)


def _chosen(name: str, version: str, features: Sequence[Fingerprint]) -> Fingerprint:
    chosen = [f for f in features if f.version == version] if version else features
    listed = ", ".join(f"{f.version} ({f.dtype} of shape {f.shape})" for f in features)
    if not chosen:
        raise UnknownNameError(f"version of {name}", version, (f.version for f in features))
    if len(chosen) > 1:
        raise ParameterError(
            f"The cache holds several imports of {name!r}: {listed}.",
            hint=f"Choose a version: --set {name}.version={features[-1].version}",
        )
    if "complex" in chosen[0].dtype:
        raise ParameterError(
            f"The imported feature {name!r} holds complex numbers, which no branch takes.",
            hint="Import real and imaginary parts, or magnitude and phase, as two channels.",
        )
    return chosen[0]


def name_problem(name: str, registry: Registry) -> str | None:
    """Return why an imported feature can't be called `name`; None if the name is allowed."""
    for entry in registry.entries():
        if entry.name == name:
            return f"{entry.source} gives that name to its {entry.kind}."
    if not well_formed(name):
        return "Names are lower-case letters, digits and underscores, and begin with a letter."
    if name in RESERVED or is_module_attribute(name):
        return f"{name!r} is reserved."
    return None
