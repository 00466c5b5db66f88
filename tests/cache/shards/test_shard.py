from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from cache_computations import SHAPE, array_of, fingerprint
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusion.cache import FeatureCache, Fingerprint
from fusion.cache.shards import files as files_module
from fusion.cache.shards.files import find_debris, remove_debris
from fusion.cache.shards.shard import Entry, Shard, write_shard
from fusion.core.contracts.errors import CacheError, ShardError, StorageError

KEYS = [f"key{n}" for n in range(10)]
ARRAYS = [array_of(n) for n in range(10)]
SECONDS = [n / 8 for n in range(10)]
ENTRIES = [Entry(*row) for row in zip(KEYS, ARRAYS, SECONDS, strict=True)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_shard(tmp_path, fingerprint(), ENTRIES)


def test_what_goes_in_comes_out(path: Path) -> None:
    shard = Shard.open(path)
    assert shard.keys == tuple(KEYS)
    assert shard.fingerprint == fingerprint()
    assert shard.seconds.tolist() == SECONDS
    assert shard.file.shape == (10, *SHAPE)
    np.testing.assert_array_equal(shard.file.rows(), ARRAYS)
    assert list(path.parent.iterdir()) == [path]


def test_others_can_read_it(path: Path) -> None:
    """By the description of the format alone, without this package."""
    import hashlib

    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["data"][:], ARRAYS)
        assert file["data"].chunks is None
        assert file["keys"][:].tolist() == [key.encode() for key in KEYS]
        for array, found in zip(ARRAYS, file["checksums"][:], strict=True):
            digest = hashlib.blake2b(array.tobytes(), digest_size=8).digest()
            assert int.from_bytes(digest, "little") == found
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
def test_what_does_not_fit_is_refused(tmp_path: Path, keys: list[str], arrays: list[Any]) -> None:
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
    ("how", "said"),
    [
        ("empty", "no HDF5 file, or was cut short"),
        ("text", "no HDF5 file, or was cut short"),
        ("truncated", "no HDF5 file, or was cut short"),
        ("half", "no HDF5 file, or was cut short"),
        ("foreign", "no shard of a feature cache"),
        ("newer", "format version 3; this program reads up to 2"),
        ("no data", "is damaged"),
        ("dtype", "holds float64 arrays"),
        ("chunked", "neither contiguous nor a chunk each"),
        ("key", "checksum does not fit"),
        ("fingerprint", "checksum does not fit"),
    ],
)
def test_unusable_files_say_why(path: Path, how: str, said: str) -> None:
    damaged(path, how)
    with pytest.raises(ShardError) as caught:
        Shard.open(path)
    assert said in caught.value.message
    assert str(path) in caught.value.message

    cache = FeatureCache(path.parent / "cache")
    folder = cache.prepare(fingerprint())
    shutil.move(path, folder / "0.h5")
    assert cache.missing(fingerprint(), KEYS) == KEYS
    assert said in cache.problems[0].reason
    cache.add(fingerprint(), KEYS, ARRAYS)
    np.testing.assert_array_equal(cache.open(fingerprint(), KEYS).load(), ARRAYS)


def test_a_shard_that_changes_after_it_was_opened(path: Path) -> None:
    shard = Shard.open(path)
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(ShardError, match="shards never change"):
        shard.file.rows()
    path.unlink()
    with pytest.raises(CacheError, match="has gone"):
        shard.file.rows()
    with pytest.raises(FileNotFoundError):
        Shard.open(path)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_flipped_bit_is_never_read_as_data(path: Path, data: st.DataObject) -> None:
    """Wherever it is: either it matters to nobody, or something says so."""
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
        assert "does not fit its checksum" in error.message


def test_verify_names_the_item(path: Path) -> None:
    shard = Shard.open(path)
    with path.open("r+b") as file:
        file.seek(shard.file.offset + 6 * ARRAYS[0].nbytes + 17)
        file.write(b"\xff")
    cache = FeatureCache(path.parent / "cache")
    shutil.move(path, cache.prepare(fingerprint()) / "0.h5")
    array = cache.open(fingerprint(), KEYS, verify="always")
    np.testing.assert_array_equal(array.take([0, 5, 7]), [ARRAYS[n] for n in (0, 5, 7)])
    with pytest.raises(CacheError, match=r"'key6' in .*0\.h5 does not fit its checksum"):
        array.take([5, 6])
    assert cache.open(fingerprint(), KEYS).take([6]).shape == (1, *SHAPE)  # "open" sees nothing


# -- storage -------------------------------------------------------------------------


def test_disk_full(small_disk: Path) -> None:
    big = Fingerprint("big", "1", {}, "float32", (128, 256), {})
    cache = FeatureCache(small_disk)
    arrays = [array_of(n, big.shape) for n in range(4)]  # 128 KiB each
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


def test_read_only(small_disk: Path) -> None:
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


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    cache = FeatureCache(tmp_path / "cache")
    with pytest.raises(StorageError):
        cache.add(fingerprint(), KEYS, ARRAYS)
    with pytest.raises(CacheError, match="Not a directory"):
        cache.missing(fingerprint(), KEYS)


@pytest.mark.parametrize(
    ("code", "hint"), [(errno.ENOSPC, "Free some space"), (errno.EACCES, "FUSION_CACHE")]
)
def test_any_failure_to_write_leaves_nothing(
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


# -- debris --------------------------------------------------------------------------


def test_debris_is_what_nobody_writes_any_more(tmp_path: Path) -> None:
    host, name = files_module.HOST, "0" * 32
    dead = 2**22 + 1  # above the largest process id of Linux
    ours = tmp_path / f".{name}.{host}.{os.getpid()}.tmp"
    gone = tmp_path / f".{name}.{host}.{dead}.tmp"
    fresh = tmp_path / f".{name}.elsewhere.1.tmp"
    stale = tmp_path / f".{name}.elsewhere.2.tmp"
    foreign = tmp_path / ".something.tmp"
    for path in (ours, gone, fresh, stale, foreign):
        path.write_bytes(b"x")
    os.utime(stale, (0, 0))
    assert find_debris(tmp_path) == sorted([gone, stale])
    remove_debris([tmp_path], [dead])
    assert not gone.exists()
    assert ours.exists()
    assert fresh.exists()
