from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from cache_computations import array_of, fingerprint
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.cache import FeatureCache
from fusion.cache.shards.catalogue import INDEX, Catalogue, load_catalogue
from fusion.cache.shards.shard import Shard

FEATURE = fingerprint()


def add(cache: FeatureCache, numbers: list[int]) -> Path:
    """Add one shard and return its path."""
    before = set(cache.folder(FEATURE).glob("*.h5"))
    cache.add(
        FEATURE,
        [f"key{n}" for n in numbers],
        [array_of(n) for n in numbers],
        [n / 4 for n in numbers],
        origins=[f"/speech/{n}.wav" for n in numbers],
        groups=["even" if n % 2 == 0 else "odd" for n in numbers],
    )
    (path,) = set(cache.folder(FEATURE).glob("*.h5")) - before
    return path


def listed(catalogue: Catalogue) -> dict[str, tuple[float, str, str]]:
    """Return all columns of a catalogue by key."""
    return {
        catalogue.keys[p].decode(): (
            float(catalogue.seconds[p]),
            *catalogue.label(p)[1:],
        )
        for p in catalogue.unique
    }


def check(cache: FeatureCache, numbers: set[int]) -> None:
    """Check that a fresh cache object finds exactly these items."""
    fresh = FeatureCache(cache.root)
    keys = [f"key{n}" for n in range(20)]
    assert fresh.missing(FEATURE, keys) == [f"key{n}" for n in range(20) if n not in numbers]
    present = sorted(numbers)
    array = fresh.open(FEATURE, [f"key{n}" for n in present], verify="always")
    np.testing.assert_array_equal(
        array.load(), np.array([array_of(n) for n in present]).reshape(-1, *FEATURE.shape)
    )
    assert listed(fresh.catalogue(FEATURE)) == {
        f"key{n}": (n / 4, f"/speech/{n}.wav", "odd" if n % 2 else "even") for n in present
    }


