"""Time of a build by two processes relative to one.

Run with ``pytest benchmarks/test_workers.py -s``. ``python benchmarks/workers.py --jobs 2,4,16``
measures further numbers of processes.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import workers
from timing import busy

from fusion.cache.builds.workers import available_cores


def test_two_processes_against_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if available_cores() < 2:
        pytest.skip("this process may run on one core only")
    paths = workers.paths_for(tmp_path, 96)
    figures = workers.measure(2, paths, rounds=3, folder=tmp_path)
    with capsys.disabled():
        print("\n" + "\n".join(filter(None, [busy(), workers.line(figures)])))
    # Workers write arrays to shards and do not return them: 96 mel images alone would be 12 MB.
    assert figures["largest result in bytes"] < 2000
