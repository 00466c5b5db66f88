"""Helpers of all benchmarks: alternating timing, storage of figures, and the machine's load."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Calls = Mapping[str, Callable[[], object]]


def in_turn(
    calls: Calls, rounds: int, warm: int = 1, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Return the median seconds of each call; calls alternate, so that other load affects all.

    Use ``time.process_time`` as the clock if one thread of this process does all the work: on a
    busy machine only long calls wait for the processor, and processor time excludes the waiting.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(warm + rounds):
        for name, call in calls.items():
            started = clock()
            call()
            if number >= warm:
                seconds[name].append(clock() - started)
    return {name: statistics.median(times) for name, times in seconds.items()}


def machine() -> dict[str, Any]:
    """Return a description of the machine and its current load."""
    names = [
        line.partition(":")[2].strip()
        for line in _lines(Path("/proc/cpuinfo"))
        if line.startswith("model name")
    ]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def busy() -> str:
    """Return a warning if other programs use the processor, otherwise an empty text."""
    load, cores = machine()["load"], os.cpu_count() or 1
    if load is None or load < 0.5 * cores:
        return ""
    return f"The machine is busy (load {load:g} on {cores} cores): ratios are imprecise."


def keep(figures: Mapping[str, Any], path: Path) -> None:
    """Write figures and a description of the machine to a JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"machine": machine(), **figures}, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
