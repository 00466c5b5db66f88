from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from cache_computations import SHAPE, fingerprint
from cache_shards import ARRAYS, ENTRIES, KEYS, SECONDS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusion.cache import FeatureCache
from fusion.cache.shards.shard import Entry, Shard, write_shard
from fusion.core.contracts.errors import CacheError, ShardError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_shard(tmp_path, fingerprint(), ENTRIES)


def test_written_items_can_be_read(path: Path) -> None:
    shard = Shard.open(path)
    assert shard.keys == tuple(KEYS)
    assert shard.fingerprint == fingerprint()
    assert shard.columns["seconds"].tolist() == SECONDS
    assert shard.file.shape == (10, *SHAPE)
    np.testing.assert_array_equal(shard.file.rows(), ARRAYS)
    assert list(path.parent.iterdir()) == [path]


def test_a_shard_can_be_read_without_this_package(path: Path) -> None:
    """The shard follows the documented format."""
    import hashlib

    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["data"][:], ARRAYS)
        assert file["data"].chunks is None
        assert file["keys"][:].tolist() == [key.encode() for key in KEYS]
        for array, result in zip(ARRAYS, file["checksums"][:], strict=True):
            digest = hashlib.blake2b(array.tobytes(), digest_size=8).digest()
            assert int.from_bytes(digest, "little") == result
        assert file.attrs["format"] == b"fusion feature shard"
        assert file.attrs["format_version"] == 2
        text = file.attrs["fingerprint"]
        assert text.decode() == fingerprint().canonical()
        parts = [
            file[name][:].tobytes()
            for name in ("keys", "checksums", "seconds", "origins", "groups")
        ]
        whole = hashlib.blake2b(text + b"".join(parts), digest_size=16)
        assert file.attrs["checksum"].decode() == whole.hexdigest()


@pytest.mark.parametrize(
    ("keys", "arrays"),
    [
        ([], []),
        (["a"], [np.zeros(SHAPE)]),
        (["a"], [np.zeros((5, 3), np.float32)]),
        (["ä"], ARRAYS[:1]),
        ([""], ARRAYS[:1]),
        (["a\0"], ARRAYS[:1]),
    ],
)
def test_invalid_items_are_refused(tmp_path: Path, keys: list[str], arrays: list[Any]) -> None:
    with pytest.raises(CacheError):
        write_shard(
            tmp_path, fingerprint(), [Entry(*row) for row in zip(keys, arrays, strict=True)]
        )
    assert list(tmp_path.iterdir()) == []


def damaged(path: Path, how: str) -> None:
    whole = path.read_bytes()
    if how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("no HDF5 at all")
    elif how == "truncated":
        path.write_bytes(whole[:-100])
    elif how == "half":
        path.write_bytes(whole[: len(whole) // 2])
    elif how == "foreign":
        with h5py.File(path, "w") as file:
            file["data"] = np.zeros(3)
    else:
        with h5py.File(path, "r+") as file:
            if how == "newer":
                file.attrs["format_version"] = 3
            elif how == "no data":
                del file["data"]
            elif how == "dtype":
                del file["data"]
                file["data"] = np.zeros((10, *SHAPE), "<f8")
            elif how == "chunked":
                del file["data"]
                file.create_dataset("data", data=np.stack(ARRAYS), chunks=(2, *SHAPE))
            elif how == "key":
                file["keys"][3] = b"key9"
            elif how == "fingerprint":
                text = file.attrs["fingerprint"].decode()
                changed = text.replace('"version":"1"', '"version":"2"')
                file.attrs["fingerprint"] = np.bytes_(changed)


@pytest.mark.parametrize(
    ("how", "output"),
    [
        ("empty", "not an HDF5 file, or was cut short"),
        ("text", "not an HDF5 file, or was cut short"),
        ("truncated", "not an HDF5 file, or was cut short"),
        ("half", "not an HDF5 file, or was cut short"),
        ("foreign", "not a shard of a feature cache"),
        ("newer", "format version 3; this program reads up to 2"),
        ("no data", "is damaged"),
        ("dtype", "holds float64 arrays"),
        ("chunked", "neither contiguous nor one chunk each"),
        ("key", "checksum does not match"),
        ("fingerprint", "checksum does not match"),
    ],
)
def test_unusable_files_are_reported_with_the_reason(path: Path, how: str, output: str) -> None:
    damaged(path, how)
    with pytest.raises(ShardError) as caught:
        Shard.open(path)
    assert output in caught.value.message
    assert str(path) in caught.value.message

    cache = FeatureCache(path.parent / "cache")
    folder = cache.prepare(fingerprint())
    shutil.move(path, folder / "0.h5")
    assert cache.missing(fingerprint(), KEYS) == KEYS
    assert output in cache.problems[0].reason
    cache.add(fingerprint(), KEYS, ARRAYS)
    np.testing.assert_array_equal(cache.open(fingerprint(), KEYS).load(), ARRAYS)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_flipped_bit_never_changes_an_array_unnoticed(path: Path, data: st.DataObject) -> None:
    """Either the bit has no effect, or an error or a problem is reported."""
    whole = path.read_bytes()
    position = data.draw(st.integers(0, len(whole) - 1))
    bit = data.draw(st.integers(0, 7))
    cache = FeatureCache(path.parent / "cache")
    target = cache.prepare(fingerprint()) / "0.h5"
    target.write_bytes(
        whole[:position] + bytes([whole[position] ^ (1 << bit)]) + whole[position + 1 :]
    )
    if cache.missing(fingerprint(), KEYS):
        assert cache.problems
        return
    array = cache.open(fingerprint(), KEYS, verify="always")
    try:
        np.testing.assert_array_equal(array.load(), ARRAYS)
    except CacheError as error:
        assert "does not match its checksum" in error.message


def test_verify_names_the_item(path: Path) -> None:
    """A bad disk changes neither size nor time of a shard that the index knows."""
    offset = Shard.open(path).file.offset
    cache = FeatureCache(path.parent / "cache")
    path = Path(shutil.move(path, cache.prepare(fingerprint()) / "0.h5"))
    cache.index(fingerprint())
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(offset + 6 * ARRAYS[0].nbytes + 17)
        file.write(b"\xff")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    array = cache.open(fingerprint(), KEYS, verify="always")
    np.testing.assert_array_equal(array.take([0, 5, 7]), [ARRAYS[n] for n in (0, 5, 7)])
    with pytest.raises(CacheError, match=r"'key6' in .*0\.h5 does not match its checksum"):
        array.take([5, 6])
    assert cache.open(fingerprint(), KEYS).take([6]).shape == (1, *SHAPE)  # "open" checks no arrays


# -- storage -------------------------------------------------------------------------


# -- debris --------------------------------------------------------------------------
