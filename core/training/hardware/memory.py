"""Peak memory of a training, and reuse of freed memory on a CPU."""

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
    (-4, 0),  # M_MMAP_MAX: allocate large blocks on the heap, too
    (-1, 2**31 - 1),  # M_TRIM_THRESHOLD: never return freed memory of the heap
    (-2, 2**26),  # M_TOP_PAD
)


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, for reuse in the next step.

    Every step on a CPU allocates large tensors of the same sizes. If freed memory is returned to
    the operating system, every page is allocated and cleared again in the next step. The extra
    work takes up to a fifth of a step. Call this function only in processes that do no other work
    than training, because these processes hold their memory until they end. The function has an
    effect only with GNU's C library.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return
    for parameter, value in _KEEP:
        mallopt(parameter, value)


class PeakMemory:
    """Peak memory since the creation of this object.

    On CUDA the figure is the memory of the device, otherwise the memory of this process. Only
    Linux can reset the peak of a process. On other systems the figure is None, because the peak
    would include earlier trainings of the same process.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._measurable = True
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            try:
                _CLEAR.write_text(_RESET_PEAK)
            except OSError:
                self._measurable = False

    def bytes(self) -> int | None:
        """Return the peak memory so far in bytes; None if the system can't measure it."""
        if not self._measurable:
            return None
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return None
