from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from cache_computations import SHAPE, array_of, fingerprint
from kill_points import kills
from places import HELPERS

from fusion.cache import Entry, FeatureCache, Fingerprint
from fusion.cache.exchange.export import export_feature, files_of, form_of
from fusion.cache.shards.shard import write_shard
from fusion.core.contracts.errors import CacheError, StorageError

ORIGINS = ["/b.wav", "/a.wav#t=1.5,3.0", "/a.wav", "/a.wav#t=3.0,", ""]
# Sorted by origin, then key.
ORDER = [4, 2, 1, 3, 0]


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    """Five arrays in two shards."""
    cache = FeatureCache(tmp_path / "cache")
    for part in (slice(0, 2), slice(2, 5)):
        numbers = range(5)[part]
        cache.add(
            fingerprint(),
            [f"key{n}" for n in numbers],
            [array_of(n) for n in numbers],
            origins=ORIGINS[part],
            groups=[f"corpus {n % 2}" for n in numbers],
        )
    return cache


def test_export_to_hdf5(cache: FeatureCache, tmp_path: Path) -> None:
    out = tmp_path / "ramp.h5"
    assert export_feature(cache, fingerprint(), out, form="hdf5") == 5
    with h5py.File(out) as file:
        assert set(file) == {"ramp", "keys", "origins", "groups"}
        assert file["ramp"].dtype == np.dtype("<f4")
        np.testing.assert_array_equal(file["ramp"][:], [array_of(n) for n in ORDER])
        assert file["keys"][:].tolist() == [f"key{n}".encode() for n in ORDER]
        assert file["origins"][:].tolist() == [ORIGINS[n].encode() for n in ORDER]
        assert file["groups"][:].tolist() == [f"corpus {n % 2}".encode() for n in ORDER]
        assert Fingerprint.from_json(file.attrs["fingerprint"].decode()) == fingerprint()


def test_export_to_npy(cache: FeatureCache, tmp_path: Path) -> None:
    assert export_feature(cache, fingerprint(), tmp_path / "ramp.npy", form="npy") == 5
    array = np.load(tmp_path / "ramp.npy")
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, [array_of(n) for n in ORDER])
    with (tmp_path / "ramp.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["row", "key", "path", "start", "end", "group"],
            ["0", "key4", "", "", "", "corpus 0"],
            ["1", "key2", "/a.wav", "", "", "corpus 0"],
            ["2", "key1", "/a.wav", "1.5", "3.0", "corpus 1"],
            ["3", "key3", "/a.wav", "3.0", "", "corpus 1"],
            ["4", "key0", "/b.wav", "", "", "corpus 0"],
        ]


def test_a_name_with_a_line_break_stays_in_its_cell(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "cache")
    cache.add(fingerprint(), ["k"], [array_of(0)], origins=["/a\rb\n.wav"])
    export_feature(cache, fingerprint(), tmp_path / "ramp.npy", form="npy")
    with (tmp_path / "ramp.csv").open(newline="") as file:
        _, row = csv.reader(file)
    assert row[2] == "/a\rb\n.wav"


@pytest.mark.parametrize("form", ["hdf5", "npy"])
def test_equal_arrays_give_equal_files(cache: FeatureCache, tmp_path: Path, form) -> None:
    """The files do not depend on the distribution over shards."""
    other = FeatureCache(tmp_path / "other")
    for n in (3, 0, 4, 1, 2):
        other.add(
            fingerprint(), [f"key{n}"], [array_of(n)], origins=[ORIGINS[n]],
            groups=[f"corpus {n % 2}"],
        )  # fmt: skip
    export_feature(cache, fingerprint(), tmp_path / "one", form=form)
    export_feature(other, fingerprint(), tmp_path / "two", form=form)
    for one, two in zip(
        files_of(tmp_path / "one", form), files_of(tmp_path / "two", form), strict=True
    ):
        assert one.read_bytes() == two.read_bytes()


