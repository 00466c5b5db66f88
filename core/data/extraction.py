"""Extractors as the cache wants them: a fingerprint, and a computation to send to a worker."""

from __future__ import annotations

import importlib
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
    cls: type[Extractor], given: Mapping[str, Any], dtype: str | None = None
) -> Extractor:
    """An extractor that remembers the parameters it was made with.

    Parameters
    ----------
    dtype : str, optional
        What its arrays are stored as, instead of the extractor's own choice.

    Raises
    ------
    UserError
        For a parameter that does not exist or does not fit.
    """
    extractor = make(cls, settings=given, owner=cls.name)
    extractor.parameters = bind(cls, given, owner=cls.name) | dict(extractor.parameters)
    if dtype is not None:
        extractor.dtype = _storage_dtype(extractor, dtype)
    if not getattr(extractor, "shape", None):
        raise PluginError(
            f"Extractor {cls.name!r} declares no shape.",
            hint="Set self.shape in __init__ to the shape that extract() returns.",
        )
    return extractor


def _storage_dtype(extractor: Extractor, dtype: str) -> str:
    if dtype not in STORAGE_DTYPES:
        raise ParameterError(
            f"Features can be stored as {', '.join(STORAGE_DTYPES)}, not as {dtype!r}."
        )
    if extractor.dtype not in STORAGE_DTYPES:
        raise ParameterError(
            f"The feature {extractor.name!r} holds {extractor.dtype}, for which there is no "
            "choice of a storage dtype.",
            hint="Name the features to store otherwise: --dtype FEATURE=float16",
        )
    return dtype


def fingerprint_of(extractor: Extractor) -> Fingerprint:
    """What decides this extractor's numbers: name, version, parameters, libraries."""
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
    """Return `parameters` without those of `added_parameters` that have their default."""
    before = extractor.added_parameters
    if not before:
        return parameters
    return {n: v for n, v in parameters.items() if n not in before or before[n] != v}


def _source(extractor: Extractor) -> dict[str, str]:
    """The content of a plugin given as a file: while it is being written, nobody raises its
    version at every change, and yet nothing stale may be read."""
    file = file_of(type(extractor).__module__)
    if file is None:
        return {}
    return {Path(file).name: content_of(type(extractor).__module__)}


def origin_of(recording: Recording) -> str:
    """Where a recording lies, as the cache keeps it beside the array: its absolute path, and
    for a part of it the seconds as a media fragment (W3C, 2012), ``/speech.wav#t=1.5,3.0``."""
    return origin_text(recording.path.absolute(), recording.start, recording.end)


def recording_at(origin: str) -> Recording:
    """The inverse of :func:`origin_of`."""
    path, start, end = parse_origin(origin)
    return Recording(Path(path), start, end)


def failure_text(failure: Failure) -> str:
    """Which recording failed, and why, for people."""
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
    """What a build is to do for this extractor, in any process."""
    return extractor if isinstance(extractor, Imported) else Extraction.of(extractor)


def _check_same(extractor: Extractor, wanted: Fingerprint) -> None:
    """A worker may have other versions than who asks it, or code that was edited since: what
    it makes must not be stored under the fingerprint of something else."""
    made = fingerprint_of(extractor)
    if made != wanted:
        fields = ", ".join(
            f"{d.field} {d.stored} instead of {d.wanted}" for d in differences(made, wanted)
        )
        raise PluginError(
            f"The process that computes has another {wanted.name!r} than was asked for: {fields}.",
            hint="Give every worker the same packages and plugins; after an edit build again.",
        )


def extract_all(
    extractor: Extractor, recordings: Sequence[Recording]
) -> list[npt.NDArray[Any] | Exception]:
    """The arrays of any number of recordings, checked against the extractor's declaration.

    In batches where the extractor works so. Where a batch fails as a whole, its recordings are
    extracted one by one, so that only the guilty one fails.

    Returns
    -------
    list of array or Exception
        One for each recording; in place of an array what went wrong.
    """
    size = max(1, extractor.batch) if works_in_batches(extractor) else 1
    found: list[npt.NDArray[Any] | Exception] = []
    for start in range(0, len(recordings), size):
        found += _extract_batch(extractor, recordings[start : start + size])
    return found


def works_in_batches(extractor: Extractor) -> bool:
    """Whether its `extract_many` makes the arrays that its `extract` makes.

    A class derived from one that works in batches may replace `extract` alone, to change the
    arrays or what they are made of: then the batches of its parent would be something else.
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
            found = list(extractor.extract_many(recordings))
        except Exception:  # which recording it was shows below
            pass
        else:
            if len(found) == len(recordings):
                return [_checked(extractor, array) for array in found]
            return [_miscounted(extractor, len(recordings), len(found))] * len(recordings)
    return [_extract_one(extractor, recording) for recording in recordings]


def _extract_one(extractor: Extractor, recording: Recording) -> npt.NDArray[Any] | Exception:
    try:
        return _declared(extractor, extractor.extract(recording))
    except Exception as error:
        note(error)
        return error


def _checked(
    extractor: Extractor, found: npt.NDArray[Any] | Exception
) -> npt.NDArray[Any] | Exception:
    if isinstance(found, Exception):
        return found
    try:
        return _declared(extractor, found)
    except Exception as error:
        return error


def _miscounted(extractor: Extractor, given: int, returned: int) -> PluginError:
    return PluginError(
        f"Extractor {extractor.name!r} was given a batch of {given} recordings and returned "
        f"{returned} arrays.",
        hint="extract_many() returns one array or RecordingError for each recording, in order.",
    )


@dataclass(frozen=True)
class Extraction:
    """Computes one feature of recordings, in any process.

    The class is named, not pickled: a plugin that was loaded from a file has no module that
    a fresh process could import.
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
        """The computation that `extractor` makes."""
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
        """The array of one recording, checked against the extractor's declaration."""
        with noted():
            return _declared(self._extractor, self._extractor.extract(recording))

    @during("extract")
    def compute_many(
        self, recordings: Sequence[Recording]
    ) -> Sequence[npt.NDArray[Any] | Exception]:
        """For each recording its array, or what went wrong."""
        return extract_all(self._extractor, recordings)

    @cached_property
    def _extractor(self) -> Extractor:
        module = load_file(self.file) if self.file else importlib.import_module(self.module)
        found: Any = module
        for part in self.cls.split("."):
            found = getattr(found, part)
        if self.source is not None:  # no registry was made here that knows
            register_module(self.module, self.source)
        watch(found, "extractor")
        extractor: Extractor = found(**self.parameters)
        extractor.parameters = dict(self.parameters)
        extractor.dtype = self.fingerprint.dtype
        _check_same(extractor, self.fingerprint)
        return extractor


def _declared(extractor: Extractor, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return extractor.check(array, whose=plugin_suffix(type(extractor)))
