"""Cached arrays in data loaders: forked and spawned processes, threads, and batches."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cache_computations import SHAPE, array_of, fingerprint
from side_by_side import SideBySide

from fusion.cache import FeatureArray, FeatureCache
from fusion.cache.shards.shard import Entry, write_shard
from fusion.core.contracts.errors import CacheError

N = 40
KEYS = [f"key{n:02d}" for n in range(N)]
ARRAYS = np.stack([array_of(n) for n in range(N)])
KINDS = ["contiguous", "zstd", "blosc2", "mixed"]


def fill(root: Path, kind: str) -> FeatureCache:
    """Write four shards in round-robin order, so that neighbours are in different shards."""
    cache = FeatureCache(root)
    folder = cache.prepare(fingerprint())
    codecs: list[Any] = {
        "contiguous": [None] * 4,
        "zstd": ["zstd"] * 4,
        "blosc2": ["blosc2"] * 4,
        "mixed": [None, "zstd", "blosc2", None],
    }[kind]
    if kind != "contiguous":
        pytest.importorskip("hdf5plugin")
    for first, codec in enumerate(codecs):
        entries = [Entry(KEYS[n], ARRAYS[n]) for n in range(first, N, 4)]
        write_shard(folder, fingerprint(), entries, codec)
    return cache


@pytest.fixture(params=KINDS)
def array(tmp_path: Path, request: pytest.FixtureRequest) -> FeatureArray:
    return fill(tmp_path, request.param).open(fingerprint(), KEYS, verify="always")


def test_a_feature_array_is_a_data_set(array: FeatureArray) -> None:
    np.testing.assert_array_equal(array[3], ARRAYS[3])
    np.testing.assert_array_equal(array[-1], ARRAYS[-1])
    np.testing.assert_array_equal(array.__getitems__([5, 2]), ARRAYS[[5, 2]])
    np.testing.assert_array_equal(array.load(), ARRAYS)
    with pytest.raises(IndexError):
        array[N]
    np.testing.assert_array_equal(np.stack(list(array)), ARRAYS)  # iteration ends


def loaded(data: Any, start: str) -> Any:
    """Return the batches of a DataLoader with two workers, concatenated."""
    if start not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system can't {start}")
    torch = pytest.importorskip("torch")
    loader = torch.utils.data.DataLoader(
        data, batch_size=8, num_workers=2, multiprocessing_context=start,
        collate_fn=torch.from_numpy,
    )  # fmt: skip
    return torch.cat(list(loader)).numpy()


@pytest.mark.parametrize("opened", [False, True])
def test_data_loader_workers(array: FeatureArray, opened: bool) -> None:
    """Forked workers, with and without files that are open in the parent."""
    if opened:
        array.load()
    np.testing.assert_array_equal(loaded(array, "fork"), ARRAYS)
    np.testing.assert_array_equal(array.load(), ARRAYS)


def test_spawned_data_loader_workers(tmp_path: Path) -> None:
    """All kinds are read by the same two workers, because starting workers takes seconds."""
    arrays = []
    for kind in KINDS:
        cache = fill(tmp_path / kind, kind)
        arrays += [cache.open(fingerprint(), KEYS, verify="always") for _ in range(2)]
        arrays[-1].load()
    result = loaded(SideBySide(arrays), "spawn")  # (N, 8, ...)
    for number, array in enumerate(arrays):
        np.testing.assert_array_equal(result[:, number], ARRAYS)
        np.testing.assert_array_equal(array.load(), ARRAYS)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_processes_read_concurrently_with_their_parent(array: FeatureArray) -> None:
    array.load()
    rng = np.random.default_rng(0)
    children = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            good = all(
                np.array_equal(array.take(rows), ARRAYS[rows])
                for rows in np.random.default_rng(os.getpid()).integers(0, N, (50, 8))
            )
            os._exit(0 if good else 1)
        children.append(pid)
    for rows in rng.integers(0, N, (50, 8)):
        np.testing.assert_array_equal(array.take(rows), ARRAYS[rows])
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4


def test_threads_read_concurrently(array: FeatureArray) -> None:
    batches = [np.random.default_rng(n).integers(0, N, 16) for n in range(100)]
    with ThreadPoolExecutor(8) as pool:
        for rows, result in zip(batches, pool.map(array.take, batches), strict=True):
            np.testing.assert_array_equal(result, ARRAYS[rows])


def test_an_array_can_be_pickled_with_open_files(array: FeatureArray) -> None:
    array.load()
    again = pickle.loads(pickle.dumps(array))
    assert again.shape == (N, *SHAPE)
    np.testing.assert_array_equal(again.load(), ARRAYS)


def test_packed_arrays_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = fill(tmp_path, "zstd").open(fingerprint(), KEYS)
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    with pytest.raises(CacheError, match=r"pip install 'modal-fusion\[pack\]'"):
        write_shard(tmp_path, fingerprint(), [Entry("a", ARRAYS[0])], "zstd")
    # Reading needs the package too, unless the filter is already registered.
    from fusion.cache.shards import codecs

    monkeypatch.setattr(codecs, "_readable", lambda data: False)
    with pytest.raises(CacheError, match=r"is packed: .*hdf5plugin") as caught:
        array.load()
    assert "pip install 'modal-fusion[pack]'" in str(caught.value)


def test_unknown_codec(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="no codec 'rar'. Known: zstd, blosc2"):
        write_shard(tmp_path, fingerprint(), [Entry("a", ARRAYS[0])], "rar")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["contiguous", "zstd"])
def test_a_shard_overwritten_in_place_is_reported(tmp_path: Path, kind: str) -> None:
    """The size is equal; the modification time reveals the change without reading every array."""
    cache = fill(tmp_path, kind)
    cache.index(fingerprint())
    array = FeatureCache(tmp_path).open(fingerprint(), KEYS)
    path = next(cache.folder(fingerprint()).glob("*.h5"))
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(CacheError, match="changed after it was opened"):
        array.load()