def test_chosen_keys_are_exported_in_order(cache: FeatureCache, tmp_path: Path) -> None:
    out = tmp_path / "ramp.npy"
    assert export_feature(cache, fingerprint(), out, form="npy", keys=["key3", "key0"]) == 2
    np.testing.assert_array_equal(np.load(out), [array_of(3), array_of(0)])
    with pytest.raises(CacheError, match="lacks 1 of 2 arrays .* first key is 'key9'"):
        export_feature(cache, fingerprint(), tmp_path / "x.npy", form="npy", keys=["key1", "key9"])
    assert not (tmp_path / "x.npy").exists()


def test_packed_shards_are_exported(tmp_path: Path) -> None:
    pytest.importorskip("hdf5plugin")
    cache = FeatureCache(tmp_path / "cache")
    entries = [Entry(f"key{n}", array_of(n)) for n in range(5)]
    write_shard(cache.prepare(fingerprint()), fingerprint(), entries, "zstd")
    export_feature(cache, fingerprint(), tmp_path / "ramp.npy", form="npy")
    np.testing.assert_array_equal(np.load(tmp_path / "ramp.npy"), [array_of(n) for n in range(5)])


@pytest.mark.parametrize("form", ["hdf5", "npy"])
def test_a_changed_array_is_not_exported(cache: FeatureCache, tmp_path: Path, form) -> None:
    shard = next(cache.folder(fingerprint()).glob("*.h5"))
    with h5py.File(shard) as file:
        at = file["data"].id.get_offset()
    with shard.open("r+b") as file:
        file.seek(at + 4)
        file.write(b"\xff")
    before = set(tmp_path.iterdir())
    with pytest.raises(CacheError, match="does not match its checksum"):
        export_feature(cache, fingerprint(), tmp_path / "ramp", form=form)
    assert set(tmp_path.iterdir()) == before  # neither a file nor an unfinished one


def test_existing_files_are_kept(cache: FeatureCache, tmp_path: Path) -> None:
    table = tmp_path / "ramp.csv"
    table.write_text("mine")
    with pytest.raises(CacheError, match="ramp.csv already exists"):
        export_feature(cache, fingerprint(), tmp_path / "ramp.npy", form="npy")
    assert table.read_text() == "mine" and not (tmp_path / "ramp.npy").exists()
    assert export_feature(cache, fingerprint(), tmp_path / "ramp", form="npy", overwrite=True) == 5
    assert table.read_text().startswith("row,key,")


def test_a_folder_is_never_replaced(cache: FeatureCache, tmp_path: Path) -> None:
    (tmp_path / "out.h5").mkdir()
    with pytest.raises(CacheError, match=r"out.h5 is a folder"):
        export_feature(cache, fingerprint(), tmp_path / "out.h5", form="hdf5", overwrite=True)


def test_a_missing_folder_is_reported(cache: FeatureCache, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="Can't write to .*nowhere: No such file") as error:
        export_feature(cache, fingerprint(), tmp_path / "nowhere/ramp.h5", form="hdf5")
    assert "FUSION_CACHE" not in str(error.value)  # the problem is not the cache


@pytest.mark.parametrize("form", ["hdf5", "npy"])
@pytest.mark.parametrize("room", [0, 5_000, 500_000])
def test_a_full_disk_leaves_no_files(small_disk: Path, tmp_path: Path, form, room: int) -> None:
    cache = FeatureCache(tmp_path / "cache")
    wide = Fingerprint("wide", "1", {}, "float32", (25_000,), {})  # 100 kB each
    cache.add(wide, [f"key{n}" for n in range(20)], [np.full(25_000, 1, np.float32)] * 20)
    (small_disk / "other").write_bytes(bytes(shutil.disk_usage(small_disk).free - room))
    before = set(small_disk.iterdir())
    with pytest.raises(StorageError, match="Can't write to .*: No space left on device"):
        export_feature(cache, wide, small_disk / "wide", form=form)
    assert set(small_disk.iterdir()) == before


def test_nothing_to_export(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="holds no arrays of 'ramp'"):
        export_feature(FeatureCache(tmp_path), fingerprint(), tmp_path / "x.h5", form="hdf5")


def test_reserved_names_are_refused(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "cache")
    cache.add(fingerprint("keys"), ["k"], [array_of(0)])
    with pytest.raises(CacheError, match="'keys' can't be written to HDF5"):
        export_feature(cache, fingerprint("keys"), tmp_path / "x.h5", form="hdf5")
    assert export_feature(cache, fingerprint("keys"), tmp_path / "x.npy", form="npy") == 1


