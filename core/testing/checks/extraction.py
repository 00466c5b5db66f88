"""Extraction in the checks of an extractor: in this process, and in one of its own."""

from __future__ import annotations

import contextlib
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ...contracts import Extractor, Recording
from ...contracts.errors import RecordingError
from ...data.extraction import Extraction, make_extractor
from .assertions import fail, require, running, skip
from .declarations import PluginSuite
from .samples import Sample, small_recordings

Array = npt.NDArray[Any]


class ExtractionSuite(PluginSuite):
    """Tools of :class:`ExtractorSuite`, which says what can be set."""

    kind = Extractor

    plugin: ClassVar[type[Extractor]]
    recordings: ClassVar[Sequence[Recording | Path | str]] = ()

    def cases(self) -> Sequence[Sample]:
        """The recordings that were given, or small ones made for the purpose."""
        if not self.recordings:
            return small_recordings()
        given = [r if isinstance(r, Recording) else Recording(Path(r)) for r in self.recordings]
        return [Sample(str(recording), recording) for recording in given]

    def ordinary(self) -> list[Sample]:
        """The first two that no extractor may refuse."""
        return [case for case in self.cases() if not case.extreme][:2]

    def at(self, case: Sample) -> str:
        return f"{self.where}, {case}"

    def example(self) -> Extractor:
        """The extractor, by the road that fusion takes."""
        return self.made()

    def made(self, dtype: str | None = None, **changes: Any) -> Extractor:
        """The same with some parameters changed, or stored as another dtype."""
        with running(self.where, "making it", cause=_MAKING):
            return make_extractor(self._plugin(), {**self.parameters, **changes}, dtype)

    def extracted(self, extractor: Extractor, case: Sample, where: str = "") -> Array:
        """What `extract` returns; ends the check where it may refuse the recording and does."""
        with running(where or self.at(case), "extract", cause=_EXTRACTING):
            try:
                found = extractor.extract(case.recording)
            except RecordingError as error:
                if not case.extreme:
                    raise
                skip(f"it refuses the recording: {error.message}")
        if not isinstance(found, np.ndarray):
            fail(
                where or self.at(case),
                f"extract returns {type(found).__name__}",
                expected="a numpy array",
                cause="a list, or a tensor: return tensor.numpy()",
            )
        return found

    def stored(self, extractor: Extractor, case: Sample) -> Array:
        """The array as the cache has it."""
        found = self.extracted(extractor, case)
        self.check_declaration(extractor, found, self.at(case))
        return extractor.check(found)

    def check_declaration(self, extractor: Extractor, found: Array, where: str) -> None:
        """Shape, dtype and values of one array are what is declared."""
        require(
            found.shape == tuple(extractor.shape),
            where,
            f"extract returns an array of shape {found.shape}",
            expected=f"{tuple(extractor.shape)}, as self.shape declares",
            cause="a length that follows the recording's: crop and pad it to a fixed one; or a "
            "self.shape that leaves out a parameter",
        )
        require(
            np.can_cast(found.dtype, extractor.dtype, "same_kind"),
            where,
            f"extract returns an array of {found.dtype}",
            expected=f"what can be stored as {extractor.dtype}, the declared dtype",
            cause="complex numbers of a transform (take np.abs), or dtype says integers",
        )
        bad = int((~np.isfinite(found)).sum())
        require(
            not bad,
            where,
            f"{bad} of {found.size} values are NaN or infinite",
            expected="finite numbers",
            cause="a logarithm or a division at zero: log(max(x, 1e-10)), or a mean over nothing",
        )
        with running(where, f"storing the array as {extractor.dtype}", cause=_TOO_LARGE):
            extractor.check(found)


def same_bits(a: Array, b: Array) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def near(found: Array, expected: Array, share: float) -> bool:
    """Whether no value is further off than a share of the largest one; False for NaN."""
    size = max(1e-6, float(np.abs(expected).max()))
    return found.shape == expected.shape and bool(
        np.abs(found.astype(float) - expected).max() <= share * size
    )


def apart(a: Array, b: Array) -> str:
    """How far two arrays are from each other, for people."""
    if a.shape != b.shape:
        return f"their shapes, {a.shape} and {b.shape}"
    if a.dtype != b.dtype:
        return f"their dtypes, {a.dtype} and {b.dtype}"
    return f"{float(np.abs(a.astype(float) - b.astype(float)).max()):.3g}"


# The path first: what is pickled may come from anywhere on it.
_SCRIPT = """
import pickle, sys
with open(sys.argv[1], "rb") as file:
    sys.path[:] = pickle.load(file)
    import importlib
    importlib.import_module({module!r}).compute(file, sys.argv[2])
"""


def computed_elsewhere(
    extraction: Extraction, recordings: Sequence[Recording]
) -> list[Array] | str:
    """The arrays of the recordings; or what went wrong, for people."""
    with tempfile.TemporaryDirectory() as folder:
        work, out = Path(folder, "work"), Path(folder, "out")
        with work.open("wb") as file:
            pickle.dump(sys.path, file)
            pickle.dump((extraction, list(recordings)), file)
        script = _SCRIPT.format(module=__name__)
        command = [sys.executable, "-c", script, str(work), str(out)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode or not out.is_file():
            last = (ended.stderr.strip() or "it ended without a word").splitlines()[-1]
            return f"the process ended with code {ended.returncode}: {last}"
        found: list[Array] | str = pickle.loads(out.read_bytes())
        return found


def compute(work: Any, out: str) -> None:
    """In the other process: do the work and leave the arrays, or the error, in a file."""
    found: list[Array] | str
    try:
        with contextlib.redirect_stdout(sys.stderr):
            extraction, recordings = pickle.load(work)
            found = [extraction.compute(recording) for recording in recordings]
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
    Path(out).write_bytes(pickle.dumps(found))


_MAKING = (
    "a value that __init__ does not expect, or self.shape is not set there to what extract returns"
)
_EXTRACTING = (
    "a recording shorter than a window, with two channels, at another sample rate, or silent; "
    "fusion.core.toolkit.audio.load_waveform reads all of them alike. Raise RecordingError for "
    "what can't be used"
)
_TOO_LARGE = "values that are too large: take a logarithm, or scale them"
