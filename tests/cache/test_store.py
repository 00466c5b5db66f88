from __future__ import annotations

import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cache_computations import SHAPE, array_of, fingerprint
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import with_helpers
from side_by_side import total

from fusion.cache import FeatureArray, FeatureCache
from fusion.cache.builds.workers import process_pool
from fusion.cache.store import local_cache
from fusion.core.contracts.errors import CacheError

N = 30
KEYS = [f"key{n:02d}" for n in range(N)]
ARRAYS = np.stack([array_of(n) for n in range(N)])


def fill(root: Path, *, shards: int) -> FeatureCache:
    cache = FeatureCache(root)
    # Round-robin order, so that neighbours are in different shards.
    for first in range(shards):
        cache.add(fingerprint(), KEYS[first::shards], list(ARRAYS[first::shards]), None)
    return cache


@pytest.fixture(params=[1, 7])
def array(tmp_path: Path, request: pytest.FixtureRequest) -> FeatureArray:
    return fill(tmp_path, shards=request.param).open(fingerprint(), KEYS)


def test_attributes_of_an_array(array: FeatureArray) -> None:
    assert len(array) == N
    assert array.shape == (N, *SHAPE)
    assert array.dtype == np.float32
    assert array.nbytes == ARRAYS.nbytes
    assert array.keys == tuple(KEYS)
    assert repr(array) == "FeatureArray(shape=(30, 3, 5), dtype=float32)"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(indices=st.lists(st.integers(-N, N - 1), max_size=70))
def test_take_is_fancy_indexing(array: FeatureArray, indices: list[int]) -> None:
    expected = ARRAYS[np.array(indices, dtype=int)]
    np.testing.assert_array_equal(array.take(indices), expected)
    out = np.full(expected.shape, np.nan, np.float32)
    assert array.take(np.array(indices, dtype=np.int32), out=out) is out
    np.testing.assert_array_equal(out, expected)


def test_rows_are_in_the_order_of_the_keys(tmp_path: Path) -> None:
    cache = fill(tmp_path, shards=4)
    wanted = [29, 3, 3, 0, 17]
    array = cache.open(fingerprint(), [KEYS[n] for n in wanted])
    np.testing.assert_array_equal(array.load(), ARRAYS[wanted])


def test_taken_rows_are_copies(array: FeatureArray) -> None:
    array.take([1])[:] = 0
    array.load()[:] = 0
    np.testing.assert_array_equal(array.load(), ARRAYS)


@pytest.mark.parametrize("bad", [[N], [-N - 1], [0.5], [[1]], 1, [True]])
def test_invalid_indices(array: FeatureArray, bad: Any) -> None:
    with pytest.raises(IndexError):
        array.take(bad)


@pytest.mark.parametrize("out", [np.empty((1, *SHAPE)), np.empty((2, *SHAPE), np.float32)])
def test_an_invalid_output_array(array: FeatureArray, out: Any) -> None:
    with pytest.raises(ValueError, match="out must be float32"):
        array.take([0], out=out)


def test_an_array_without_keys(tmp_path: Path) -> None:
    array = FeatureCache(tmp_path).open(fingerprint(), [])
    assert array.load().shape == (0, *SHAPE)
    assert array.take([]).shape == (0, *SHAPE)


