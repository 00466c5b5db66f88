"""Files of strangers: refused before their data are read, whatever reads them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from cache_upkeep import fill
from places import with_helpers

from fusion.cache import FeatureCache
from fusion.cache.errors import CacheError
from fusion.cache.exchange.source_hdf5 import from_hdf5
from fusion.cache.guarded_arrays import (
    LIMIT,
    UnsafeFileError,
    attribute_of,
    dataset_of,
    is_npz,
    open_hdf5,
    open_npy,
    read_npz,
)
from fusion.cache.upkeep.gc import collect
from fusion.cache.upkeep.verify import verify

TERABYTES = 1 << 43


def virtual(file: h5py.File) -> None:
    """Write a virtual dataset of itself: reading it ends the process."""
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource(".", "data", (4,))
    file.create_virtual_dataset("data", layout)


def external(file: h5py.File) -> None:
    file.create_dataset("data", (4,), "f4", external=[("/dev/zero", 0, 16)])


def soft_link(file: h5py.File) -> None:
    file["real"] = np.zeros(4, "f4")
    file["data"] = h5py.SoftLink("/real")


def external_link(file: h5py.File) -> None:
    file["data"] = h5py.ExternalLink("/etc/other.h5", "/data")


def unallocated(file: h5py.File) -> None:
    file.create_dataset("data", (TERABYTES,), "u1")


def sparse(file: h5py.File) -> None:
    file.create_dataset("data", (TERABYTES,), "u1", chunks=(1 << 20,))


def overflowing(file: h5py.File) -> None:
    """Write a shape whose number of bytes overflows 64 bits."""
    file.create_dataset("data", (1 << 33, 1 << 33), "f8", chunks=(1, 1))


def bomb(file: h5py.File) -> None:
    """Write zeros of twice the limit, which deflate to a thousandth."""
    data = file.create_dataset("data", (2, LIMIT), "u1", chunks=(1, LIMIT), compression="gzip")
    data[0] = 0


def objects(file: h5py.File) -> None:
    file.create_dataset("data", (4,), h5py.vlen_dtype("f4"))


def group(file: h5py.File) -> None:
    file.create_group("data")


HOSTILE = [virtual, external, soft_link, external_link, unallocated, sparse, overflowing, bomb,
           objects, group]  # fmt: skip


@pytest.fixture(params=HOSTILE, ids=lambda make: make.__name__)
def hostile(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "hostile.h5"
    with h5py.File(path, "w") as file:
        request.param(file)
        file["keys"] = np.array([b"a", b"b", b"c", b"d"])
    return path


def test_a_hostile_dataset_is_refused(hostile: Path) -> None:
    with open_hdf5(hostile) as file, pytest.raises(UnsafeFileError, match="data"):
        dataset_of(file, "data")


def test_a_hostile_file_is_not_imported(hostile: Path) -> None:
    with pytest.raises(CacheError), from_hdf5(hostile, "data", "data", hostile.parent):
        pass


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_a_hostile_shard_is_named_and_its_items_are_missing(
    tmp_path: Path, make: Callable[[h5py.File], None]
) -> None:
    cache = FeatureCache(tmp_path)
    feature = fill(cache, shards=2)
    path = sorted(cache.folder(feature).glob("*.h5"))[0]
    with h5py.File(path, "r+") as file:
        del file["data"]
        make(file)
    fresh = FeatureCache(tmp_path)
    assert len(fresh.catalogue(feature).files) == 1
    assert [problem.path for problem in fresh.problems] == [path]
    assert not verify(fresh).fine


def test_plain_datasets_are_read(tmp_path: Path) -> None:
    values = np.arange(2000, dtype="f4")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["plain"] = values
        file.create_dataset("packed", data=values, compression="gzip", shuffle=True)
        file["texts"] = ["a", "ä"]
        file.attrs["name"] = np.bytes_(b"x")
        file.attrs["text"] = "of variable length"
    with open_hdf5(tmp_path / "a.h5") as file:
        for name in ("plain", "packed"):
            np.testing.assert_array_equal(dataset_of(file, name)[:], values)
        assert dataset_of(file, "texts", texts=True).shape == (2,)
        with pytest.raises(UnsafeFileError, match="filter 1"):
            dataset_of(file, "packed", {2})
        with pytest.raises(KeyError):
            dataset_of(file, "other")
        assert attribute_of(file, "name") == b"x"
        assert attribute_of(file, "other") is None
        with pytest.raises(UnsafeFileError, match="'text' holds object"):
            attribute_of(file, "text")


def test_many_references_to_one_long_text_are_refused(tmp_path: Path) -> None:
    """A text of 4 MB, 256 times: more than the limit, from a file of 4 MB."""
    path = tmp_path / "texts.h5"
    text = "x" * (4 << 20)
    with h5py.File(path, "w") as file:
        file["data"] = np.zeros(256, "f4")
        paths = file.create_dataset("paths", (256,), h5py.string_dtype())
        paths[0] = text
    raw = bytearray(path.read_bytes())
    with h5py.File(path, "r") as file:
        start = file["paths"].id.get_offset()
    for row in range(1, 256):  # all rows refer to the first text
        raw[start + 16 * row : start + 16 * (row + 1)] = raw[start : start + 16]
    path.write_bytes(raw)
    with (
        pytest.raises(CacheError, match="longer than its file allows"),
        from_hdf5(path, "data", "data", tmp_path),
    ):
        pass


# -- special files -------------------------------------------------------------------

COMMANDS = """
import sys
from pathlib import Path
from fusion.cache import FeatureCache
from fusion.cache.upkeep.gc import collect
from fusion.cache.upkeep.verify import verify
cache = FeatureCache(sys.argv[1])
feature, = cache.features()
print(len(cache.catalogue(feature)), cache.info()[0].items, verify(cache).fine)
collect(cache, {})
print(*[problem.path.name for problem in cache.problems])
"""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "self-link"])
def test_no_command_waits_for_a_file_that_is_not_regular(tmp_path: Path, kind: str) -> None:
    cache = FeatureCache(tmp_path / "cache")
    feature = fill(cache, shards=1, size=3)
    odd = cache.folder(feature) / "x.h5"
    if kind == "pipe":
        os.mkfifo(odd)
    elif kind == "device":
        odd.symlink_to("/dev/zero")
    elif kind == "folder":
        odd.mkdir()
    else:
        odd.symlink_to(odd)
    result = subprocess.run(
        [sys.executable, "-c", COMMANDS, str(cache.root)],
        capture_output=True, text=True, timeout=120, env=with_helpers(),
    )  # fmt: skip
    assert result.stdout.split() == ["3", "3", "False", "x.h5"], result.stderr


# -- NumPy ---------------------------------------------------------------------------


def claiming(shape: tuple[int, ...], data: bytes = b"", descr: str = "<f8") -> bytes:
    """Return a .npy file whose header claims a shape."""
    stream = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + data


@pytest.mark.parametrize("shape", [(TERABYTES,), (1 << 40, 1 << 40), (3,)])
@pytest.mark.parametrize("mapped", [True, False])
def test_a_npy_file_that_is_too_short_is_refused(
    tmp_path: Path, shape: tuple[int, ...], mapped: bool
) -> None:
    (tmp_path / "a.npy").write_bytes(claiming(shape, bytes(16)))
    with pytest.raises(UnsafeFileError, match="claims"):
        open_npy(tmp_path / "a.npy", mapped=mapped)


def test_arrays_of_numpy_are_read(tmp_path: Path) -> None:
    array = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    np.save(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(open_npy(tmp_path / "a.npy", mapped=True), array)
    np.savez(tmp_path / "b.npz", x=array, name=np.array("text"))
    arrays = read_npz(tmp_path / "b.npz")
    np.testing.assert_array_equal(arrays["x"], array)
    assert str(arrays["name"]) == "text"
    assert is_npz(tmp_path / "b.npz") and not is_npz(tmp_path / "a.npy")


def test_hostile_archives_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", claiming((TERABYTES,)))
    with pytest.raises(UnsafeFileError, match="claims"):
        read_npz(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(LIMIT + 1))
    with pytest.raises(UnsafeFileError, match="entries claim"):
        read_npz(path)
    np.savez(path, x=np.array([{}], dtype=object))
    with pytest.raises(UnsafeFileError, match="objects"):
        read_npz(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"no array")
    with pytest.raises(ValueError):
        read_npz(path)


def test_collection_keeps_a_hostile_file(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    feature = fill(cache, shards=1)
    path = cache.folder(feature) / "x.h5"
    with h5py.File(path, "w") as file:
        virtual(file)
    collect(FeatureCache(tmp_path), {}, older_than=None)
    assert path.exists()
