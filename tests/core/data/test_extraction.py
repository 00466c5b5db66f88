from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from fusion import Extractor, Recording
from fusion.cache.builds.work import BatchComputation
from fusion.cache.builds.workers import process_pool
from fusion.core.contracts.errors import (
    MissingModalityError,
    ParameterError,
    PluginError,
    RecordingError,
)
from fusion.core.data.extraction import (
    Extraction,
    computation_of,
    extract_all,
    fingerprint_of,
    make_extractor,
    origin_of,
    recording_at,
    works_in_batches,
)
from fusion.core.registry.registry import load_file

PLUGIN = """
import numpy as np
from fusion import Extractor


class Constant(Extractor):
    name = "constant"
    shape = (2,)

    def __init__(self, *, factor: float = 1.0) -> None:
        self.factor = factor

    def extract(self, recording):
        return np.full(2, {value} * self.factor)
"""


def constant(path: Path, value: float, **passed: str) -> Extraction:
    path.write_text(PLUGIN.format(value=value))
    return Extraction.of(make_extractor(load_file(str(path)).Constant, passed))


def first(extraction: Extraction) -> float:
    return float(extraction.compute(Recording(Path("x")))[0])


def test_a_running_worker_notices_that_a_plugin_was_edited(tmp_path: Path) -> None:
    """Arrays of the old code must never be stored under the new fingerprint."""
    path = tmp_path / "mine.py"
    with process_pool(1) as pool:
        one = constant(path, 1.0)
        assert pool.submit(first, one).result() == 1.0
        two = constant(path, 2.0)
        assert two.fingerprint != one.fingerprint
        assert pool.submit(first, two).result() == 2.0
        # Features requested before the edit can no longer be computed.
        with pytest.raises(PluginError, match=r"libraries.mine.py .* instead of"):
            pool.submit(first, one).result()
    assert first(two) == 2.0


def test_a_worker_with_other_library_versions_computes_nothing(tmp_path: Path) -> None:
    wanted = constant(tmp_path / "mine.py", 1.0, factor="2")
    assert first(wanted) == 2.0
    created = wanted.fingerprint
    other = replace(created, libraries={**created.libraries, "librosa": "0.1"})
    with pytest.raises(PluginError, match=r"libraries.librosa \(absent\) instead of 0.1"):
        first(replace(wanted, fingerprint=other))


def test_storage_dtype(tmp_path: Path) -> None:
    cls = load_file(str(_written(tmp_path / "mine.py", 70000.0))).Constant
    half = make_extractor(cls, {}, "float16")
    assert fingerprint_of(half).dtype == "float16"
    assert fingerprint_of(half) != fingerprint_of(make_extractor(cls, {}))
    small = make_extractor(cls, {"factor": "0.5"}, "float16")
    array = Extraction.of(small).compute(Recording(Path("x")))
    assert array.dtype == np.float16
    assert array.tolist() == [35008.0, 35008.0]  # the nearest float16 value
    with pytest.raises(PluginError, match=r"values up to 7e\+04, which float16 can't hold"):
        Extraction.of(half).compute(Recording(Path("x")))
    expected = "'int8' can't be stored. Accepted: float16, float32, float64"
    with pytest.raises(ParameterError, match=expected):
        make_extractor(cls, {}, "int8")


def _written(path: Path, value: float) -> Path:
    path.write_text(PLUGIN.format(value=value))
    return path


@pytest.mark.parametrize(
    ("recording", "origin"),
    [
        (Recording(Path("/a/b.wav")), "/a/b.wav"),
        (Recording(Path("/a/b.wav"), 1.5, 3), "/a/b.wav#t=1.5,3.0"),
        (Recording(Path("/a/b.wav"), 0.1), "/a/b.wav#t=0.1,"),
        (Recording(Path("/a/b#t=1,2")), "/a/b#t=1,2#t=0.0,"),
    ],
)
def test_origins_survive_conversion_to_text(recording: Recording, origin: str) -> None:
    assert origin_of(recording) == origin
    assert recording_at(origin) == recording


# -- batches -------------------------------------------------------------------------


class Length(Extractor):
    """Extractor for the length of file names, in batches; `seen` keeps the batches."""

    name = "length"
    shape = (1,)
    batch = 3

    def __init__(self) -> None:
        self.seen: list[list[str]] = []

    def extract_many(self, recordings):
        names = [recording.path.name for recording in recordings]
        self.seen.append(names)
        if "crash" in names:
            raise ZeroDivisionError("crash")
        result = [np.float32([len(name)]) for name in names]
        for index, name in enumerate(names):
            if name == "bad":
                result[index] = RecordingError("bad: can't be read")
            elif name == "none":
                result[index] = MissingModalityError("none: has no length")
            elif name == "wide":
                result[index] = np.float32([1, 2])
        return result


class Twice(Length):
    """Extractor that overrides only `extract`, to change the arrays of another one."""

    def extract(self, recording):
        return 2 * super().extract(recording)


class Short(Length):
    def extract_many(self, recordings):
        return super().extract_many(recordings)[: max(1, len(recordings) - 1)]


def recordings(*names: str) -> list[Recording]:
    return [Recording(Path(name)) for name in names]


def told(result: list[object]) -> list[object]:
    return [
        f"{type(one).__name__}: {one}" if isinstance(one, Exception) else one.tolist()
        for one in result
    ]


