"""What all benchmarks here share: calls timed in turn, figures kept in a file, what else runs."""

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
    """Median seconds of each call, taken in turn so that what else the machine does hits all.

    Give ``time.process_time`` as the clock where all is computed by one thread of this process:
    on a busy machine long calls wait for their turn and short ones do not, and that does not
    show in processor time.
    """
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(warm + rounds):
        for name, call in calls.items():
            started = clock()
            call()
            if number >= warm:
                taken[name].append(clock() - started)
    return {name: statistics.median(times) for name, times in taken.items()}


def machine() -> dict[str, Any]:
    """Where figures come from, and how busy it was when they were taken."""
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
    """A sentence if other programs compute as well, else nothing."""
    load, cores = machine()["load"], os.cpu_count() or 1
    if load is None or load < 0.5 * cores:
        return ""
    return f"The machine is busy (load {load:g} on {cores} cores): take ratios with care."


def keep(figures: Mapping[str, Any], path: Path) -> None:
    """Figures in a JSON file, with the machine they are from."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"machine": machine(), **figures}, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
