"""Adapter between extractors and the cache: fingerprints, and computations that workers run."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy.typing as npt

from ...cache.builds.progress import Failure
from ...cache.builds.work import Computation
from ...cache.fingerprint import Fingerprint
from ...cache.shards.origins import origin_text, parse_origin
from ...cache.upkeep.differences import differences
from ..contracts import Extractor, Recording
from ..contracts.errors import ParameterError, PluginError, RecordingError
from ..registry.parameters import bind, make
from ..registry.problems import Source
from ..registry.provenance import note, noted, plugin_suffix, register_module, source_of
from ..registry.registry import content_of, file_of, load_file
from ..registry.trace import during, watch
from .imported_features import Imported


def make_extractor(
    cls: type[Extractor], parameters: Mapping[str, Any], dtype: str | None = None
) -> Extractor:
    """Make an extractor, and store all its parameters, defaults included, in `parameters`.

    Parameters
    ----------
    parameters : mapping
        Value or text by parameter.
    dtype : str, optional
        Storage dtype of the arrays, instead of the extractor's own choice.

    Raises
    ------
    UserError
        If a parameter does not exist or has a wrong value, or the dtype can't be stored.
    PluginError
        If the extractor declares no shape, or a length `seconds` that is not above 0.
    """
    extractor = make(cls, settings=parameters, owner=cls.name)
    extractor.parameters = bind(cls, parameters, owner=cls.name) | dict(extractor.parameters)
    if dtype is not None:
        extractor.dtype = _storage_dtype(extractor, dtype)
    if not getattr(extractor, "shape", None):
        raise PluginError(
            f"Extractor {cls.name!r} declares no shape.",
            hint="Set self.shape in __init__ to the shape that extract() returns.",
        )
    seconds = extractor.seconds
    if seconds is not None and not 0 < seconds < math.inf:
        raise PluginError(
            f"Extractor {cls.name!r} declares seconds={seconds!r}.",
            hint="Set self.seconds to the length of the part that an array represents, above 0, or "
            "to None if there is no limit.",
        )
    return extractor


def _storage_dtype(extractor: Extractor, dtype: str) -> str:
    if dtype not in STORAGE_DTYPES:
        raise ParameterError(
            f"The dtype {dtype!r} can't be stored. Accepted: {', '.join(STORAGE_DTYPES)}."
        )
    if extractor.dtype not in STORAGE_DTYPES:
        raise ParameterError(
            f"The feature {extractor.name!r} holds {extractor.dtype}, whose storage dtype can't "
            "be changed.",
            hint="Name the features whose dtype should change: --dtype FEATURE=float16",
        )
    return dtype


def fingerprint_of(extractor: Extractor) -> Fingerprint:
    """Return the fingerprint of an extractor, which holds everything that determines its arrays.

    For a plugin that was loaded from a file, the digest of the file is part of the fingerprint.

    Raises
    ------
    PluginError
        If a library that the extractor names is not installed.
    """
    if isinstance(extractor, Imported):
        return extractor.fingerprint
    return Fingerprint(
        name=extractor.name,
        version=extractor.version,
        parameters=without_added(extractor, extractor.identity()),
        dtype=extractor.dtype,
        shape=tuple(extractor.shape),
        libraries={name: _version(name, extractor) for name in extractor.libraries}
        | _source(extractor),
    )


def without_added(extractor: Extractor, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return `parameters` without the extractor's `added_parameters` that have their default."""
    before = extractor.added_parameters
    if not before:
        return parameters
    return {n: v for n, v in parameters.items() if n not in before or before[n] != v}


def _source(extractor: Extractor) -> dict[str, str]:
    """Return the digest of a plugin's file, by file name; an empty dict for an installed plugin.

    During development, the author of a plugin does not raise the version at every change. The
    digest keeps the cache from returning arrays of older code.
    """
    file = file_of(type(extractor).__module__)
    if file is None:
        return {}
    return {Path(file).name: content_of(type(extractor).__module__)}


def origin_of(recording: Recording) -> str:
    """Return the origin of a recording, which the cache stores beside the array.

    The origin is the absolute path. The origin of a part of a file ends in the start and end in
    seconds, as a media fragment (W3C, 2012): ``/speech.wav#t=1.5,3.0``.
    """
    return origin_text(recording.path.absolute(), recording.start, recording.end)


def recording_at(origin: str) -> Recording:
    """Return the recording with the given origin; the inverse of :func:`origin_of`."""
    path, start, end = parse_origin(origin)
    return Recording(Path(path), start, end)


def failure_text(failure: Failure) -> str:
    """Return the failed recording and the reason as text for the user."""
    reason = failure.reason.removeprefix(f"{RecordingError.__name__}: ")
    path = str(getattr(failure.source, "path", failure.source))
    return reason if path in reason else f"{failure.source}: {failure.feature}: {reason}"


def _version(distribution: str, extractor: Extractor) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        raise PluginError(
            f"Extractor {extractor.name!r} needs {distribution!r}, which is not installed.",
            hint=f"pip install {distribution}",
        ) from None


STORAGE_DTYPES = ("float16", "float32", "float64")


def computation_of(extractor: Extractor) -> Computation:
    """Return the computation of an extractor, which a build can run in any process."""
    return extractor if isinstance(extractor, Imported) else Extraction.of(extractor)


