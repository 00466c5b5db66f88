"""Conformance suite for extractors."""

from __future__ import annotations

import contextlib
import io
import math
import pickle
from collections.abc import Sequence

import numpy as np

from ...contracts import Extractor, Panel, Recording
from ...contracts.errors import RecordingError
from ...data.extraction import STORAGE_DTYPES, Extraction
from ..checks.assertions import describe, fail, require, require_silence, running, skip
from ..checks.extraction import apart, computed_elsewhere, near, same_bits
from ..checks.fingerprints import FingerprintChecks
from ..checks.samples import Sample, contents, part_and_cut, three_seconds, unreadable
from ..costs import Cost, python_bytes, seconds_of


class ExtractorSuite(FingerprintChecks):
    """Checks of an extractor on small recordings: speech-like, silent, short, long, stereo.

    An extractor may reject silence and a single sample with a RecordingError. It must accept all
    other recordings.

    Attributes
    ----------
    recordings : sequence of Recording, Path or str
        Two or more recordings to use instead of the generated recordings. Set this attribute for an
        extractor that does not read audio, or that looks up arrays in a table by file name.
    """

    def costs(self) -> Sequence[Cost]:
        """Return the cost of extracting from three seconds of speech, or from `recordings[0]`."""
        extractor = self.create()
        recording = self.ordinary()[0].recording if self.recordings else three_seconds()

        def call() -> None:
            extractor.extract(recording)

        words = str(recording.path.name) if self.recordings else "3 s of speech"
        stored = math.prod(extractor.shape) * np.dtype(extractor.dtype).itemsize
        note = f"the array is {stored:,} bytes"
        return [Cost(f"extract, {words}", seconds_of(call), python_bytes(call), note)]

    # -- checks: one array ---------------------------------------------------------------

    def test_array(self, case: Sample) -> None:
        """Check that the array is finite and has the declared shape and dtype."""
        extractor = self.create()
        self.check_declaration(extractor, self.extract_array(extractor, case), self.at(case))

    def test_float16(self, case: Sample) -> None:
        """Check that the values fit into float16, for users who set ``--dtype NAME=float16``."""
        if self.create().dtype not in STORAGE_DTYPES:
            skip(f"the extractor stores {self.create().dtype}, which --dtype can't change")
        extractor = self.create("float16")
        self.check_declaration(extractor, self.extract_array(extractor, case), self.at(case))

    def test_panels(self, case: Sample) -> None:
        """Check that `panels` returns a list of Panel objects, and does not change the array."""
        extractor = self.create()
        array = self.stored_array(extractor, case)
        before = array.copy()
        for recording in (None, case.recording):
            with running(self.at(case), "panels", cause=_PANELS):
                panels = extractor.panels(array, recording)
            require(
                isinstance(panels, list) and all(isinstance(p, Panel) for p in panels),
                self.at(case),
                f"panels returns {panels!r:.80}",
                expected="a list of fusion.Panel, which is empty if there is nothing to show",
                cause=_PANELS,
            )
        require(
            same_bits(array, before),
            self.at(case),
            "panels changes the array that is passed to it",
            expected="an unchanged array",
            cause="an in-place operation: -=, .sort()",
        )

    # -- checks: the same recording gives the same array ---------------------------------

    def test_same_recording_same_bits(self, case: Sample) -> None:
        """Check that repeated calls and equal instances give the same array, bit for bit."""
        extractor = self.create()
        first = self.extract_array(extractor, case).copy()
        for words, other in (("a second time", extractor), ("by a new instance", self.create())):
            array = self.extract_array(other, case)
            require(
                same_bits(array, first),
                self.at(case),
                f"extracted {words}, the array differs by {apart(array, first)}",
                expected="the same values, bit for bit: the cache computes each recording once",
                cause="random numbers (give a generator a fixed seed), a network in training "
                "mode, or state from an earlier call",
            )

    def test_fresh_process_same_bits(self) -> None:
        """Check that another process, such as a worker of a build, computes the same arrays."""
        extractor = self.create()
        cases = self.ordinary()
        expected = [self.stored_array(extractor, case) for case in cases]
        with running(self.where, "sending the extractor to another process", cause=_REBUILT):
            extraction = Extraction.of(extractor)
        outcome = computed_elsewhere(extraction, [case.recording for case in cases])
        if isinstance(outcome, str):
            fail(
                f"{self.where}, in another process",
                outcome,
                expected="a class that is importable by its module and name, and an instance with "
                "the same version, parameters and libraries as in this process",
                cause=_REBUILT,
            )
        for case, remote, local in zip(cases, outcome, expected, strict=True):
            require(
                same_bits(remote, local),
                f"{self.at(case)}, in another process",
                f"the array differs by {apart(remote, local)}",
                expected="the same values, bit for bit",
                cause="the order of a set of objects, hash(...) of a string, or a random number "
                "that was drawn in this process",
            )

    def test_rebuilt(self) -> None:
        """Check that the class and its parameters suffice to reconstruct the extractor."""
        extractor, (case, *_) = self.create(), self.ordinary()
        expected = self.stored_array(extractor, case)
        with running(self.where, "reconstruction from name and parameters", cause=_REBUILT):
            array = pickle.loads(pickle.dumps(Extraction.of(extractor))).compute(case.recording)
        require(
            same_bits(array, expected),
            self.at(case),
            f"an extractor reconstructed from its parameters gives an array that differs by "
            f"{apart(array, expected)}",
            expected="the same values, bit for bit",
            cause="an attribute that was set on the class, or on the instance after __init__",
        )

    def test_different_recordings(self) -> None:
        """Check that two different recordings give different arrays."""
        extractor, cases = self.create(), self.ordinary()
        if len(cases) < 2:
            skip("the check needs two recordings; one was given")
        one, other = (self.extract_array(extractor, case).copy() for case in cases)
        require(
            not np.array_equal(one, other),
            self.where,
            f"{cases[0]} and {cases[1]} give the same array",
            expected="arrays that differ",
            cause="a stored result that is returned again, or an array that is never filled",
        )

    def test_order_of_recordings(self) -> None:
        """Check that calls keep no state, and that each call returns a new array."""
        cases = [case for case in self.cases() if not case.extreme]
        if len(cases) < 2:
            skip("the check needs two recordings; one was given")
        forwards, backwards = self.create(), self.create()
        arrays = [self.extract_array(forwards, case) for case in cases]
        copies = [self.extract_array(self.create(), case).copy() for case in cases]
        turned = [self.extract_array(backwards, case).copy() for case in reversed(cases)][::-1]
        for case, array, alone, last in zip(cases, arrays, copies, turned, strict=True):
            require(
                same_bits(alone, last),
                self.at(case),
                "the array depends on the recordings before it: it changes by "
                + apart(alone, last),
                expected="the same values, bit for bit, in any order",
                cause="a running mean or maximum, or a buffer that is not cleared",
            )
            require(
                same_bits(array, alone),
                self.at(case),
                "later calls change the values of the returned array",
                expected="a separate array for every recording",
                cause="a buffer that every call fills and returns: return a copy",
            )

    def test_part_of_a_file(self) -> None:
        """Check a clip that is part of a file, from Recording.start to Recording.end in seconds."""
        if self.recordings:
            skip("the check needs the generated recordings, and `recordings` replaces them")
        extractor = self.create()
        part, cut = (Sample("part", r) for r in part_and_cut())
        whole = self.extract_array(extractor, Sample("whole", Recording(part.recording.path)))
        where = f"{self.where}, a part of a file"
        array = self.extract_array(extractor, part, where).astype(float)
        require(
            not np.array_equal(array, whole),
            where,
            "the array is that of the whole file",
            expected="the array of the part from recording.start to recording.end, in seconds",
            cause="code that reads recording.path and ignores start and end; "
            "fusion.core.toolkit.audio.load_waveform(recording, rate) reads the part",
        )
        expected = self.extract_array(extractor, cut, where).astype(float)
        require(
            near(array, expected, 0.02),
            where,
            "the array differs from that of a file which holds only this part, by "
            f"{apart(array, expected)}",
            expected="the same array, up to 2 % of its largest value",
            cause="samples instead of seconds, a duration instead of the end, or a part that is "
            "cut from the finished feature",
        )

    # -- checks: errors and side effects -------------------------------------------------

    def test_unreadable_recordings(self) -> None:
        """Check that unreadable recordings raise RecordingError, so that a run leaves them out."""
        extractor = self.create()
        for words, recording in self._unreadable().items():
            where = f"{self.where}, {words}"
            try:
                extractor.extract(recording)
            except RecordingError:
                continue
            except Exception as error:
                failed = f"extract raises {describe(error)}"
            else:
                failed = "extract returns an array"
            fail(where, failed, expected="a RecordingError that names the file", cause=_UNREADABLE)

    def _unreadable(self) -> dict[str, Recording]:
        if self.recordings:  # the extractor may read files other than audio
            path = self.ordinary()[0].recording.path
            return {"a missing file": Recording(path.with_name(f"no-{path.name}"))}
        return dict(unreadable())

    def test_leaves_no_traces(self) -> None:
        """Check that the extractor writes nothing beside the recordings or to standard output."""
        extractor, (case, *_) = self.create(), self.ordinary()
        folder = case.recording.path.parent
        before, printed = contents(folder), io.StringIO()
        with contextlib.redirect_stdout(printed):
            self.extract_array(extractor, case)
        require(
            contents(folder) == before,
            self.where,
            f"files in {folder} were created, changed or deleted",
            expected="an unchanged folder of recordings: it may be read-only, or shared",
            cause="the extractor's own cache beside the recording: fusion caches the arrays that "
            "extract returns",
        )
        require_silence(self.where, printed)

    # -- checks: several recordings in one call ------------------------------------------

    def test_extract_many(self) -> None:
        """Check that `extract_many` gives the same arrays as `extract`."""
        if self._plugin().extract_many is Extractor.extract_many:
            skip("the extractor does not override extract_many")
        extractor = self.create()
        cases = [case for case in self.cases() if not case.extreme][: max(2, extractor.batch)]
        arrays = self._many(extractor, [case.recording for case in cases])
        for case, together in zip(cases, arrays, strict=True):
            if not isinstance(together, np.ndarray):
                fail(
                    f"{self.at(case)}, among others",
                    f"extract_many returns {together!r:.80} for this recording",
                    expected="a numpy array",
                    cause=_MANY,
                )
            self.check_declaration(extractor, together, f"{self.at(case)}, extract_many")
            alone = self.extract_array(extractor, case)
            require(
                near(together, alone, 1e-3),
                f"{self.at(case)}, among others",
                f"the array from extract_many differs from that of extract by "
                f"{apart(together, alone)}",
                expected="the same array, up to rounding",
                cause="padding of shorter recordings that changes their arrays, or statistics "
                "that are computed over the batch",
            )

    def test_extract_many_with_one_unreadable(self) -> None:
        """Check that `extract_many` returns a RecordingError for an unreadable recording."""
        if self._plugin().extract_many is Extractor.extract_many:
            skip("the extractor does not override extract_many")
        case, missing = self.ordinary()[0], next(iter(self._unreadable().values()))
        returned = self._many(self.create(), [case.recording, missing])
        require(
            isinstance(returned[0], np.ndarray) and isinstance(returned[1], RecordingError),
            self.where,
            "for a recording and an unreadable one, extract_many returns "
            + " and ".join(type(each).__name__ for each in returned),
            expected="an array and a RecordingError, which is put in the list and not raised",
            cause=_MANY,
        )

    def _many(self, extractor: Extractor, recordings: list[Recording]) -> Sequence[object]:
        with running(self.where, "extract_many", cause=_MANY):
            returned = list(extractor.extract_many(recordings))
        require(
            len(returned) == len(recordings),
            self.where,
            f"extract_many returns {len(returned)} arrays for {len(recordings)} recordings",
            expected="one array per recording, in the same order",
            cause=_MANY,
        )
        return returned


_PANELS = "an array whose number of axes does not fit the kind of panel, or a recording of None"
_REBUILT = (
    "a class that is defined inside a function, a module that only this process can import, or a "
    "version or parameters that depend on the time, a hash or the machine"
)
_UNREADABLE = (
    "an error of the library that reads files: catch it and "
    "raise fusion.core.contracts.errors.RecordingError(...) from it, as load_waveform does"
)
_MANY = (
    "a single array instead of one per recording; or a RecordingError that is raised, so that the "
    "whole batch fails, instead of returned in the list"
)
