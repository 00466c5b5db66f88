"""Arrays of a shard: mapping, unpacking, and their maximum number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cache_computations import fingerprint
from cache_shards import ARRAYS, ENTRIES

from fusion.cache import Fingerprint
from fusion.cache.shards.rows import most_items, stored_dtype
from fusion.cache.shards.shard import Entry, Shard, write_shard
from fusion.core.contracts.errors import CacheError, ShardError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_shard(tmp_path, fingerprint(), ENTRIES)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float64", "complex64"])
@pytest.mark.parametrize("shape", [(), (1,), (1000,), (2, 3, 4)])
def test_every_dtype_and_shape(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    arrays = [np.asarray(np.random.default_rng(n).random(shape) * 9).astype(dtype) for n in (1, 2)]
    kind = Fingerprint("x", "1", {}, dtype, shape, {})
    shard = Shard.open(write_shard(tmp_path, kind, [Entry("a", arrays[0]), Entry("b", arrays[1])]))
    mapped = shard.file.rows()
    assert mapped.dtype == np.dtype(dtype)
    assert mapped.flags.aligned
    np.testing.assert_array_equal(mapped, arrays)
    assert not mapped.flags.writeable


def test_a_shard_that_changes_while_open_is_reported(path: Path) -> None:
    shard = Shard.open(path)
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(ShardError, match="shards never change"):
        shard.file.rows()
    path.unlink()
    with pytest.raises(CacheError, match="was deleted while in use"):
        shard.file.rows()
    with pytest.raises(FileNotFoundError):
        Shard.open(path)


@pytest.mark.parametrize("codec", ["zstd", "blosc2"])
def test_packed_rows_are_unpacked_one_by_one(tmp_path: Path, codec: Any) -> None:
    pytest.importorskip("hdf5plugin")
    file = Shard.open(write_shard(tmp_path, fingerprint(), ENTRIES, codec)).file
    assert file.packed and file.offset is None
    rows = file.rows()
    for n in (7, 0, 9):
        np.testing.assert_array_equal(rows[n], ARRAYS[n])


@pytest.mark.parametrize(
    ("shape", "items"), [((1,), 256), ((256, 256), 256), ((1024, 1024), 16), ((9000, 9000), 1)]
)
def test_the_maximum_number_of_items_in_a_shard(shape: tuple[int, ...], items: int) -> None:
    """The maximum is 256 items or 64 MiB, but at least one item."""
    assert most_items(Fingerprint("x", "1", {}, "float32", shape, {})) == items


@pytest.mark.parametrize("dtype", ["float32", "uint16", "bool", "complex64"])
def test_stored_numbers_are_little_endian(dtype: str) -> None:
    result = stored_dtype(Fingerprint("x", "1", {}, dtype, (1,), {}))
    assert result.name == dtype and result == np.dtype(dtype).newbyteorder("<")
