"""Recordings that extractors are tried on, and comparisons of what they give."""

from typing import ClassVar

import numpy as np
from suites import failures

from fusion import Extractor, Recording
from fusion.core.contracts.errors import RecordingError
from fusion.testing import ExtractorSuite

CHECKS = {name for name in dir(ExtractorSuite) if name.startswith("test_")}
QUICK = CHECKS - {"test_fresh_process_same_bits"}  # a second of imports each


class Lookup(Extractor):
    """Right: what a table says of a file's name."""

    name = "lookup"
    table: ClassVar = {"a.txt": [1.0, 2.0], "b.txt": [3.0, 4.0]}

    def __init__(self):
        self.shape = (2,)

    def extract(self, recording):
        if recording.path.name not in self.table:
            raise RecordingError(f"{recording.path} is not in the table.")
        return np.array(self.table[recording.path.name])


def test_recordings_that_are_no_sound(tmp_path):
    given = [tmp_path / "a.txt", Recording(tmp_path / "b.txt")]
    for recording in ("a.txt", "b.txt"):
        (tmp_path / recording).touch()
    assert failures(ExtractorSuite, Lookup, recordings=given, only=QUICK) == {}
    assert "not in the table" in failures(ExtractorSuite, Lookup, only=QUICK)["test_array"]
