"""Fixture: recordings, and features of them from another program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cache_computations import array_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six recordings, and a .npy file for each."""
    for n in range(6):
        (tmp_path / f"{n}.wav").write_bytes(b"sound %d" % n)
        np.save(tmp_path / f"{n}.npy", array_of(n))
    return tmp_path
