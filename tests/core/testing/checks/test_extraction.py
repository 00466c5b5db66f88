"""Sample recordings for extractor suites, and comparisons of the extracted arrays."""

import io
import pickle
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from right_extractors import Level
from suites import failures

from fusion import Extractor, Recording
from fusion.core.contracts.errors import ParameterError, RecordingError
from fusion.core.data.extraction import Extraction, make_extractor
from fusion.core.testing.checks.assertions import CheckFailed, CheckSkipped, without_pytest
from fusion.core.testing.checks.extraction import apart, compute, near, same_bits
from fusion.core.testing.checks.samples import small_recordings, unreadable
from fusion.core.testing.runner import suite_for
from fusion.testing import ExtractorSuite

CHECKS = {name for name in dir(ExtractorSuite) if name.startswith("test_")}
QUICK = CHECKS - {"test_fresh_process_same_bits"}  # each takes a second of imports


class Lookup(Extractor):
    """Valid: looks a file's name up in a table."""

    name = "lookup"
    table: ClassVar = {"a.txt": [1.0, 2.0], "b.txt": [3.0, 4.0]}

    def __init__(self):
        self.shape = (2,)

    def extract(self, recording):
        if recording.path.name not in self.table:
            raise RecordingError(f"{recording.path} is not in the table.")
        return np.array(self.table[recording.path.name])


def test_recordings_may_be_other_files_than_audio(tmp_path):
    passed = [tmp_path / "a.txt", Recording(tmp_path / "b.txt")]
    for recording in ("a.txt", "b.txt"):
        (tmp_path / recording).touch()
    assert failures(ExtractorSuite, Lookup, recordings=passed, only=QUICK) == {}
    assert "not in the table" in failures(ExtractorSuite, Lookup, only=QUICK)["test_array"]


def test_cases_are_named_after_the_given_recordings(tmp_path):
    part = Recording(tmp_path / "b.wav", 1.0, 2.0)
    suite = suite_for("extractor", Level, recordings=[tmp_path / "a.wav", "c.wav", part])
    assert [case.recording for case in suite.ordinary()] == [
        Recording(tmp_path / "a.wav"), Recording(Path("c.wav")),
    ]  # fmt: skip
    assert str(suite.cases()[2]) == str(part)
    # Without `recordings`, the suite uses its own, and the extractor may refuse silence.
    usual = suite_for("extractor", Level)
    assert [str(case) for case in usual.ordinary()] == ["a voice", "another voice"]


class Refusing(Level):
    """Refuses every recording."""

    def extract(self, recording):
        raise RecordingError(f"{recording.path.name} is refused.")


def test_silence_may_be_refused_but_a_voice_may_not():
    suite, extractor = suite_for("extractor", Refusing), Refusing()
    ordinary, *_, extreme = small_recordings()
    with without_pytest():
        with pytest.raises(
            CheckSkipped, match="the extractor refuses the recording: sample.wav is refused"
        ):
            suite.extract_array(extractor, extreme)
        with pytest.raises(CheckFailed, match="extract raises RecordingError: voice.wav is ref"):
            suite.extract_array(extractor, ordinary)


def test_parameters_that_the_plugin_refuses_are_its_fault():
    class Choosy(Level):
        """Refuses a value of `parts`."""

        def __init__(self, *, parts: int = 8):
            if parts == 3:
                raise ParameterError("Not three.")
            super().__init__(parts=parts)

    suite = suite_for("extractor", Choosy)
    assert suite.create(parts=4).shape == (4,)
    assert suite.create("float16").dtype == "float16"
    with without_pytest(), pytest.raises(CheckFailed, match="instantiation raises ParameterError"):
        suite.create(parts=3)


def test_stored_arrays_have_the_declared_dtype():
    suite = suite_for("extractor", Level)
    array = suite.stored_array(suite.create("float16"), suite.cases()[0])
    assert (array.shape, array.dtype) == ((8,), np.float16)


# -- comparisons -------------------------------------------------------------------------


def test_near_is_relative_to_the_largest_value():
    a = np.array([100.0, 0.0], np.float32)
    assert near(a + np.float32(0.9), a, 0.01)
    assert not near(a + np.float32(1.1), a, 0.01)
    assert not near(a * np.float32("nan"), a, 0.01)
    assert not near(a[None], a, 0.01)
    assert near(np.zeros(2), np.zeros(2), 0.0)  # only zero is near zero
    assert not near(np.full(2, 1e-5), np.zeros(2), 0.01)


def test_equal_numbers_may_differ_in_bits():
    zeros = np.zeros(2, np.float32)
    assert same_bits(zeros, zeros.copy())
    assert not same_bits(zeros, -zeros)
    assert not same_bits(zeros, zeros.astype(np.float64))
    assert not same_bits(zeros, zeros[None])
    nan = np.array([np.nan])
    assert same_bits(nan, nan.copy())


def test_differences_of_arrays_in_words():
    a = np.array([1, 200], np.uint8)
    assert apart(a, np.array([3, 100], np.uint8)) == "100"  # not modulo 256
    assert apart(a, a[None]) == "their shapes, (2,) and (1, 2)"
    assert apart(a, a.astype(np.int16)) == "their dtypes, uint8 and int16"


# -- extraction in another process ---------------------------------------------------------


def computed(extractor, recordings, folder):
    work = io.BytesIO(pickle.dumps((Extraction.of(extractor), recordings)))
    compute(work, str(folder / "out"))
    return pickle.loads((folder / "out").read_bytes())


def test_another_process_writes_arrays_or_its_error(tmp_path, capsys):
    first, second, *_ = (sample.recording for sample in small_recordings())
    extractor = make_extractor(Level, {"parts": 3})
    result = computed(extractor, [first, second], tmp_path)
    expected = [extractor.extract(recording) for recording in (first, second)]
    assert len(result) == 2 and all(map(same_bits, result, expected)), result
    missing = unreadable()["a missing file"]
    assert computed(extractor, [first, missing], tmp_path).startswith("RecordingError: ")
    assert not capsys.readouterr().out
