"""Start-up time of the command line. Run with ``pytest benchmarks/test_start.py -s``.

``python benchmarks/start.py --imports`` prints the time of the imports.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import start
from timing import busy


def test_commands_and_a_run_on_a_warm_cache(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start.heavy_after(start.REGISTRY) == []
    assert start.heavy_after(start.TRAINING) == []
    run = start.runs(1, tmp_path)
    seconds = start.commands(3, tmp_path)
    with capsys.disabled():
        print("\n" + busy())
        for name, took in seconds.items():
            print(f"  {name:<24}{took:6.2f} s")
        print(f"  fusion run, warm cache: first step after {run['first step']:.2f} s")
