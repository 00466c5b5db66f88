"""Measurement of time and memory of a plugin's calls, for information: no check has a limit."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import sys
import tempfile
import timeit
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of one call of a plugin.

    Attributes
    ----------
    what : str
        The call and the amount of data.
    seconds : float
        Time of one call: the median of several calls.
    bytes : int or None
        Peak memory beyond the memory in use before the call; None if not measured.
    note : str
        Additional information, such as the time without the plugin.
    """

    what: str
    seconds: float
    bytes: int | None = None
    note: str = ""


def seconds_of(call: Callable[[], object], *, times: int = 5) -> float:
    """Return the median time of several calls, after one call that is not counted."""
    call()
    return statistics.median(timeit.repeat(call, number=1, repeat=times))


def tensor_bytes(call: Callable[[], object]) -> int | None:
    """Return the peak memory of the CPU tensors that a call creates; None if it creates none."""
    from torch.profiler import ProfilerActivity, profile

    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder, "trace.json")
        with _silent(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as measured:
            call()
        measured.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8", errors="replace"))["traceEvents"]
    changes = [
        (event["ts"], event["args"]["Bytes"])
        for event in events
        if event.get("name") == "[memory]" and event["args"].get("Device Type") == 0
    ]
    current = peak = 0
    for _, change in sorted(changes, key=lambda pair: pair[0]):
        current += change
        peak = max(peak, current)
    return peak or None


def python_bytes(call: Callable[[], object]) -> int:
    """Return the peak memory of the Python objects and numpy arrays that a call creates."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Discard standard error, to which some builds of the profiler write log lines."""
    sys.stderr.flush()
    original = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(original, 2)
        os.close(original)
        os.close(nowhere)
