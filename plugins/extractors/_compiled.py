"""Functions that numba compiles, and one distance that is slow without it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
import numpy.typing as npt

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """The function as machine code, made at its first call (seconds) and kept on disk.

    Sums may be taken in another order, which is what makes them fast.
    """
    options: dict[str, Any] = {"nogil": True, "fastmath": {"reassoc"}}
    try:
        made = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither beside the file nor in the user's cache folder can it be kept
        made = numba.njit(**options)(function)
    return made  # type: ignore[no-any-return]


@compiled
def cityblock(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(t, bands) -> (t, t) L1 distances."""
    t, bands = x.shape
    distances = np.zeros((t, t))
    for i in range(t):
        for j in range(i):
            total = 0.0
            for k in range(bands):
                total += abs(x[i, k] - x[j, k])
            distances[i, j] = distances[j, i] = total
    return distances
