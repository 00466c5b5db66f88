"""The conformance suite for extractors."""

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
from ..checks.assertions import fail, require, require_silence, running, said, skip
from ..checks.extraction import apart, computed_elsewhere, near, same_bits
from ..checks.fingerprints import FingerprintChecks
from ..checks.samples import Sample, contents, part_and_cut, three_seconds, unreadable
from ..costs import Cost, python_bytes, seconds_of


class ExtractorSuite(FingerprintChecks):
    """Checks an extractor on small recordings: speech-like, silent, short, long, stereo.

    An extractor may refuse silence and a single sample with a RecordingError; all other
    recordings it has to take.

    Attributes
    ----------
    recordings : sequence of Recording, Path or str
        Recordings to try it on instead of those made here, two or more: for an extractor that
        reads no sound, or looks up in a table what belongs to a file.
    """

    def costs(self) -> Sequence[Cost]:
        """A clip of three seconds, or the first that was given."""
        extractor = self.made()
        given = self.ordinary()[0].recording if self.recordings else three_seconds()

        def call() -> None:
            extractor.extract(given)

        words = str(given.path.name) if self.recordings else "3 s of speech"
        stored = math.prod(extractor.shape) * np.dtype(extractor.dtype).itemsize
        note = f"the array is {stored:,} bytes"
        return [Cost(f"extract, {words}", seconds_of(call), python_bytes(call), note)]

    # -- checks: one array ---------------------------------------------------------------

    def test_array(self, case: Sample) -> None:
        """An array of the declared shape and dtype, finite."""
        extractor = self.made()
        self.check_declaration(extractor, self.extracted(extractor, case), self.at(case))

    def test_float16(self, case: Sample) -> None:
        """``--dtype NAME=float16`` halves the cache: the values have to fit."""
        if self.made().dtype not in STORAGE_DTYPES:
            skip(f"it stores {self.made().dtype}, for which there is no choice")
        extractor = self.made("float16")
        self.check_declaration(extractor, self.extracted(extractor, case), self.at(case))

    def test_panels(self, case: Sample) -> None:
        """Pictures for reports, with the recording and without; the array stays as it is."""
        extractor = self.made()
        array = self.stored(extractor, case)
        before = array.copy()
        for recording in (None, case.recording):
            with running(self.at(case), "panels", cause=_PANELS):
                panels = extractor.panels(array, recording)
            require(
                isinstance(panels, list) and all(isinstance(p, Panel) for p in panels),
                self.at(case),
                f"panels returns {panels!r:.80}",
                expected="a list of fusion.Panel; an empty one where there is nothing to show",
                cause=_PANELS,
            )
        require(
            same_bits(array, before),
            self.at(case),
            "panels changes the array that it is given",
            expected="the array as it was",
            cause="an operation in place: -=, .sort()",
        )

    # -- checks: the same in, the same out -----------------------------------------------

    def test_same_recording_same_bits(self, case: Sample) -> None:
        """Twice by one instance, and by another made alike."""
        extractor = self.made()
        first = self.extracted(extractor, case).copy()
        for words, other in (("a second time", extractor), ("by a new instance", self.made())):
            found = self.extracted(other, case)
            require(
                same_bits(found, first),
                self.at(case),
                f"extracted {words}, the array differs by {apart(found, first)}",
                expected="the same bits: the cache computes a recording once",
                cause="random numbers (give a generator a fixed seed), a network left in training "
                "mode, or something kept from the call before",
            )

    def test_fresh_process_same_bits(self) -> None:
        """A build's workers make the extractor anew, in processes of their own."""
        extractor = self.made()
        cases = self.ordinary()
        expected = [self.stored(extractor, case) for case in cases]
        with running(self.where, "handing it to another process", cause=_REBUILT):
            extraction = Extraction.of(extractor)
        found = computed_elsewhere(extraction, [case.recording for case in cases])
        if isinstance(found, str):
            fail(
                f"{self.where}, in another process",
                found,
                expected="the class found by its module and name, made with its parameters, and "
                "the same version, parameters and libraries as here",
                cause=_REBUILT,
            )
        for case, there, here in zip(cases, found, expected, strict=True):
            require(
                same_bits(there, here),
                f"{self.at(case)}, in another process",
                f"the array differs by {apart(there, here)}",
                expected="the same bits",
                cause="the order of a set or dict of objects, hash(...) of a text, or a random "
                "number that this process drew",
            )

    def test_rebuilt(self) -> None:
        """The class by its name and the parameters are all there is."""
        extractor, (case, *_) = self.made(), self.ordinary()
        expected = self.stored(extractor, case)
        with running(self.where, "making it anew from its name and parameters", cause=_REBUILT):
            found = pickle.loads(pickle.dumps(Extraction.of(extractor))).compute(case.recording)
        require(
            same_bits(found, expected),
            self.at(case),
            f"made anew from its parameters, its array differs by {apart(found, expected)}",
            expected="the same bits",
            cause="something set on the instance after it was made, or on the class",
        )

    def test_different_recordings(self) -> None:
        """Two recordings that differ do not give one array."""
        extractor, cases = self.made(), self.ordinary()
        if len(cases) < 2:
            skip("one recording was given; it takes two")
        one, other = (self.extracted(extractor, case).copy() for case in cases)
        require(
            not np.array_equal(one, other),
            self.where,
            f"{cases[0]} and {cases[1]} give the same array",
            expected="arrays that differ",
            cause="a result that is kept and returned again, or an array that is never filled",
        )

    def test_order_of_recordings(self) -> None:
        """Nothing is kept from one call to the next, neither numbers nor the array itself."""
        cases = [case for case in self.cases() if not case.extreme]
        if len(cases) < 2:
            skip("one recording was given; it takes two")
        forwards, backwards = self.made(), self.made()
        arrays = [self.extracted(forwards, case) for case in cases]
        copies = [self.extracted(self.made(), case).copy() for case in cases]
        turned = [self.extracted(backwards, case).copy() for case in reversed(cases)][::-1]
        for case, array, alone, last in zip(cases, arrays, copies, turned, strict=True):
            require(
                same_bits(alone, last),
                self.at(case),
                "its array changes with the recordings before it, by " + apart(alone, last),
                expected="the same bits in any order",
                cause="a running mean or maximum, a buffer that is not cleared",
            )
            require(
                same_bits(array, alone),
                self.at(case),
                "its array has other values after later calls",
                expected="an array of its own for every recording",
                cause="one buffer that every call fills and returns: return a copy",
            )

    def test_part_of_a_file(self) -> None:
        """Clips may be parts of a long file: Recording.start and Recording.end, in seconds."""
        if self.recordings:
            skip("the recordings are given")
        extractor = self.made()
        part, cut = (Sample("part", r) for r in part_and_cut())
        whole = self.extracted(extractor, Sample("whole", Recording(part.recording.path)))
        where = f"{self.where}, a part of a file"
        found = self.extracted(extractor, part, where).astype(float)
        require(
            not np.array_equal(found, whole),
            where,
            "its array is that of the whole file",
            expected="what lies from recording.start to recording.end, in seconds",
            cause="recording.path is read and the rest ignored; "
            "fusion.core.toolkit.audio.load_waveform(recording, rate) reads the part",
        )
        expected = self.extracted(extractor, cut, where).astype(float)
        require(
            near(found, expected, 0.02),
            where,
            "its array is not that of a file that holds this part and nothing else: they differ "
            f"by {apart(found, expected)}",
            expected="the same array, nearly",
            cause="samples taken for seconds, the end taken for a duration, or a part that is cut "
            "from the finished feature",
        )

    # -- checks: what goes wrong, and what is left behind --------------------------------

    def test_unreadable_recordings(self) -> None:
        """A RecordingError and nothing else: the clip is left out, counted and listed."""
        extractor = self.made()
        for words, recording in self._unreadable().items():
            where = f"{self.where}, {words}"
            try:
                extractor.extract(recording)
            except RecordingError:
                continue
            except Exception as error:
                failed = f"extract raises {said(error)}"
            else:
                failed = "extract returns an array"
            fail(where, failed, expected="a RecordingError that names the file", cause=_UNREADABLE)

    def _unreadable(self) -> dict[str, Recording]:
        found = dict(unreadable())
        if self.recordings:  # what it reads may be no sound
            path = self.ordinary()[0].recording.path
            found = {"a file that is not there": Recording(path.with_name(f"no-{path.name}"))}
        return found

    def test_leaves_no_traces(self) -> None:
        """Nothing is written beside the recordings, and nothing to standard output."""
        extractor, (case, *_) = self.made(), self.ordinary()
        near = case.recording.path.parent
        before, printed = contents(near), io.StringIO()
        with contextlib.redirect_stdout(printed):
            self.extracted(extractor, case)
        require(
            contents(near) == before,
            self.where,
            f"files in {near} were made, changed or deleted",
            expected="the folder of the recordings as it was: it may be read-only, or shared",
            cause="a cache of its own beside the recording; fusion caches what extract returns",
        )
        require_silence(self.where, printed)

    # -- checks: several at once ---------------------------------------------------------

    def test_extract_many(self) -> None:
        """Several at once give the arrays that each gives alone."""
        if self._plugin().extract_many is Extractor.extract_many:
            skip("no extract_many of its own")
        extractor = self.made()
        cases = [case for case in self.cases() if not case.extreme][: max(2, extractor.batch)]
        found = self._many(extractor, [case.recording for case in cases])
        for case, together in zip(cases, found, strict=True):
            if not isinstance(together, np.ndarray):
                fail(
                    f"{self.at(case)}, among others",
                    f"extract_many gives {together!r:.80}",
                    expected="a numpy array",
                    cause=_MANY,
                )
            self.check_declaration(extractor, together, f"{self.at(case)}, extract_many")
            alone = self.extracted(extractor, case)
            require(
                near(together, alone, 1e-3),
                f"{self.at(case)}, among others",
                f"its array is not the one that it has alone: they differ by "
                f"{apart(together, alone)}",
                expected="the same array, up to rounding",
                cause="shorter recordings are padded to the longest and the padding counts; or "
                "statistics are taken over the batch",
            )

    def test_extract_many_with_one_unreadable(self) -> None:
        """The RecordingError of one stands in its place, the others have their arrays."""
        if self._plugin().extract_many is Extractor.extract_many:
            skip("no extract_many of its own")
        case, missing = self.ordinary()[0], next(iter(self._unreadable().values()))
        found = self._many(self.made(), [case.recording, missing])
        require(
            isinstance(found[0], np.ndarray) and isinstance(found[1], RecordingError),
            self.where,
            "given a recording and a missing file, extract_many gives "
            + " and ".join(type(each).__name__ for each in found),
            expected="an array and a RecordingError, which is put in the list and not raised",
            cause=_MANY,
        )

    def _many(self, extractor: Extractor, recordings: list[Recording]) -> Sequence[object]:
        with running(self.where, "extract_many", cause=_MANY):
            found = list(extractor.extract_many(recordings))
        require(
            len(found) == len(recordings),
            self.where,
            f"extract_many returns {len(found)} arrays for {len(recordings)} recordings",
            expected="one for each, in their order",
            cause=_MANY,
        )
        return found


_PANELS = "arrays of another number of axes than the panel's kind takes, or a recording of None"
_REBUILT = (
    "a class inside a function or another class's method, a module that only this process can "
    "import, or a version or parameters that are computed (from the time, a hash, the machine)"
)
_UNREADABLE = (
    "the error of the library that reads files goes through: catch it and "
    "raise fusion.core.contracts.errors.RecordingError(...) from it, as load_waveform does"
)
_MANY = (
    "a single array instead of one for each, or a RecordingError that is raised where it should "
    "stand in the list: the whole batch would fail with it"
)