def _check_same(extractor: Extractor, wanted: Fingerprint) -> None:
    """Raise PluginError if the fingerprint in this process differs from the requested fingerprint.

    A worker may have other library versions than the process that requested the arrays, or the code
    may have changed since the request. The arrays of such a worker must not be stored under the
    requested fingerprint.
    """
    actual = fingerprint_of(extractor)
    if actual != wanted:
        fields = ", ".join(
            f"{d.field} {d.stored} instead of {d.wanted}" for d in differences(actual, wanted)
        )
        raise PluginError(
            f"Extractor {wanted.name!r} of this worker is not the requested one: {fields}.",
            hint="Give every worker the same packages and plugins; build again after an edit.",
        )


def extract_all(
    extractor: Extractor, recordings: Sequence[Recording]
) -> list[npt.NDArray[Any] | Exception]:
    """Extract recordings, and check the arrays against the extractor's declaration.

    Recordings are extracted in batches if the extractor supports them. If a batch fails as a
    whole, its recordings are extracted one by one, so that only the faulty recording fails.

    Returns
    -------
    list of array or Exception
        For each recording, its array or the error.
    """
    size = max(1, extractor.batch) if works_in_batches(extractor) else 1
    results: list[npt.NDArray[Any] | Exception] = []
    for start in range(0, len(recordings), size):
        results += _extract_batch(extractor, recordings[start : start + size])
    return results


def works_in_batches(extractor: Extractor) -> bool:
    """Return whether `extract_many` makes the same arrays as `extract` and may be used.

    A subclass may override only `extract`, to change the arrays. The inherited `extract_many` would
    then make other arrays, so `extract_many` is not used.
    """
    for cls in type(extractor).__mro__:
        if "extract_many" in vars(cls):
            return cls is not Extractor
        if "extract" in vars(cls):
            return False
    return False


def _extract_batch(
    extractor: Extractor, recordings: Sequence[Recording]
) -> list[npt.NDArray[Any] | Exception]:
    if len(recordings) > 1:
        try:
            results = list(extractor.extract_many(recordings))
        except Exception:  # extracting one by one below finds the failed recording
            pass
        else:
            if len(results) == len(recordings):
                return [_checked(extractor, array) for array in results]
            return [_miscounted(extractor, len(recordings), len(results))] * len(recordings)
    return [_extract_one(extractor, recording) for recording in recordings]


def _extract_one(extractor: Extractor, recording: Recording) -> npt.NDArray[Any] | Exception:
    try:
        return _declared(extractor, extractor.extract(recording))
    except Exception as error:
        note(error)
        return error


def _checked(
    extractor: Extractor, result: npt.NDArray[Any] | Exception
) -> npt.NDArray[Any] | Exception:
    if isinstance(result, Exception):
        return result
    try:
        return _declared(extractor, result)
    except Exception as error:
        return error


def _miscounted(extractor: Extractor, expected: int, returned: int) -> PluginError:
    return PluginError(
        f"Extractor {extractor.name!r} was given a batch of {expected} recordings, but returned "
        f"{returned} arrays.",
        hint="extract_many() returns one array or RecordingError for each recording, in order.",
    )


@dataclass(frozen=True)
class Extraction:
    """Picklable computation of one feature, which runs in any process.

    The extractor's class is stored by name, not pickled: a plugin that was loaded from a file
    has no module that a new process could import.
    """

    module: str
    file: str | None
    cls: str
    parameters: Mapping[str, Any]
    fingerprint: Fingerprint = field(repr=False)
    batch: int = 1
    processes: int | None = None
    source: Source | None = None

    @classmethod
    def of(cls, extractor: Extractor) -> Extraction:
        """Make the computation that `extractor` performs."""
        kind = type(extractor)
        return cls(
            kind.__module__,
            file_of(kind.__module__),
            kind.__qualname__,
            extractor.parameters,
            fingerprint_of(extractor),
            max(1, extractor.batch) if works_in_batches(extractor) else 1,
            extractor.processes,
            source_of(kind.__module__),
        )

    @during("extract")
    def compute(self, recording: Recording) -> npt.NDArray[Any]:
        """Return the array of one recording, checked against the extractor's declaration."""
        with noted():
            return _declared(self._extractor, self._extractor.extract(recording))

    @during("extract")
    def compute_many(
        self, recordings: Sequence[Recording]
    ) -> Sequence[npt.NDArray[Any] | Exception]:
        """Return, for each recording, its array or the error."""
        return extract_all(self._extractor, recordings)

    @cached_property
    def _extractor(self) -> Extractor:
        module = load_file(self.file) if self.file else importlib.import_module(self.module)
        target: Any = module
        for part in self.cls.split("."):
            target = getattr(target, part)
        if self.source is not None:  # this process has no registry that knows the source
            register_module(self.module, self.source)
        watch(target, "extractor")
        extractor: Extractor = target(**self.parameters)
        extractor.parameters = dict(self.parameters)
        extractor.dtype = self.fingerprint.dtype
        _check_same(extractor, self.fingerprint)
        return extractor


def _declared(extractor: Extractor, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return extractor.check(array, whose=plugin_suffix(type(extractor)))
