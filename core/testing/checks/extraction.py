"""Helpers of the extractor checks: extraction in this or another process, and comparison."""

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
    """Helper methods of :class:`ExtractorSuite`, which documents the attributes to set."""

    kind = Extractor

    plugin: ClassVar[type[Extractor]]
    recordings: ClassVar[Sequence[Recording | Path | str]] = ()

    def cases(self) -> Sequence[Sample]:
        """Return the suite's `recordings` if set, else small generated recordings."""
        if not self.recordings:
            return small_recordings()
        recordings = [
            r if isinstance(r, Recording) else Recording(Path(r)) for r in self.recordings
        ]
        return [Sample(str(recording), recording) for recording in recordings]

    def ordinary(self) -> list[Sample]:
        """Return the first two recordings that every extractor has to accept."""
        return [case for case in self.cases() if not case.extreme][:2]

    def at(self, case: Sample) -> str:
        """Return the name of the plugin and of a case, for messages."""
        return f"{self.where}, {case}"

    def example(self) -> Extractor:
        """Return an instance of the extractor, as fusion itself makes it."""
        return self.create()

    def create(self, dtype: str | None = None, **changes: Any) -> Extractor:
        """Return the extractor, with parameters in `changes` or the stored `dtype` replaced."""
        with running(self.where, "instantiation", cause=_MAKING):
            return make_extractor(self._plugin(), {**self.parameters, **changes}, dtype)

    def extract_array(self, extractor: Extractor, case: Sample, where: str = "") -> Array:
        """Return the array that `extract` returns; skip if an extreme recording is rejected."""
        with running(where or self.at(case), "extract", cause=_EXTRACTING):
            try:
                array = extractor.extract(case.recording)
            except RecordingError as error:
                if not case.extreme:
                    raise
                skip(f"the extractor refuses the recording: {error.message}")
        if not isinstance(array, np.ndarray):
            fail(
                where or self.at(case),
                f"extract returns {type(array).__name__}",
                expected="a numpy array",
                cause="a list or a tensor: return tensor.numpy()",
            )
        return array

    def stored_array(self, extractor: Extractor, case: Sample) -> Array:
        """Return the array as the cache stores it."""
        array = self.extract_array(extractor, case)
        self.check_declaration(extractor, array, self.at(case))
        return extractor.check(array)

    def check_declaration(self, extractor: Extractor, array: Array, where: str) -> None:
        """Check that an array has the declared shape and dtype, and only finite values."""
        require(
            array.shape == tuple(extractor.shape),
            where,
            f"extract returns an array of shape {array.shape}",
            expected=f"{tuple(extractor.shape)}, as self.shape declares",
            cause="a length that depends on the recording: crop and pad to a fixed length; or a "
            "self.shape that ignores a parameter",
        )
        require(
            np.can_cast(array.dtype, extractor.dtype, "same_kind"),
            where,
            f"extract returns an array of {array.dtype}",
            expected=f"a dtype that can be stored as {extractor.dtype}, the declared dtype",
            cause="complex numbers of a transform (take np.abs), or an integer type in `dtype`",
        )
        bad = int((~np.isfinite(array)).sum())
        require(
            not bad,
            where,
            f"{bad} of {array.size} values are NaN or infinite",
            expected="finite numbers",
            cause="a logarithm of zero: write log(max(x, 1e-10)); a division by zero; or the mean "
            "of an empty array",
        )
        with running(where, f"storing the array as {extractor.dtype}", cause=_TOO_LARGE):
            extractor.check(array)


def same_bits(a: Array, b: Array) -> bool:
    """Return True if two arrays have the same shape, dtype and bytes."""
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def near(actual: Array, expected: Array, share: float) -> bool:
    """Return True if no difference exceeds `share` times the largest value; False for NaN."""
    size = max(1e-6, float(np.abs(expected).max()))
    return actual.shape == expected.shape and bool(
        np.abs(actual.astype(float) - expected).max() <= share * size
    )


def apart(a: Array, b: Array) -> str:
    """Return the largest difference of two arrays, or their shapes or dtypes, as text."""
    if a.shape != b.shape:
        return f"their shapes, {a.shape} and {b.shape}"
    if a.dtype != b.dtype:
        return f"their dtypes, {a.dtype} and {b.dtype}"
    return f"{float(np.abs(a.astype(float) - b.astype(float)).max()):.3g}"


# The import path comes first, because the pickled classes may come from any entry of the path.
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
    """Compute the recordings' arrays in a new process; return the arrays, or an error message."""
    with tempfile.TemporaryDirectory() as folder:
        work, out = Path(folder, "work"), Path(folder, "out")
        with work.open("wb") as file:
            pickle.dump(sys.path, file)
            pickle.dump((extraction, list(recordings)), file)
        script = _SCRIPT.format(module=__name__)
        command = [sys.executable, "-c", script, str(work), str(out)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode or not out.is_file():
            last = (ended.stderr.strip() or "no output on standard error").splitlines()[-1]
            return f"the process ended with code {ended.returncode}: {last}"
        arrays: list[Array] | str = pickle.loads(out.read_bytes())
        return arrays


def compute(work: Any, out: str) -> None:
    """Compute the arrays in the new process; write the arrays, or the error, to the file `out`."""
    arrays: list[Array] | str
    try:
        with contextlib.redirect_stdout(sys.stderr):
            extraction, recordings = pickle.load(work)
            arrays = [extraction.compute(recording) for recording in recordings]
    except Exception as error:
        arrays = f"{type(error).__name__}: {error}"
    Path(out).write_bytes(pickle.dumps(arrays))


_MAKING = (
    "a value that __init__ does not expect, or an __init__ that does not set self.shape to the "
    "shape that extract returns"
)
_EXTRACTING = (
    "a recording that is shorter than a window, stereo, at another sample rate, or silent; "
    "fusion.core.toolkit.audio.load_waveform reads all of them. Raise RecordingError for a "
    "recording that the extractor can't use"
)
_TOO_LARGE = "values that are too large for the dtype: take a logarithm, or scale the values"
