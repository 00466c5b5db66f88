from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fusion import Recording
from fusion.cache.workers import process_pool
from fusion.core.errors import ParameterError, PluginError
from fusion.core.extraction import (
    Extraction,
    fingerprint_of,
    make_extractor,
    origin_of,
    recording_at,
)
from fusion.core.registry import load_file

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


def constant(path: Path, value: float, **given: str) -> Extraction:
    path.write_text(PLUGIN.format(value=value))
    return Extraction.of(make_extractor(load_file(str(path)).Constant, given))


def first(extraction: Extraction) -> float:
    return float(extraction.compute(Recording(Path("x")))[0])


def test_a_worker_that_lives_long_sees_that_a_plugin_was_edited(tmp_path: Path) -> None:
    """What it would make with the old code must never be stored under the new fingerprint."""
    path = tmp_path / "mine.py"
    with process_pool(1) as pool:
        one = constant(path, 1.0)
        assert pool.submit(first, one).result() == 1.0
        two = constant(path, 2.0)
        assert two.fingerprint != one.fingerprint
        assert pool.submit(first, two).result() == 2.0
        # And what was asked for before the edit can't be made any more.
        with pytest.raises(PluginError, match=r"libraries.mine.py .* instead of"):
            pool.submit(first, one).result()
    assert first(two) == 2.0


def test_a_worker_with_other_libraries_makes_nothing(tmp_path: Path) -> None:
    wanted = constant(tmp_path / "mine.py", 1.0, factor="2")
    assert first(wanted) == 2.0
    made = wanted.fingerprint
    other = replace(made, libraries={**made.libraries, "librosa": "0.1"})
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
    assert array.tolist() == [35008.0, 35008.0]  # the nearest that float16 has
    with pytest.raises(PluginError, match=r"values up to 7e\+04, which float16 can't hold"):
        Extraction.of(half).compute(Recording(Path("x")))
    with pytest.raises(ParameterError, match="float16, float32, float64, not as 'int8'"):
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
def test_origins(recording: Recording, origin: str) -> None:
    assert origin_of(recording) == origin
    assert recording_at(origin) == recording
