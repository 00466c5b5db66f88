"""Peak memory of a training, and reuse of freed memory."""

import ctypes
import json
import resource
import subprocess
import sys

import pytest
import torch

from fusion.core.training.hardware.memory import PeakMemory, keep_freed_memory

CPU = torch.device("cpu")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a process's peak")
def test_the_peak_is_measured_from_the_start():
    size = 60_000_000
    before = torch.ones(size)  # 240 MB, freed before the measurement begins
    del before
    quiet = PeakMemory(CPU)
    first = quiet.bytes()
    busy = PeakMemory(CPU)
    contents = torch.ones(size)
    del contents
    second = busy.bytes()
    assert first is not None and second is not None
    assert second - first == pytest.approx(4 * size, rel=0.1)


def test_the_peak_is_unknown_if_the_system_can_not_reset_it(monkeypatch, tmp_path):
    # A folder can't be written to.
    monkeypatch.setattr("fusion.core.training.hardware.memory._CLEAR", tmp_path)
    assert PeakMemory(CPU).bytes() is None


MEASURED = """
import json, resource, torch
from fusion.core.training.hardware.memory import keep_freed_memory

def faults_and_rest():
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    resident = held()
    for _ in range(20):
        torch.ones(10_000_000)  # 40 MB, beyond what the C library keeps by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults, held() - resident

def held():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

torch.ones(10)
before = faults_and_rest()
keep_freed_memory()
first = faults_and_rest()  # in which the heap grows to its size
print(json.dumps([before, first, faults_and_rest()]))
"""


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"),
    reason="the C library is not GNU's",
)
def test_freed_memory_is_kept_and_its_pages_are_fetched_once():
    """Runs in another process, because a process keeps its memory until it ends."""
    result = subprocess.run([sys.executable, "-c", MEASURED], check=True, text=True,
                           capture_output=True)  # fmt: skip
    (returned, rest), (_, more), (stored, _) = json.loads(result.stdout)
    size = 40_000_000
    pages = 20 * size // resource.getpagesize()
    # Huge pages reduce the number of faults.
    assert stored < 0.1 * min(returned, pages)
    assert rest < 0.1 * size < 0.9 * size < more


class Library:
    """A C library that records calls of mallopt."""

    def __init__(self):
        self.asked = {}

    def mallopt(self, parameter, value):
        self.asked[parameter] = value


@pytest.mark.parametrize(
    ("platform", "requested"),
    # M_MMAP_MAX, M_TRIM_THRESHOLD and M_TOP_PAD of malloc.h: no block is outside the heap; the heap
    # keeps up to 2 GiB at its end and grows by 64 MiB.
    [("linux", {-4: 0, -1: 2**31 - 1, -2: 2**26}), ("darwin", {}), ("win32", {})],
)
def test_the_c_library_is_configured_on_linux_only(monkeypatch, platform, requested):
    library = Library()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    monkeypatch.setattr(sys, "platform", platform)
    keep_freed_memory()
    assert library.asked == requested


def test_a_c_library_other_than_gnu_is_not_configured(monkeypatch):
    """Musl has no mallopt; any other call would be unknown to this C library."""
    opened = []

    def other(name):
        opened.append(name)
        return object()

    monkeypatch.setattr(ctypes, "CDLL", other)
    monkeypatch.setattr(sys, "platform", "linux")
    keep_freed_memory()
    assert opened == [None]


def test_the_peak_on_a_gpu_is_that_of_the_gpu(monkeypatch):
    card, calls = torch.device("cuda", 1), []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", calls.append)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: [device, 123])
    peak = PeakMemory(card)
    assert calls == [card] and peak.bytes() == [card, 123]
