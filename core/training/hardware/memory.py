"""The most memory that a training takes."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # see proc(5)

# See mallopt(3) and malloc.h of the GNU C library: parameter, value.
_KEEP = (
    (-4, 0),  # M_MMAP_MAX: large blocks too come from the heap
    (-1, 2**31 - 1),  # M_TRIM_THRESHOLD: and stay in it
    (-2, 2**26),  # M_TOP_PAD
)


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, for its next step.

    A step on a CPU allocates the same large tensors again and again. Handed back to the system
    in between, every page of them is fetched and cleared anew: up to a fifth of a step, as luck
    places them. For processes that only train: what they once had they keep until they end. Does
    nothing where the C library is not GNU's.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return
    for parameter, value in _KEEP:
        mallopt(parameter, value)


class PeakMemory:
    """Measures from its making on: of the device where it has memory of its own, else of this
    process.

    Linux can forget a process's peak; on other systems the figure of a process is unknown,
    because earlier trainings of the same process would show in it.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._known = True
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            try:
                _CLEAR.write_text(_RESET_PEAK)
            except OSError:
                self._known = False

    def bytes(self) -> int | None:
        """The peak so far; None where it can't be known."""
        if not self._known:
            return None
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return None
