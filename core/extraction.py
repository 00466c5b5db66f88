"""Extractors as the cache wants them: a fingerprint, and a computation to send to a worker."""

from __future__ import annotations

import hashlib
import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy.typing as npt

from ..cache.fingerprint import Fingerprint
from ..cache.progress import Failure
from .contracts import Extractor, Recording
from .errors import PluginError, RecordingError
from .parameters import bind, make
from .registry import file_of, load_file


def make_extractor(cls: type[Extractor], given: Mapping[str, Any]) -> Extractor:
    """An extractor that remembers the parameters it was made with.

    Raises
    ------
    UserError
        For a parameter that does not exist or does not fit.
    """
    extractor = make(cls, given=given, owner=cls.name)
    extractor.parameters = bind(cls, given, owner=cls.name)
    if not getattr(extractor, "shape", None):
        raise PluginError(
            f"Extractor {cls.name!r} declares no shape.",
            hint="Set self.shape in __init__ to the shape that extract() returns.",
        )
    return extractor


def fingerprint_of(extractor: Extractor) -> Fingerprint:
    """What decides this extractor's numbers: name, version, parameters, libraries."""
    return Fingerprint(
        name=extractor.name,
        version=extractor.version,
        parameters=extractor.parameters,
        dtype=extractor.dtype,
        shape=tuple(extractor.shape),
        libraries={name: _version(name, extractor) for name in extractor.libraries}
        | _source(extractor),
    )


def _source(extractor: Extractor) -> dict[str, str]:
    """The content of a plugin given as a file: while it is being written, nobody raises its
    version at every change, and yet nothing stale may be read."""
    file = file_of(type(extractor).__module__)
    if file is None:
        return {}
    content = Path(file).read_bytes()
    return {Path(file).name: hashlib.blake2b(content, digest_size=8).hexdigest()}


def origin_of(recording: Recording) -> str:
    """Where a recording lies, as the cache keeps it beside the array: its absolute path, and
    for a part of it the seconds as a media fragment (W3C, 2012), ``/speech.wav#t=1.5,3.0``."""
    path = str(recording.path.absolute())
    if not recording.start and recording.end is None and not _FRAGMENT.search(path):
        return path
    end = "" if recording.end is None else repr(float(recording.end))
    return f"{path}#t={float(recording.start)!r},{end}"


def recording_at(origin: str) -> Recording:
    """The inverse of :func:`origin_of`."""
    match = _FRAGMENT.search(origin)
    if match is None:
        return Recording(Path(origin))
    end = float(match["end"]) if match["end"] else None
    return Recording(Path(origin[: match.start()]), float(match["start"]), end)


_FRAGMENT = re.compile(r"#t=(?P<start>[0-9.e+-]+),(?P<end>[0-9.e+-]*)$")


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


@dataclass(frozen=True)
class Extraction:
    """Computes one feature of one recording, in any process.

    The class is named, not pickled: a plugin that was loaded from a file has no module that
    a fresh process could import.
    """

    module: str
    file: str | None
    cls: str
    parameters: Mapping[str, Any]
    fingerprint: Fingerprint = field(repr=False)

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
        )

    def compute(self, recording: Recording) -> npt.NDArray[Any]:
        """The array of one recording, checked against the extractor's declaration."""
        return self._extractor.check(self._extractor.extract(recording))

    @cached_property
    def _extractor(self) -> Extractor:
        module = load_file(self.file) if self.file else importlib.import_module(self.module)
        found: Any = module
        for part in self.cls.split("."):
            found = getattr(found, part)
        extractor: Extractor = found(**self.parameters)
        return extractor
