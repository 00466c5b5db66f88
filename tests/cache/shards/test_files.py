"""Files that are written completely or not at all, file system errors, and debris."""

from __future__ import annotations

import errno
import os
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from cache_computations import array_of, fingerprint
from cache_shards import ARRAYS, ENTRIES, KEYS

from fusion.cache import FeatureCache, Fingerprint
from fusion.cache.shards import files as files_module
from fusion.cache.shards.files import (
    find_debris,
    is_dead,
    remove_debris,
    sync,
    written_whole,
)
from fusion.cache.shards.shard import write_shard
from fusion.core.contracts.errors import CacheError, StorageError


def test_a_full_disk(small_disk: Path) -> None:
    big = Fingerprint("big", "1", {}, "float32", (128, 256), {})
    cache = FeatureCache(small_disk)
    arrays = [array_of(n, big.shape) for n in range(4)]  # 128 KiB per array
    cache.add(big, ["a", "b", "c", "d"], arrays)
    with pytest.raises(StorageError) as caught:
        cache.add(big, ["e", "f", "g", "h"], arrays)
    assert "No space left" in caught.value.message
    assert str(cache.folder(big)) in caught.value.message
    assert "Free some space" in str(caught.value)
    assert sorted(p.suffix for p in cache.folder(big).iterdir()) == [".h5", ".json"]
    np.testing.assert_array_equal(
        FeatureCache(small_disk).open(big, ["a", "b", "c", "d"]).load(), arrays
    )


def test_a_read_only_file_system(small_disk: Path) -> None:
    cache = FeatureCache(small_disk)
    cache.add(fingerprint(), KEYS, ARRAYS)
    os.system(f"mount -o remount,ro '{small_disk}'")
    for feature in (fingerprint(), fingerprint("new")):
        with pytest.raises(StorageError, match="Read-only file system") as caught:
            cache.add(feature, KEYS, ARRAYS)
        assert "FUSION_CACHE" in str(caught.value)
    np.testing.assert_array_equal(FeatureCache(small_disk).open(fingerprint(), KEYS).load(), ARRAYS)


@pytest.fixture
def forbidden(tmp_path: Path) -> Path:
    tmp_path.chmod(0o500)
    return tmp_path


def test_no_permission(forbidden: Path, nobody: None) -> None:
    with pytest.raises(StorageError, match="Permission denied"):
        FeatureCache(forbidden / "cache").add(fingerprint(), KEYS, ARRAYS)
    with pytest.raises(StorageError, match="Permission denied"):
        write_shard(forbidden, fingerprint(), ENTRIES)


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    cache = FeatureCache(tmp_path / "cache")
    with pytest.raises(StorageError):
        cache.add(fingerprint(), KEYS, ARRAYS)
    with pytest.raises(CacheError, match="Not a directory"):
        cache.missing(fingerprint(), KEYS)


@pytest.mark.parametrize(
    ("code", "hint"), [(errno.ENOSPC, "Free some space"), (errno.EACCES, "FUSION_CACHE")]
)
def test_a_failed_write_leaves_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, hint: str
) -> None:
    def fail(path: Path) -> None:
        raise OSError(code, "whatever h5py makes of it")

    monkeypatch.setattr(files_module, "sync", fail)
    with pytest.raises(StorageError) as caught:
        write_shard(tmp_path, fingerprint(), ENTRIES)
    assert os.strerror(code) in caught.value.message
    assert hint in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_debris_is_files_of_dead_or_silent_writers(tmp_path: Path) -> None:
    host, name = files_module.HOST, "0" * 32
    dead = 2**22 + 1  # above the largest process id of Linux
    ours = tmp_path / f".{name}.{host}.{os.getpid()}.tmp"
    missing = tmp_path / f".{name}.{host}.{dead}.tmp"
    fresh = tmp_path / f".{name}.elsewhere.1.tmp"
    stale = tmp_path / f".{name}.elsewhere.2.tmp"
    foreign = tmp_path / ".something.tmp"
    for path in (ours, missing, fresh, stale, foreign):
        path.write_bytes(b"x")
    os.utime(stale, (0, 0))
    assert find_debris(tmp_path) == sorted([missing, stale])
    remove_debris([tmp_path], [dead])
    assert not missing.exists()
    assert ours.exists()
    assert fresh.exists()


def test_a_file_is_written_completely_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("before")
    with pytest.raises(KeyboardInterrupt), written_whole(path) as temporary:
        temporary.write_text("half")
        assert path.read_text() == "before"
        raise KeyboardInterrupt
    assert (path.read_text(), list(tmp_path.iterdir())) == ("before", [path])
    with written_whole(path) as temporary:
        temporary.write_text("after")
        assert find_debris(tmp_path) == []  # its writer is alive
    assert (path.read_text(), list(tmp_path.iterdir())) == ("after", [path])


def test_dead_processes() -> None:
    assert not is_dead(files_module.SYSTEM, os.getpid())
    assert not is_dead(files_module.SYSTEM, 1)  # a process of another user
    assert is_dead(files_module.SYSTEM, 2**22 + 1)
    assert is_dead(files_module.SYSTEM, 2**70)  # not a process id
    assert not is_dead("elsewhere", 2**22 + 1)  # the state is unknown


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EBADF, errno.EIO])
def test_file_systems_that_can_not_sync_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(code, "no")

    (tmp_path / "x").touch()
    monkeypatch.setattr(files_module.os, "fsync", refuse)
    with pytest.raises(OSError, match="no"):
        sync(tmp_path / "x")
    with pytest.raises(OSError, match="no") if code == errno.EIO else nullcontext():
        sync(tmp_path)
