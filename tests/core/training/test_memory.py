import ctypes
import resource
import subprocess
import sys

import pytest
import torch

from fusion.core.training.memory import PeakMemory, keep_freed_memory

CPU = torch.device("cpu")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a process's peak")
def test_the_peak_is_of_what_came_after_the_start():
    size = 60_000_000
    before = torch.ones(size)  # 240 MB, gone before the measurement begins
    del before
    quiet = PeakMemory(CPU)
    first = quiet.bytes()
    busy = PeakMemory(CPU)
    held = torch.ones(size)
    del held
    second = busy.bytes()
    assert first is not None and second is not None
    assert second - first == pytest.approx(4 * size, rel=0.1)


def test_unknown_where_the_system_can_not_forget(monkeypatch, tmp_path):
    monkeypatch.setattr("fusion.core.training.memory._CLEAR", tmp_path)  # a folder can't be written
    assert PeakMemory(CPU).bytes() is None


FAULTS = """
import resource, sys, torch
from fusion.core.training.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(10_000_000)  # 40 MB, beyond what the C library keeps by itself
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not GNU's")
def test_pages_are_fetched_once():
    faults = {
        how: int(subprocess.run([sys.executable, "-c", FAULTS, how], check=True, text=True,
                                capture_output=True).stdout)
        for how in ("keep", "return")
    }  # fmt: skip
    pages = 20 * 40_000_000 // resource.getpagesize()
    # Kept, the first of them find no place at once, and with huge pages there are fewer.
    assert faults["keep"] < 0.5 * min(faults["return"], pages)


def test_without_gnu_the_memory_is_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    keep_freed_memory()