def test_missing_keys_have_the_given_order(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    assert cache.missing(fingerprint(), ["b", "a", "b"]) == ["b", "a"]
    cache.add(fingerprint(), ["a"], [ARRAYS[0]])
    assert cache.missing(fingerprint(), ["b", "a", "c"]) == ["b", "c"]
    assert cache.missing(fingerprint(bins=2), ["a"]) == ["a"]
    with pytest.raises(CacheError, match=r"lacks 2 of 3 arrays of 'ramp' .* 'b'"):
        cache.open(fingerprint(), ["b", "a", "c"])
    with pytest.raises(CacheError, match="verify"):
        cache.open(fingerprint(), ["a"], verify="never")  # type: ignore[arg-type]


def test_items_added_by_another_process_are_found(tmp_path: Path) -> None:
    reader = FeatureCache(tmp_path)
    assert reader.missing(fingerprint(), KEYS) == KEYS
    fill(tmp_path, shards=2)
    assert reader.missing(fingerprint(), KEYS) == []
    next(reader.folder(fingerprint()).glob("*.h5")).unlink()
    assert len(reader.missing(fingerprint(), KEYS)) == N // 2


def test_one_key_in_two_shards(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    cache.add(fingerprint(), KEYS, list(ARRAYS))
    cache.add(fingerprint(), KEYS[5:], list(ARRAYS[5:]))
    np.testing.assert_array_equal(cache.open(fingerprint(), KEYS).load(), ARRAYS)
    assert cache.info()[0].items == N


def test_a_shard_in_the_wrong_folder(tmp_path: Path) -> None:
    cache = fill(tmp_path, shards=1)
    path = next(cache.folder(fingerprint()).glob("*.h5"))
    other = cache.prepare(fingerprint(bins=3))
    path.rename(other / path.name)
    assert cache.missing(fingerprint(bins=3), KEYS) == KEYS
    assert "holds another feature" in cache.problems[0].reason
    (other / path.name).unlink()
    assert cache.problems == []


@pytest.mark.parametrize("when", ["before the first read", "after it"])
def test_a_shard_deleted_during_reading(tmp_path: Path, when: str) -> None:
    array = fill(tmp_path, shards=1).open(fingerprint(), KEYS)
    if when == "after it":
        array.take([0])
    next(tmp_path.glob("*/*.h5")).unlink()
    if when == "after it":  # the mapped file remains readable
        np.testing.assert_array_equal(array.load(), ARRAYS)
    else:
        with pytest.raises(CacheError, match="was deleted while in use"):
            array.take([0])


def test_info_of_a_cache(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "cache")
    assert cache.info() == []
    cache.add(fingerprint("b", bins=3), KEYS[:2], list(ARRAYS[:2]), [1.0, 2.5])
    cache.add(fingerprint("b", bins=3), KEYS[1:4], list(ARRAYS[1:4]), [0.0, 0.25, 0.25])
    cache.add(fingerprint("a"), KEYS[:1], list(ARRAYS[:1]))
    (cache.root / "notes").mkdir()
    (cache.root / "notes.txt").write_text("mine")
    folder = cache.folder(fingerprint("b", bins=3))
    (folder / f".{'0' * 32}.{'x'}.1.tmp").write_bytes(b"")
    os.utime(folder / f".{'0' * 32}.{'x'}.1.tmp", (0, 0))
    (folder / "bad.h5").write_text("bad")
    first, second = cache.info()
    assert (first.fingerprint, first.items, first.shards) == (fingerprint("a"), 1, 1)
    assert second.fingerprint == fingerprint("b", bins=3)
    assert (second.items, second.shards, second.seconds, second.debris) == (4, 2, 4.0, 1)
    assert second.bytes == sum(p.stat().st_size for p in folder.glob("*.h5")) - 3
    assert [problem.path.name for problem in cache.problems] == ["bad.h5"]


def test_info_names_a_folder_whose_fingerprint_is_damaged(tmp_path: Path) -> None:
    cache = fill(tmp_path, shards=1)
    readable = cache.folder(fingerprint()) / "fingerprint.json"
    readable.write_text(readable.read_text().replace('"1"', '"2"'))
    assert [result.items for result in cache.info()] == [len(KEYS)]  # known from the shards
    (problem,) = cache.problems
    assert problem.path == readable and "but its folder has id" in problem.reason
    np.testing.assert_array_equal(cache.open(fingerprint(), KEYS).load(), ARRAYS)


@pytest.mark.parametrize("damage", ["{", "", "\xff"])
def test_a_damaged_fingerprint_file_hides_no_feature(tmp_path: Path, damage: str) -> None:
    cache = fill(tmp_path, shards=2)
    readable = cache.folder(fingerprint()) / "fingerprint.json"
    sound = readable.read_text()
    readable.write_text(damage, encoding="latin-1")
    first = sorted(readable.parent.glob("*.h5"))[0]
    first.write_bytes(b"no shard")  # the other shard contains the fingerprint too
    assert cache.features() == [fingerprint()]
    (problem,) = cache.problems
    assert problem.line.startswith(f"{readable} can't be used: ")
    assert problem.line.endswith("Rewrite the file: `fusion cache verify --repair`")
    assert problem.line.count(str(readable)) == 1 and "\n" not in problem.line
    readable.write_text(sound)
    assert cache.features() == [fingerprint()] and cache.problems == []


def test_a_damaged_fingerprint_file_with_shards_of_another_feature(tmp_path: Path) -> None:
    cache = fill(tmp_path, shards=1)
    other = fingerprint("other")
    cache.add(other, ["k"], [np.zeros(other.shape, other.dtype)])
    folder = cache.folder(fingerprint())
    for shard in folder.glob("*.h5"):
        shard.unlink()
    for shard in cache.folder(other).glob("*.h5"):
        shard.rename(folder / shard.name)
    (folder / "fingerprint.json").write_text("{")
    assert cache.features() == [other]
    assert [problem.path for problem in cache.problems] == [folder / "fingerprint.json"]


@pytest.mark.parametrize("mode", [0o700, 0o711, 0o744])
def test_an_unreadable_folder_is_named(tmp_path: Path, mode: int, request) -> None:  # type: ignore[no-untyped-def]
    cache = fill(tmp_path, shards=1)
    other = fingerprint("other")
    cache.add(other, ["k"], [np.zeros(other.shape, other.dtype)])
    cache.root.chmod(0o755)
    for folder in [*tmp_path.parents][:-2]:
        folder.chmod(folder.stat().st_mode | 0o011)
    folder = cache.folder(fingerprint())
    folder.chmod(mode)
    request.getfixturevalue("nobody")
    cache = FeatureCache(cache.root)
    assert [result.fingerprint for result in cache.info()] == [other]
    (problem,) = cache.problems
    assert problem.line == f"{folder} can't be read: Permission denied."


def test_a_cache_that_must_exist(tmp_path: Path) -> None:
    with pytest.raises(
        CacheError, match=r"no cache in .*tpyo: the folder does not exist\."
    ) as caught:
        local_cache(tmp_path / "tpyo")
    assert "--cache" in str(caught.value.hint)
    (tmp_path / "file").touch()
    with pytest.raises(CacheError, match="the folder does not exist"):
        local_cache(tmp_path / "file")
    assert local_cache(tmp_path / "new", must_exist=False).root == tmp_path / "new"
    assert local_cache(tmp_path).features() == []


def test_an_empty_path_is_refused() -> None:
    """An unset variable gives an empty path, which must not mean the current directory."""
    with pytest.raises(CacheError, match="is empty"):
        FeatureCache("")


def test_the_default_location(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUSION_CACHE", str(tmp_path / "mine"))
    assert FeatureCache().root == tmp_path / "mine"
    assert FeatureCache(tmp_path / "other").root == tmp_path / "other"
    monkeypatch.delenv("FUSION_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert FeatureCache().root.name == "features"
    assert "fusion" in FeatureCache().root.parts


def test_an_array_can_be_sent_to_spawned_processes(array: FeatureArray) -> None:
    array.take([0])  # with a mapped file
    with process_pool(1) as pool:
        assert pool.submit(total, array).result() == float(ARRAYS.sum())
    assert len(pickle.dumps(array)) < 20_000  # neither data nor mapped files


def test_threads_share_an_array(array: FeatureArray) -> None:
    indices = [np.random.default_rng(n).integers(0, N, 64) for n in range(200)]
    with ThreadPoolExecutor(8) as pool:
        for index, rows in zip(indices, pool.map(array.take, indices), strict=True):
            np.testing.assert_array_equal(rows, ARRAYS[index])


def test_more_shards_than_open_files(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    fill(tmp_path, shards=N)
    code = """
import resource, sys
import numpy
from cache_computations import fingerprint
from fusion.cache import FeatureCache
soft, hard = 16, int(sys.argv[2])
array = FeatureCache(sys.argv[1]).open(fingerprint(), [f"key{n:02d}" for n in range(30)])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
try:
    print(array.load().shape)
except Exception as error:
    print(error)
"""

    def run(hard: int) -> str:
        return subprocess.run(
            [sys.executable, "-c", code, str(tmp_path), str(hard)],
            env=with_helpers(),
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert run(64) == "(30, 3, 5)\n"
    assert "ulimit -n" in run(16)
