"""Compilation by numba, and the compiled matrix of L1 distances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
import numpy.typing as npt

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Return a version of `function` that numba compiles at its first call.

    Compilation takes seconds; numba caches the machine code on disk. The compiler may reorder the
    terms of floating-point sums, because sums in a fixed order can't be vectorised.
    """
    options: dict[str, Any] = {"nogil": True, "fastmath": {"reassoc"}}
    try:
        result = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither the source folder nor the user's cache folder is writable
        result = numba.njit(**options)(function)
    return result  # type: ignore[no-any-return]


@compiled
def cityblock(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the (t, t) L1 distances between the rows of `x`, (t, bands)."""
    t, bands = x.shape
    distances = np.zeros((t, t))
    for i in range(t):
        for j in range(i):
            total = 0.0
            for k in range(bands):
                total += abs(x[i, k] - x[j, k])
            distances[i, j] = distances[j, i] = total
    return distances