def test_unknown_format(cache: FeatureCache, tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="no format 'zarr'. Known: hdf5, npy"):
        export_feature(cache, fingerprint(), tmp_path / "x", form="zarr")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "form"), [("a.h5", "hdf5"), ("a.HDF5", "hdf5"), ("a.npy", "npy"), ("a.v2", None)]
)
def test_form_of(name: str, form: str | None) -> None:
    assert form_of(Path(name)) == form


@pytest.mark.parametrize(
    ("out", "files"),
    [("x/a.npy", ("x/a.npy", "x/a.csv")), ("x/a.v2", ("x/a.v2.npy", "x/a.v2.csv"))],
)
def test_files_of_an_export(out: str, files: tuple[str, ...]) -> None:
    assert files_of(Path(out), "npy") == tuple(map(Path, files))
    assert files_of(Path(out), "hdf5") == (Path(out),)


@pytest.mark.parametrize("form", ["hdf5", "npy"])
def test_memory_does_not_grow_with_the_feature(tmp_path: Path, form) -> None:
    cache = FeatureCache(tmp_path / "cache")
    wide = Fingerprint("wide", "1", {}, "float32", (250_000,), {})  # 1 MB each
    for n in range(40):
        cache.add(wide, [f"key{n}"], [np.full(250_000, n, np.float32)])
    tracemalloc.start()
    export_feature(cache, wide, tmp_path / "wide", form=form)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10e6


KILLED = """
import os, signal, sys
from cache_computations import fingerprint
from fusion.cache import FeatureCache, FeatureArray
from fusion.cache.exchange.export import export_feature

take = FeatureArray.take
def until(self, indices, out=None):
    if list(indices) == [3]:
        os.kill(os.getpid(), signal.SIGKILL)
    return take(self, indices, out)
FeatureArray.take = until
export_feature(FeatureCache(sys.argv[1]), fingerprint(), sys.argv[2], form="npy", overwrite=True)
"""


def test_a_killed_export_keeps_existing_files(cache: FeatureCache, tmp_path: Path) -> None:
    out = tmp_path / "out" / "ramp.npy"
    out.parent.mkdir()
    export_feature(cache, fingerprint(), out, form="npy", keys=["key0"])
    before = [file.read_bytes() for file in files_of(out, "npy")]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, cache.root, out], cwd=HELPERS, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert [file.read_bytes() for file in files_of(out, "npy")] == before
    assert len(list(out.parent.iterdir())) == 3  # and an unfinished one
    export_feature(cache, fingerprint(), out, form="npy", overwrite=True)
    assert set(out.parent.iterdir()) == set(files_of(out, "npy"))
    assert np.load(out).shape == (5, *SHAPE)


@pytest.mark.skipif(os.name != "posix", reason="forks and kills")
@pytest.mark.parametrize("form", ["hdf5", "npy"])
def test_a_kill_at_any_step_leaves_no_mixture_of_old_and_new_files(
    cache: FeatureCache, tmp_path: Path, form: Any
) -> None:
    """An export of five rows replaces one of two rows."""

    def export(out: Path, keys: list[str] | None = None) -> list[bytes]:
        out.mkdir(parents=True, exist_ok=True)
        export_feature(cache, fingerprint(), out / "x", form=form, keys=keys, overwrite=True)
        return [file.read_bytes() for file in files_of(out / "x", form)]

    def before(out: Path) -> None:
        export(out, ["key1", "key0"])

    old, new = export(tmp_path / "old", ["key1", "key0"]), export(tmp_path / "new")
    recorded = []
    for out, _ in kills(tmp_path / "outs", export, before):
        first, *table = (
            file.read_bytes() if file.exists() else None for file in files_of(out / "x", form)
        )
        assert [first, *table] in (old, new) or (first is None and table[0] in (old[1], new[1]))
        recorded.append(first)
        assert export(out) == new
        assert set(out.iterdir()) == set(files_of(out / "x", form))
    assert recorded[0] == old[0] and recorded[-1] == new[0]
