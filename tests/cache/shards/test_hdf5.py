"""HDF5 files written in memory: alignment, times, texts, and failures."""

from __future__ import annotations

import hashlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from fusion.cache.shards.hdf5 import hdf5_written_whole, text_column


def made(path: Path, large: int, length: int) -> int:
    """Write a dataset and return its offset in the file."""
    with hdf5_written_whole(path, large=large) as file:
        file.create_dataset("small", data=np.zeros(3, "u1"), track_times=False)
        file.create_dataset("data", data=np.arange(length), track_times=False)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["data"][:], np.arange(length))
        return int(file["data"].id.get_offset())


@pytest.mark.parametrize(("large", "step"), [(0, 8), (4095, 8), (4096, 4096), (8000, 4096)])
def test_large_datasets_are_aligned_to_pages(tmp_path: Path, large: int, step: int) -> None:
    assert made(tmp_path / "x.h5", large, 1000) % step == 0


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    """Files contain neither times nor addresses, so two machines write equal files."""
    for name in ("a", "b"):
        made(tmp_path / name, 4096, 600)
    raw = [(tmp_path / name).read_bytes() for name in ("a", "b")]
    assert raw[0] == raw[1]


def test_times_are_set_before_the_file_appears(tmp_path: Path) -> None:
    times = 1_600_000_000_123_456_789, 1_500_000_000_987_654_321
    with hdf5_written_whole(tmp_path / "x.h5", times=times) as file:
        file.attrs["a"] = 1
        assert list(tmp_path.iterdir()) == []  # the file is in memory
    status = (tmp_path / "x.h5").stat()
    assert (status.st_atime_ns, status.st_mtime_ns) == times


def test_a_failure_keeps_the_previous_file(tmp_path: Path) -> None:
    made(tmp_path / "x.h5", 0, 10)
    before = hashlib.sha256((tmp_path / "x.h5").read_bytes()).digest()
    with pytest.raises(ZeroDivisionError), hdf5_written_whole(tmp_path / "x.h5") as file:
        file.attrs["a"] = 1 / 0
    assert [path.name for path in tmp_path.iterdir()] == ["x.h5"]
    assert hashlib.sha256((tmp_path / "x.h5").read_bytes()).digest() == before


def test_text_columns() -> None:
    column = text_column(["", "é", "a\0b", "\udcff"])
    assert column.tolist() == [b"", "é".encode(), b"ab", b"?"]
    assert text_column(["", ""]).dtype == np.dtype("S1")
