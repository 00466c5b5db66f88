"""Time and memory of a call of a plugin, measured for its author and not judged."""

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
    """One call.

    Attributes
    ----------
    what : str
        What was called, on how much.
    seconds : float
        Of one call: the median of several.
    bytes : int or None
        The most memory that was taken at a time beyond what was there before; None where it was
        not measured.
    note : str
        What else is to be said, such as what it would be without the plugin.
    """

    what: str
    seconds: float
    bytes: int | None = None
    note: str = ""


def seconds_of(call: Callable[[], object], *, times: int = 5) -> float:
    """Median of several calls, after one that is not counted."""
    call()
    return statistics.median(timeit.repeat(call, number=1, repeat=times))


def tensor_bytes(call: Callable[[], object]) -> int | None:
    """The most that tensors on the CPU made during the call took at a time."""
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
    taken = most = 0
    for _, change in sorted(changes, key=lambda pair: pair[0]):
        taken += change
        most = max(most, taken)
    return most or None


def python_bytes(call: Callable[[], object]) -> int:
    """The most that Python's objects and numpy's arrays took at a time during the call."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Some builds of the profiler write lines of their own to standard error."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
