"""Reading shuffled batches from the cache and from other storage formats, and writing.

Run with ``pytest benchmarks/test_cache.py``. All formats store the same numbers, in files that are
in the system's page cache, and are read in the same shuffled orders. Formats whose libraries are
not installed are skipped; install them with ``pip install 'modal-fusion[bench]'``.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest

from fusion.cache import FeatureArray, FeatureCache, Fingerprint
from fusion.cache.upkeep.rewrite import pack

CLIPS = 1500
BATCH = 64
PER_SHARD = 94  # clips per shard in a build of 1500 clips on two cores
SHAPES = {"mel": (1, 128, 256), "persistence": (6, 32, 32)}

Rows = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
Read = Callable[[Indices], Rows]


@dataclass(frozen=True)
class Corpus:
    """Arrays of one feature, and the folder to write them to."""

    name: str
    data: Rows
    folder: Path

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape[1:]


@pytest.fixture(scope="module", params=SHAPES)
def corpus(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    shape = SHAPES[request.param]
    # Smooth values in [0, 1] with many zeros, like features, so that they are compressible.
    noise = np.random.default_rng(0).random((CLIPS, *shape), dtype=np.float32)
    data = np.clip(np.cumsum(noise - 0.5, axis=-1, dtype=np.float32) / 4, 0, 1)
    return Corpus(request.param, data, tmp_path_factory.mktemp(request.param))


# -- the cache -----------------------------------------------------------------------


def fill_cache(
    corpus: Corpus, folder: Path, per_shard: int, dtype: str = "float32"
) -> FeatureCache:
    cache = FeatureCache(folder)
    fingerprint = Fingerprint(corpus.name, "1", {}, dtype, corpus.shape, {})
    data = corpus.data.astype(dtype)
    for start in range(0, CLIPS, per_shard):
        stop = min(start + per_shard, CLIPS)
        keys = [f"clip{n}" for n in range(start, stop)]
        cache.add(fingerprint, keys, list(data[start:stop]))
    cache.index(fingerprint)
    return cache


def open_all(cache: FeatureCache, **options: Any) -> FeatureArray:
    (fingerprint,) = cache.features()
    return cache.open(fingerprint, [f"clip{n}" for n in range(CLIPS)], **options)


def one_shard(corpus: Corpus, folder: Path) -> Read:
    return open_all(fill_cache(corpus, folder, CLIPS)).take


def many_shards(corpus: Corpus, folder: Path) -> Read:
    return open_all(fill_cache(corpus, folder, PER_SHARD)).take


def checked(corpus: Corpus, folder: Path) -> Read:
    return open_all(fill_cache(corpus, folder, PER_SHARD), verify="always").take


def half(corpus: Corpus, folder: Path) -> Read:
    return open_all(fill_cache(corpus, folder, PER_SHARD, "float16")).take


def packed(corpus: Corpus, folder: Path) -> Read:
    pytest.importorskip("hdf5plugin")
    cache = fill_cache(corpus, folder, PER_SHARD)
    pack(cache, "zstd")
    return open_all(cache).take


# -- other storage formats -------------------------------------------------------------


def raw_memmap(corpus: Corpus, folder: Path) -> Read:
    corpus.data.tofile(folder / "raw.bin")
    mapped = np.memmap(folder / "raw.bin", np.float32, "r", shape=corpus.data.shape)
    return lambda rows: mapped.take(rows, axis=0)


def npy_files(corpus: Corpus, folder: Path) -> Read:
    for n, array in enumerate(corpus.data):
        np.save(folder / f"{n}.npy", array)
    return lambda rows: np.stack([np.load(folder / f"{n}.npy") for n in rows])


def chunked(corpus: Corpus, folder: Path) -> h5py.Dataset:
    with h5py.File(folder / "data.h5", "w") as file:
        file.create_dataset("data", data=corpus.data, chunks=(1, *corpus.shape))
    return h5py.File(folder / "data.h5")["data"]


def h5py_fancy(corpus: Corpus, folder: Path) -> Read:
    dataset = chunked(corpus, folder)

    def read(rows: Indices) -> Rows:
        order = np.argsort(rows)  # fancy indexing requires increasing indices
        out = np.empty((len(rows), *corpus.shape), np.float32)
        out[order] = dataset[rows[order]]
        return out

    return read


def h5py_loop(corpus: Corpus, folder: Path) -> Read:
    dataset = chunked(corpus, folder)
    return lambda rows: np.stack([dataset[n] for n in rows])


def zarr_chunks(corpus: Corpus, folder: Path) -> Read:
    zarr = pytest.importorskip("zarr")
    array = zarr.create_array(
        store=str(folder / "data.zarr"), shape=corpus.data.shape, dtype="float32",
        chunks=(1, *corpus.shape), compressors=None,
    )  # fmt: skip
    array[:] = corpus.data
    return lambda rows: np.asarray(array.oindex[rows])


def lmdb_values(corpus: Corpus, folder: Path) -> Read:
    lmdb = pytest.importorskip("lmdb")
    environment = lmdb.open(str(folder / "data.lmdb"), map_size=2 * corpus.data.nbytes + 2**24)
    with environment.begin(write=True) as transaction:
        for n, array in enumerate(corpus.data):
            transaction.put(b"%d" % n, array.tobytes())

    def read(rows: Indices) -> Rows:
        out = np.empty((len(rows), *corpus.shape), np.float32)
        with environment.begin(buffers=True) as transaction:
            for place, n in enumerate(rows):
                value = np.frombuffer(transaction.get(b"%d" % n), np.float32)
                out[place] = value.reshape(corpus.shape)
        return out

    return read


STORES: dict[str, Callable[[Corpus, Path], Read]] = {
    "numpy.memmap.take on a raw file": raw_memmap,
    "cache, one shard": one_shard,
    "cache, 16 shards": many_shards,
    "cache, float16": half,
    "cache, verify always": checked,
    "cache, packed (zstd)": packed,
    "LMDB, a value per clip": lmdb_values,
    "h5py, a chunk per clip, one by one": h5py_loop,
    "h5py, a chunk per clip, fancy index": h5py_fancy,
    "a .npy file per clip": npy_files,
    "zarr, a chunk per clip": zarr_chunks,
}


@pytest.fixture
def place(corpus: Corpus) -> Any:
    folder = corpus.folder / "store"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def size_of(folder: Path) -> float:
    """Return the size of all files in MB."""
    return round(sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6, 1)


@pytest.mark.benchmark(group="read")
@pytest.mark.parametrize("name", STORES)
def test_shuffled_batch(benchmark: Any, corpus: Corpus, place: Path, name: str) -> None:
    read = STORES[name](corpus, place)
    orders = [np.random.default_rng(seed).permutation(CLIPS)[:BATCH] for seed in range(20)]
    tolerance = 2**-9 if "float16" in name else 0.0
    for rows in orders:
        np.testing.assert_allclose(read(rows), corpus.data[rows], atol=tolerance, rtol=tolerance)
    endless = itertools.cycle(orders)
    benchmark.group = f"read a shuffled batch of {BATCH} clips of {corpus.name} {corpus.shape}"
    benchmark.extra_info["clips"] = BATCH
    benchmark.extra_info["MB"] = size_of(place)
    rounds = 20 if "zarr" in name or "fancy" in name else 100
    benchmark.pedantic(read, setup=lambda: ((next(endless),), {}), rounds=rounds, warmup_rounds=5)


@pytest.mark.benchmark(group="write")
@pytest.mark.parametrize(
    "name",
    [
        "numpy.memmap.take on a raw file", "cache, 16 shards", "LMDB, a value per clip",
        "a .npy file per clip", "zarr, a chunk per clip",
    ],
)  # fmt: skip
def test_write(benchmark: Any, corpus: Corpus, place: Path, name: str) -> None:
    """All clips are written from memory; only the cache has checksums, only cache and LMDB sync."""
    folders = (place / str(n) for n in itertools.count())

    def fresh() -> tuple[tuple[Corpus, Path], dict[str, Any]]:
        folder = next(folders)
        folder.mkdir()
        return (corpus, folder), {}

    benchmark.group = f"write {CLIPS} clips of {corpus.name} {corpus.shape}"
    benchmark.extra_info["clips"] = CLIPS
    benchmark.pedantic(STORES[name], setup=fresh, rounds=3)