def test_extract_is_derived_from_extract_many() -> None:
    assert Length().extract(Recording(Path("abc"))).tolist() == [3]
    with pytest.raises(RecordingError, match="bad: can't be read"):
        Length().extract(Recording(Path("bad")))
    with pytest.raises(NotImplementedError, match="Extractor has no method extract"):
        Extractor().extract(Recording(Path("abc")))


def test_extract_many_is_derived_from_extract(tmp_path: Path) -> None:
    class Single(Extractor):
        shape = (1,)

        def extract(self, recording):
            if recording.path.name == "bad":
                raise RecordingError("bad")
            return np.float32([len(recording.path.name)])

    result = Single().extract_many(recordings("a", "bad", "abc"))
    assert told(result) == [[1], "RecordingError: bad", [3]]
    assert not works_in_batches(Single())


def test_failures_in_batches_are_returned_for_each_recording() -> None:
    extractor = Length()
    result = extract_all(extractor, recordings("a", "bad", "none", "ab", "wide", "abc", "abcd"))
    assert told(result) == [
        [1],
        "RecordingError: bad: can't be read",
        "MissingModalityError: none: has no length",
        [2],
        "PluginError: Extractor 'length' declares arrays of shape (1,), but returned one of shape "
        "(2,).\n  hint: Set self.shape in __init__ to the shape that extract() returns.",
        [3],
        [4],
    ]
    assert [len(batch) for batch in extractor.seen] == [3, 3, 1]


def test_a_crash_in_a_batch_is_attributed_to_one_recording() -> None:
    extractor = Length()
    result = extract_all(extractor, recordings("a", "crash", "abc", "abcd"))
    assert told(result) == [[1], "ZeroDivisionError: crash", [3], [4]]
    assert extractor.seen == [["a", "crash", "abc"], ["a"], ["crash"], ["abc"], ["abcd"]]


def test_an_extractor_that_overrides_only_extract_is_not_batched() -> None:
    """Batches would return the arrays of the base class."""
    assert works_in_batches(Length())
    assert not works_in_batches(Twice())
    assert told(extract_all(Twice(), recordings("a", "bad", "abc"))) == [
        [2],
        "RecordingError: bad: can't be read",
        [6],
    ]
    assert Extraction.of(Twice()).batch == 1


def test_a_batch_with_too_few_results_is_an_error_of_the_plugin() -> None:
    result = told(extract_all(Short(), recordings("a", "b", "c", "abcd")))
    assert result[3] == [4]
    assert len(set(result[:3])) == 1
    assert "PluginError: Extractor 'length' was given a batch of 3 recordings" in result[0]


def test_batch_size_and_processes_are_passed_to_the_cache() -> None:
    class Alone(Length):
        processes = 1

    computation = computation_of(Alone())
    assert isinstance(computation, BatchComputation)
    assert (computation.batch, computation.processes) == (3, 1)
    computation = computation_of(make_extractor(Length, {}))
    assert (computation.batch, computation.processes) == (3, None)
    assert told(computation.compute_many(recordings("ab", "bad"))) == [
        [2],
        "RecordingError: bad: can't be read",
    ]


def test_the_identity_decides_the_fingerprint_and_resolved_parameters_are_kept() -> None:
    class Named(Length):
        def __init__(self, *, file: str = "x", threads: int = 1) -> None:
            self.parameters = {"file": f"/absolute/{file}"}

        def identity(self):
            return {"file": "digest"}

    one, two = (make_extractor(Named, passed) for passed in ({"file": "a"}, {"threads": "4"}))
    assert one.parameters == {"file": "/absolute/a", "threads": 1}
    assert fingerprint_of(one) == fingerprint_of(two)
    assert fingerprint_of(one).parameters == {"file": "digest"}


def test_an_added_parameter_at_its_default_does_not_change_the_fingerprint() -> None:
    """Older features and runs keep their fingerprints."""

    class Before(Length):
        def __init__(self, *, factor: float = 2.0) -> None:
            super().__init__()

    class After(Length):
        added_parameters: ClassVar = {"exact": False}

        def __init__(self, *, factor: float = 2.0, exact: bool = False) -> None:
            super().__init__()

    before, after = make_extractor(Before, {}), make_extractor(After, {})
    assert fingerprint_of(after).canonical() == fingerprint_of(before).canonical()
    spelt_out = make_extractor(After, {"exact": "no"})
    assert fingerprint_of(spelt_out) == fingerprint_of(before)
    assert after.parameters == {"factor": 2.0, "exact": False}
    other = fingerprint_of(make_extractor(After, {"exact": "yes"}))
    assert other.parameters == {"factor": 2.0, "exact": True}
    # The new class can be created from the parameters of an older fingerprint.
    again = make_extractor(After, fingerprint_of(before).parameters)
    assert fingerprint_of(again) == fingerprint_of(before)


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_a_length_that_is_not_above_zero_is_an_error_of_the_plugin(seconds: float) -> None:
    class Limited(Extractor):
        name = "limited"
        shape = (1,)

        def __init__(self, *, length: float = 1.0) -> None:
            self.seconds = length

    with pytest.raises(PluginError, match="'limited' declares seconds="):
        make_extractor(Limited, {"length": seconds})
    assert make_extractor(Limited, {}).seconds == 1.0