def test_contents_of_a_catalogue(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    add(cache, [3, 1, 2])
    catalogue = cache.catalogue(FEATURE)
    assert (len(catalogue), len(catalogue.files), catalogue.fresh) == (3, 1, 1)
    assert catalogue.find(["key2", "nothing", "key3", "ké"]).tolist() == [2, -1, 0, -1]
    assert catalogue.seconds.tolist() == [0.75, 0.25, 0.5]
    assert [catalogue.label(p).origin for p in (0, 1)] == ["/speech/3.wav", "/speech/1.wav"]
    assert catalogue.group_counts() == {"odd": 2, "even": 1}
    assert catalogue.positions(0).tolist() == [0, 1, 2]


def test_an_empty_catalogue(tmp_path: Path) -> None:
    catalogue = FeatureCache(tmp_path).catalogue(FEATURE)
    assert len(catalogue) == 0
    assert catalogue.find(["a"]).tolist() == [-1]
    assert catalogue.group_counts() == {}


def test_origins_may_contain_any_text(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    cache.add(FEATURE, ["a", "b"], [array_of(0), array_of(1)], origins=["/Größe/名.wav", ""])
    for _ in range(2):
        catalogue = FeatureCache(tmp_path).catalogue(FEATURE)
        assert [catalogue.label(p).origin for p in (0, 1)] == ["/Größe/名.wav", ""]
        assert catalogue.group_counts() == {"": 2}
        cache.index(FEATURE)


def test_with_an_index_no_shard_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FeatureCache(tmp_path)
    for n in range(4):
        add(cache, [n, n + 4])
    cache.index(FEATURE)
    opened = []
    original = Shard.open.__func__  # type: ignore[attr-defined]

    def spy(cls: type[Shard], path: Path, **options: Any) -> Shard:
        opened.append(path)
        shard: Shard = original(cls, path, **options)
        return shard

    monkeypatch.setattr(Shard, "open", classmethod(spy))
    check(cache, set(range(8)))
    assert opened == []
    new = add(cache, [8])
    check(cache, set(range(9)))
    assert opened
    assert set(opened) == {new}


@pytest.mark.parametrize("how", ["appended", "same size", "touched"])
def test_a_changed_shard_is_opened_again(tmp_path: Path, how: str) -> None:
    cache = FeatureCache(tmp_path)
    path = add(cache, [1, 2])
    add(cache, [3])
    cache.index(FEATURE)
    if how == "appended":  # HDF5 ignores appended bytes
        path.write_bytes(path.read_bytes() + b"x")
        check(cache, {1, 2, 3})
    elif how == "same size":
        path.write_bytes(bytes(path.stat().st_size))
        check(cache, {3})
    else:
        os.utime(path)
        assert FeatureCache(tmp_path).catalogue(FEATURE).fresh == 2  # one removed, one added
        check(cache, {1, 2, 3})


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A cache of two shards that share an item, and the bytes of its index."""
    cache = FeatureCache(tmp_path_factory.mktemp("indexed"))
    add(cache, [1, 2])
    add(cache, [2, 5])
    cache.index(FEATURE)
    return cache.root, (cache.folder(FEATURE) / INDEX).read_bytes()


@settings(max_examples=200, deadline=None)
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_in_the_index_is_detected(
    indexed: tuple[Path, bytes], position: float, bit: int
) -> None:
    root, whole = indexed
    content = bytearray(whole)
    content[int(position * len(content))] ^= 1 << bit
    fresh = FeatureCache(root)
    (fresh.folder(FEATURE) / INDEX).write_bytes(content)
    assert fresh.missing(FEATURE, ["key1", "key2", "key5", "key6"]) == ["key6"]
    result = fresh.open(FEATURE, ["key1", "key2", "key5"], verify="always").load()
    np.testing.assert_array_equal(result, [array_of(n) for n in (1, 2, 5)])


@pytest.mark.parametrize("content", [b"", b"no index", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_an_invalid_index_is_ignored(tmp_path: Path, content: bytes) -> None:
    cache = FeatureCache(tmp_path)
    add(cache, [1, 2])
    (cache.folder(FEATURE) / INDEX).write_bytes(content)
    check(cache, {1, 2})
    cache.index(FEATURE)
    assert FeatureCache(tmp_path).catalogue(FEATURE).fresh == 0
    check(cache, {1, 2})


def test_a_shard_is_checked_by_the_first_process_that_opens_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks: list[Path] = []
    check = Shard.checked

    def counted(shard: Shard) -> Shard:
        checks.append(shard.path)
        return check(shard)

    monkeypatch.setattr(Shard, "checked", counted)
    cache = FeatureCache(tmp_path)
    for n in range(3):
        add(cache, [n])
    FeatureCache(tmp_path).missing(FEATURE, [])
    assert len(checks) == 3
    assert FeatureCache(tmp_path).catalogue(FEATURE).fresh == 0
    assert len(checks) == 3  # the index remembers
    path = next(cache.folder(FEATURE).glob("*.h5"))
    os.utime(path)
    FeatureCache(tmp_path).missing(FEATURE, [])
    assert checks[3:] == [path]
    (cache.folder(FEATURE) / INDEX).unlink()
    again = FeatureCache(tmp_path)
    again.missing(FEATURE, [])
    (cache.folder(FEATURE) / INDEX).unlink()
    again.missing(FEATURE, [])
    assert len(checks) == 7  # once per cache


def test_a_damaged_item_is_missing_and_its_copy_is_used(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    add(cache, [0, 1])
    path = next(cache.folder(FEATURE).glob("*.h5"))
    with h5py.File(path) as file:
        at = file["data"].id.get_offset()
    with path.open("r+b") as stream:
        stream.seek(at)
        stream.write(b"\xff\xff")
    fresh = FeatureCache(tmp_path)
    assert fresh.missing(FEATURE, ["key0", "key1"]) == ["key0"]
    assert fresh.catalogue(FEATURE).lost() == ["key0"]
    assert [p.path for p in fresh.problems] == [path]
    assert "1 of 2 arrays" in fresh.problems[0].reason
    add(fresh, [0])
    other = FeatureCache(tmp_path)  # reads the index
    assert other.missing(FEATURE, ["key0", "key1"]) == []
    np.testing.assert_array_equal(other.open(FEATURE, ["key0"]).load()[0], array_of(0))
    catalogue = other.catalogue(FEATURE)
    assert (catalogue.damaged, catalogue.lost(), len(catalogue.unique)) == (1, [], 2)


def test_an_unwritable_index_is_ignored(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    add(cache, [1])
    folder = cache.folder(FEATURE)
    (folder / INDEX).mkdir()  # prevents writing, even for root
    cache.index(FEATURE)
    check(cache, {1})


def test_the_index_of_another_machine(tmp_path: Path) -> None:
    """The listing of another machine has only names."""
    from fusion.cache.shards.listing import Listed

    cache = FeatureCache(tmp_path)
    path = add(cache, [1, 2])
    cache.index(FEATURE)
    index = (cache.folder(FEATURE) / INDEX).rename(tmp_path / "index")
    never = Path("/nowhere")
    catalogue = load_catalogue(never, FEATURE, {path.name: Listed()}, lambda *_: None, index)
    assert (len(catalogue), catalogue.fresh) == (2, 0)
    assert catalogue.files[0].path == never / path.name
    missing = load_catalogue(never, FEATURE, {}, lambda *_: None, index)
    assert (len(missing), missing.fresh) == (0, 1)


@settings(max_examples=25, deadline=None)
@given(
    steps=st.lists(
        st.one_of(
            st.lists(st.integers(0, 19), min_size=1, max_size=5),
            st.sampled_from(["index", "delete"]),
        ),
        max_size=12,
    )
)
def test_any_sequence_of_changes_is_read_correctly(steps: list[list[int] | str]) -> None:
    """Shards are added and deleted, and the index is written at times."""
    with tempfile.TemporaryDirectory() as folder:
        cache = FeatureCache(folder)
        shards: dict[Path, set[int]] = {}
        for step in steps:
            if isinstance(step, list):
                shards[add(cache, step)] = set(step)
            elif step == "index":
                cache.index(FEATURE)
            elif shards:
                path = min(shards)
                path.unlink()
                del shards[path]
        check(cache, set().union(*shards.values()))


@pytest.mark.parametrize("change", [{"offsets": 10**12}, {"offsets": -5}, {"counts": 10**6}])
def test_an_index_that_leads_out_of_a_shard_is_not_used(
    tmp_path: Path, change: dict[str, int]
) -> None:
    """The index of a stranger has valid checksums of wrong columns."""
    cache = FeatureCache(tmp_path)
    add(cache, [0, 1])
    cache.index(FEATURE)
    path = cache.folder(FEATURE) / INDEX
    with h5py.File(path, "r+") as file:
        for name, value in change.items():
            file[name][:] = value
            raw = file[name][:].tobytes()
            digest = hashlib.blake2b(raw, digest_size=16).hexdigest()
            file.attrs[f"checksum_{name}"] = np.bytes_(digest.encode())
    check(FeatureCache(tmp_path), {0, 1})
