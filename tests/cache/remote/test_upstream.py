"""Reading another cache: over HTTP, from folders and from object stores."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from cache_computations import Ramp, array_of, fingerprint, items
from cache_elsewhere import KEYS, ROW, N, entries_of, entry, fill, shards_of
from cache_http import asked_of_plain_web_server, plain_web_server, served

from fusion.cache import FeatureCache, Fingerprint, build
from fusion.cache.remote.upstream import Upstream
from fusion.cache.shards import rows as rows_module
from fusion.cache.shards.shard import Shard, write_shard
from fusion.core.contracts.errors import CacheError

pytestmark = pytest.mark.usefixtures("local_cache")


# -- every kind of location ----------------------------------------------------------


@contextmanager
def by_server(root: Path) -> Iterator[str]:
    with served(root) as (url, _):
        yield url


@contextmanager
def by_file(root: Path) -> Iterator[str]:
    yield root.as_uri()


@contextmanager
def by_memory(root: Path) -> Iterator[str]:
    url = f"memory://{uuid.uuid4().hex}/cache"
    memory = fsspec.filesystem("memory")
    memory.put(str(root), url, recursive=True)
    yield url
    memory.rm(url, recursive=True)


@contextmanager
def by_s3(root: Path) -> Iterator[str]:
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    bucket = f"b{uuid.uuid4().hex}"
    before = dict(os.environ)
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        fsspec.get_filesystem_class("s3").clear_instance_cache()  # of another server
        store = fsspec.filesystem("s3")
        store.mkdir(bucket)
        store.put(str(root), f"{bucket}/cache", recursive=True)
        yield f"s3://{bucket}/cache"
    finally:
        server.stop()
        os.environ.clear()
        os.environ |= before


Place = Callable[[Path], AbstractContextManager[str]]


@pytest.fixture(params=[by_server, plain_web_server, by_file, by_memory, by_s3])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.param
    return found


def test_all_arrays_are_fetched_unchanged(there: FeatureCache, place: Place) -> None:
    with place(there.root) as url:
        cache = FeatureCache(url)
        assert cache.upstream is not None
        assert cache.upstream.features() == [fingerprint()]
        assert cache.fetch(fingerprint(), KEYS) == N
        assert cache.problems == []
    local = FeatureCache()
    assert local.root == cache.root != there.root
    assert entries_of(local) == entries_of(there)
    np.testing.assert_array_equal(
        local.open(fingerprint(), KEYS, verify="always").load(), [array_of(n) for n in range(N)]
    )


def test_packed_shards_are_fetched(there: FeatureCache, place: Place) -> None:
    pytest.importorskip("hdf5plugin")
    made = fingerprint()
    for codec, first in (("zstd", 100), ("blosc2", 110)):
        packed = [entry(n, made) for n in range(first, first + 10)]
        write_shard(there.folder(made), made, packed, codec)  # type: ignore[arg-type]
    there.index(made)
    keys = [f"key{n:04d}" for n in (3, 101, 107, 112, 119)]
    with place(there.root) as url:
        assert FeatureCache(url).fetch(made, keys) == 5
    loaded = FeatureCache().open(made, keys, verify="always").load()
    np.testing.assert_array_equal(loaded, [array_of(n) for n in (3, 101, 107, 112, 119)])


@pytest.mark.parametrize("index", ["missing", "stale", "damaged"])
def test_an_unusable_index(there: FeatureCache, place: Place, index: str) -> None:
    """The shards are the truth: items outside the index are found, deleted items are not."""
    path = there.folder(fingerprint()) / "shards.idx"
    first = shards_of(there)[0]
    if index == "missing":
        path.unlink()
    elif index == "damaged":
        content = bytearray(path.read_bytes())
        content[len(content) // 2 : len(content) // 2 + 64] = b"x" * 64
        path.write_bytes(content)
    fill(there, range(40, 45))
    first.unlink()
    with place(there.root) as url:
        cache = FeatureCache(url)
        assert cache.fetch(fingerprint(), [*KEYS, "key0041", "none"]) == 21
    assert sorted(entries_of(cache)) == [*KEYS[10:], "key0041"]


def test_a_location_without_the_feature(there: FeatureCache, place: Place) -> None:
    with place(there.root) as url:
        cache = FeatureCache(url)
        assert cache.fetch(fingerprint("other"), KEYS) == 0
        assert cache.fetch(fingerprint(), ["none"]) == 0
        assert not cache.root.exists()


def test_a_location_that_does_not_exist(there: FeatureCache, place: Place) -> None:
    with place(there.root) as url:
        cache = FeatureCache(f"{url}/nowhere")
        for ask in (cache.info, lambda: cache.fetch(fingerprint(), KEYS)):
            with pytest.raises(CacheError, match="There is no cache at .*/nowhere") as caught:
                ask()
            assert "Check the address" in str(caught.value)


def test_a_damaged_array_is_not_copied(there: FeatureCache, place: Place) -> None:
    path = shards_of(there)[10]
    shard = Shard.open(path)
    assert shard.file.offset is not None
    content = bytearray(path.read_bytes())
    content[shard.file.offset + 4 * ROW] ^= 1  # the array of key0014
    path.write_bytes(content)
    with place(there.root) as url:
        cache = FeatureCache(url)
        assert cache.fetch(fingerprint(), KEYS) == N - 1
        (problem,) = cache.problems
    assert "'key0014', number 4" in problem.reason
    assert path.name in problem.reason
    assert "fusion cache verify --repair" in problem.reason
    assert cache.missing(fingerprint(), KEYS) == ["key0014"]
    assert set(entries_of(cache)) == set(KEYS) - {"key0014"}


@pytest.mark.parametrize("size", [0, 100])
@pytest.mark.parametrize("index", ["with", "without"])
def test_a_truncated_shard(there: FeatureCache, place: Place, size: int, index: str) -> None:
    """Items of this shard count as missing; the others are fetched."""
    path = shards_of(there)[10]
    os.truncate(path, size)
    if index == "without":
        (there.folder(fingerprint()) / "shards.idx").unlink()
    with place(there.root) as url:
        report = build(FeatureCache(url), [(Ramp(fingerprint()), items(N))], jobs=1)
    assert (report.fetched, report.computed, report.failures) == (N - 10, 10, [])
    assert report.problems
    assert all(path.name in problem.reason for problem in report.problems)


def test_a_truncated_packed_shard(there: FeatureCache, place: Place) -> None:
    pytest.importorskip("hdf5plugin")
    made = fingerprint()
    path = write_shard(there.folder(made), made, [entry(n, made) for n in range(50, 60)], "zstd")
    there.index(made)
    os.truncate(path, 0)
    with place(there.root) as url:
        cache = FeatureCache(url)
        assert cache.fetch(made, [*KEYS, "key0055"]) == N
        assert path.name in cache.problems[0].reason


def test_an_empty_fingerprint_file(there: FeatureCache, place: Place) -> None:
    """The file is for human readers; fusion reads the fingerprint in the shards."""
    os.truncate(there.folder(fingerprint()) / "fingerprint.json", 0)
    with place(there.root) as url:
        assert FeatureCache(url).fetch(fingerprint(), KEYS) == N


def test_files_that_are_not_shards(there: FeatureCache, place: Place) -> None:
    folder = there.folder(fingerprint())
    (folder / "shards.idx").unlink()
    (folder / "text.h5").write_text("no HDF5 file")
    cut = shards_of(there)[20]
    cut.write_bytes(cut.read_bytes()[:1000])
    other = FeatureCache(there.root.parent / "other")
    fill(other, range(3), made=fingerprint("slope"))
    shutil.copy(next(other.folder(fingerprint("slope")).glob("*.h5")), folder / "foreign.h5")
    with place(there.root) as url:
        cache = FeatureCache(url)
        assert cache.fetch(fingerprint(), KEYS) == 20
        reasons = " ".join(problem.reason for problem in cache.problems)
    for name in ("text.h5", cut.name, "foreign.h5 holds another feature"):
        assert name in reasons
    assert len(cache.problems) == 3


def test_files_that_are_not_public_are_ignored(there: FeatureCache, place: Place) -> None:
    folder = there.folder(fingerprint())
    (folder / "claims").mkdir()
    (folder / ".hidden.h5").write_text("not finished")
    (there.root / "runs").mkdir()
    (there.root / "mel-0000").mkdir()
    with place(there.root) as url:
        cache = FeatureCache(url)
        assert [info.items for info in cache.info()] == [N]
        assert cache.problems == []


def test_a_fingerprint_in_the_wrong_folder(there: FeatureCache, place: Place) -> None:
    wrong = there.root / ("ramp-" + "0" * 32)
    shutil.copytree(there.folder(fingerprint()), wrong)
    bad = there.root / ("ramp-" + "1" * 32)
    bad.mkdir()
    (bad / "fingerprint.json").write_text("{}")
    with place(there.root) as url:
        upstream = Upstream(url)
        assert upstream.features() == [fingerprint()]
        reasons = [problem.reason for problem in upstream.problems]
    assert len(reasons) == 2
    assert "but its folder has id" in reasons[0]
    assert "Not a fingerprint" in reasons[1]


@pytest.mark.parametrize("what", ["empty", "foreign", "above"])
def test_a_location_that_is_not_a_cache(there: FeatureCache, place: Place, what: str) -> None:
    root = there.root.parent / "served"
    root.mkdir()
    (root / "notes").mkdir()
    (root / "notes" / "text.txt").touch()
    if what == "above":
        shutil.copytree(there.root, root / "features")
    elif what == "empty":
        shutil.rmtree(root / "notes")
        if place is by_memory or place is by_s3:
            pytest.skip("there are no empty folders")
    with place(root) as url:
        report = build(FeatureCache(url), [(Ramp(fingerprint()), items(2))], jobs=1)
        cache = FeatureCache(url)
        assert cache.info() == []
    for problems in (report.problems, cache.problems):
        (problem,) = problems
        assert f"There is no feature cache at {url}: it lists no folder" in problem.reason
        assert "Give the URL" in problem.reason
    assert report.computed == 2


# -- reading through -----------------------------------------------------------------


def test_a_build_computes_only_items_missing_in_both_caches(there: FeatureCache) -> None:
    FeatureCache().add(fingerprint(), KEYS[:4], [array_of(n) for n in range(4)])
    with served(there.root) as (url, _):
        report = build(FeatureCache(url), [(Ramp(fingerprint()), items(N + 5))], jobs=1)
    assert (report.present, report.fetched, report.computed) == (4, N - 4, 5)
    # The second build does not need the other machine.
    again = build(FeatureCache(url), [(Ramp(fingerprint()), items(N + 5))], jobs=1)
    assert (again.present, again.fetched, again.computed) == (N + 5, 0, 0)


def test_opening_fetches_missing_items(there: FeatureCache) -> None:
    FeatureCache().add(fingerprint(), KEYS[:4], [array_of(n) for n in range(4)])
    with served(there.root) as (url, _):
        array = FeatureCache(url).open(fingerprint(), KEYS[::-1])
        np.testing.assert_array_equal(array.load(), [array_of(n) for n in reversed(range(N))])
        with pytest.raises(CacheError, match="lacks 1 of 31"):
            FeatureCache(url).open(fingerprint(), [*KEYS, "none"])
    np.testing.assert_array_equal(FeatureCache(url).open(fingerprint(), KEYS)[3], array_of(3))


def test_info_describes_the_other_machine(there: FeatureCache) -> None:
    fill(there, range(5), made=fingerprint("slope"))
    with served(there.root) as (url, _):
        assert FeatureCache(url).info() == there.info()


def test_creating_a_cache_makes_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("connected")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("FUSION_CACHE_TOKEN", "bad")
    for url in ("http://127.0.0.1:9", "s3://bucket/cache", "nothing://known"):
        cache = FeatureCache(url)
        assert str(cache.upstream) == url
        assert cache.problems == []
    code = (
        "import sys; from fusion.cache import FeatureCache; FeatureCache('http://127.0.0.1:9');"
        "sys.exit(len({'fsspec', 'aiohttp', 'starlette', 'uvicorn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_location_of_the_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert FeatureCache("http://127.0.0.1:9").root == tmp_path / "local"
    assert FeatureCache().upstream is None
    assert FeatureCache(tmp_path).upstream is None
    monkeypatch.setenv("FUSION_CACHE", "http://user:secret@127.0.0.1:9")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    cache = FeatureCache()
    assert str(cache.upstream) == "http://127.0.0.1:9"
    assert cache.root == FeatureCache("s3://bucket").root
    assert cache.root.name == "features"
    assert FeatureCache(tmp_path).upstream is None


# -- network traffic -----------------------------------------------------------------


def test_only_needed_ranges_are_read(tmp_path: Path) -> None:
    made = Fingerprint("wide", "1", {}, "float32", (2**15,), {})  # 128 KiB per array
    size = 2**17
    there = FeatureCache(tmp_path / "there")
    fill(there, range(40), made=made)
    there.index(made)
    with served(there.root) as (url, traffic):
        cache = FeatureCache(url)
        keys = [f"key{n:04d}" for n in (3, 4, 5, 20)]
        assert cache.fetch(made, keys) == 4
        assert traffic.bytes_of(".h5") == 4 * size
        assert len([path for _, path in traffic.requests if path.endswith(".h5")]) == 2
        assert cache.fetch(made, [f"key{n:04d}" for n in range(40)]) == 40
        assert traffic.bytes_of(".h5") == 44 * size
    np.testing.assert_array_equal(
        cache.open(made, keys).load(), [array_of(n, (2**15,)) for n in (3, 4, 5, 20)]
    )


def test_small_gaps_are_read_too(there: FeatureCache) -> None:
    with served(there.root) as (url, traffic):
        assert FeatureCache(url).fetch(fingerprint(), [KEYS[1], KEYS[4], KEYS[27]]) == 3
        assert traffic.bytes_of(".h5") == 4 * ROW + ROW
        methods = {method for method, _ in traffic.requests}
    assert methods == {"GET"}


def test_a_shard_outside_the_index_is_copied_once(tmp_path: Path) -> None:
    made = Fingerprint("wide", "1", {}, "float32", (2**15,), {})
    there = FeatureCache(tmp_path / "there")
    fill(there, range(40), made=made)  # without an index
    with served(there.root) as (url, traffic):
        assert FeatureCache(url).fetch(made, ["key0007"]) == 1
        assert traffic.bytes_of(".h5") < (40 + 2) * 2**17  # the shard and the row


def test_whole_files_are_fetched_once(there: FeatureCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """The web server does not support ranges, and shards are copied in pieces."""
    monkeypatch.setattr(rows_module, "_MAX_ITEMS", 3)
    with plain_web_server(there.root) as url:
        assert FeatureCache(url).fetch(fingerprint(), KEYS) == N
    shards = [path for path in asked_of_plain_web_server() if path.endswith(".h5")]
    assert len(shards) == len(set(shards)) == 3


def test_copies_are_written_in_pieces(there: FeatureCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "_MAX_ITEMS", 7)
    assert FeatureCache(there.root.as_uri()).fetch(fingerprint(), KEYS) == N
    counts = [shard.file.count for shard in FeatureCache().shards(fingerprint())]
    assert sorted(counts) == [2, 7, 7, 7, 7]
    monkeypatch.setattr(rows_module, "_MAX_BYTES", 4 * ROW)
    made = fingerprint("slope")
    fill(there, range(9), made=made)
    assert FeatureCache(there.root.as_uri()).fetch(made, KEYS) == 9
    assert sorted(s.file.count for s in FeatureCache().shards(made)) == [1, 4, 4]
