from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from cache_computations import array_of
from cache_sources import PATHS, VIDEO, plain, saved, wav_keys, write_table
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from kill_points import Kills
from kill_variants import both_ways
from side_by_side import import_it, start_together

from fusion.cache import FeatureCache, Fingerprint
from fusion.cache.builds.workers import process_pool
from fusion.cache.exchange import imports
from fusion.cache.exchange.export import export_feature
from fusion.cache.exchange.imports import import_feature, imported_features
from fusion.core.contracts.errors import CacheError

# -- shapes --------------------------------------------------------------------------


def test_numbers_become_arrays_of_one(folder: Path, cache: FeatureCache) -> None:
    with h5py.File(folder / "age.h5", "w") as file:
        file["age"], file["paths"] = np.arange(6), PATHS
    created = import_feature(cache, "age", folder / "age.h5").fingerprint
    assert (created.shape, created.dtype) == ((1,), "int64")
    np.testing.assert_array_equal(
        cache.open(created, wav_keys(folder)).load(), np.arange(6)[:, None]
    )


# -- repeated imports ----------------------------------------------------------------


def test_importing_again_changes_nothing(folder: Path, cache: FeatureCache) -> None:
    import_feature(cache, "video", plain(folder, 4))
    before = set(cache.folder(VIDEO).glob("*.h5"))
    report = import_feature(cache, "video", plain(folder, 6))
    assert (report.stored, report.present) == (2, 4)
    assert before < set(cache.folder(VIDEO).glob("*.h5"))
    assert import_feature(cache, "video", plain(folder, 6)).stored == 0


def test_a_stopped_import_can_be_resumed(
    folder: Path, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 40
    rows = [(f"{n:032x}", f"{n}.npy") for n in range(count)]
    for n in range(count):
        np.save(folder / f"{n}.npy", array_of(n))
    table = write_table(folder, [("key", "feature"), *rows])
    add, left = cache.add, iter([True, True])

    def stopping(*args: Any, **kwargs: Any) -> None:
        if not next(left, False):
            raise KeyboardInterrupt
        add(*args, **kwargs)

    monkeypatch.setattr(cache, "add", stopping)
    with pytest.raises(KeyboardInterrupt):
        import_feature(cache, "video", table)
    monkeypatch.undo()
    report = import_feature(cache, "video", table)
    assert report.present == 16 and report.stored == 24
    undisturbed = FeatureCache(folder / "other")
    import_feature(undisturbed, "video", table)
    keys = [key for key, _ in rows]
    for where in (cache, undisturbed):
        assert len(where.catalogue(VIDEO)) == count  # no item twice
        result = where.open(VIDEO, keys, verify="always").load()
        np.testing.assert_array_equal(result, [array_of(n) for n in range(count)])


def test_other_arrays_need_another_version(folder: Path, cache: FeatureCache) -> None:
    table = plain(folder)
    import_feature(cache, "video", table)
    np.save(folder / "3.npy", array_of(99))
    with pytest.raises(CacheError, match="line 5: The cache has another array") as error:
        import_feature(cache, "video", table)
    assert "--version" in str(error.value.hint)
    assert import_feature(cache, "video", table, version="2").stored == 6
    assert [f.version for f in imported_features(cache)] == ["1", "2"]


def test_one_version_has_one_shape_and_dtype(folder: Path, cache: FeatureCache) -> None:
    import_feature(cache, "video", plain(folder))
    with pytest.raises(
        CacheError, match=r"float32 arrays of shape \(3, 5\); the arrays to import are float16"
    ):
        import_feature(cache, "video", plain(folder), dtype="float16")
    created = import_feature(
        cache, "video", plain(folder), dtype="float16", version="2"
    ).fingerprint
    np.testing.assert_array_equal(
        cache.open(created, wav_keys(folder)).load(),
        np.stack([array_of(n) for n in range(6)]).astype(np.float16),
    )


def test_only_imported_features_with_arrays(folder: Path, cache: FeatureCache) -> None:
    cache.add(Fingerprint("mel", "1", {}, "float32", (3, 5), {}), ["k"], [array_of(0)])
    cache.prepare(VIDEO)  # like an import that was killed before its first shard
    assert imported_features(cache) == []
    import_feature(cache, "video", plain(folder))
    assert imported_features(cache) == [VIDEO]


# -- export and import ---------------------------------------------------------------

NUMBERS = st.sampled_from(["float16", "float32", "float64", "int8", "uint16", "int64", "bool",
                           "complex64", ">f4"])  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(
    data=st.data(),
    dtype=NUMBERS,
    shape=hnp.array_shapes(max_dims=3, max_side=4),
    count=st.integers(1, 12),
    form=st.sampled_from(["hdf5", "npy"]),
    shards=st.integers(1, 3),
)
def test_exported_arrays_can_be_imported(
    data: Any, dtype: str, shape: Any, count: int, form: Any, shards: int
):
    finite: dict[str, Any] = {"allow_nan": False, "allow_infinity": False}
    elements = hnp.from_dtype(np.dtype(dtype), **(finite if np.dtype(dtype).kind in "fc" else {}))
    arrays = data.draw(hnp.arrays(dtype, (count, *shape), elements=elements))
    places = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), max_size=8)
    origins = [f"/{data.draw(places).strip()}.wav#t=0.5,{n + 1}.0" for n in range(count)]
    created = Fingerprint("x", "7", {"a": 1}, dtype, shape, {})
    keys = [f"key{n}" for n in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        one, two = FeatureCache(Path(folder) / "one"), FeatureCache(Path(folder) / "two")
        for part in range(shards):
            at = slice(part, None, shards)
            one.add(created, keys[at], list(arrays[at]), origins=origins[at], groups=keys[at])
        out = Path(folder) / ("x.h5" if form == "hdf5" else "x.npy")
        export_feature(one, created, out, form=form)
        report = import_feature(two, "x", out)
        assert (report.stored, report.fingerprint.shape) == (count, shape)
        result = two.open(report.fingerprint, keys, verify="always").load()
        assert result.dtype.name == np.dtype(dtype).name
        assert result.tobytes() == arrays.astype(result.dtype).tobytes()  # including -0.0
        catalogue = two.catalogue(report.fingerprint)
        for at, origin, key in zip(catalogue.find(keys).tolist(), origins, keys, strict=True):
            assert catalogue.label(at) == (key, origin, key)


# -- invalid sources -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [("none.csv", "does not exist"), (".", "is a folder"), ("0.wav", "is not an HDF5 file")],
)
def test_a_missing_source_is_reported(
    folder: Path, cache: FeatureCache, name: str, message: str
) -> None:
    with pytest.raises(CacheError, match=message):
        import_feature(cache, "video", folder / name)


@pytest.mark.parametrize(
    ("array", "dtype", "message"),
    [
        ([1.0, 7e4], "float16", r"The value 70000.0 does not fit float16"),
        ([1, 300], "int8", "The value 300 does not fit int8"),
        ([1, -1], "uint8", "The value -1 does not fit uint8"),
        ([1, 2], "bool", "The value 2 does not fit bool"),
        ([1j], "float32", "complex128; converting it to float32 would lose"),
        ([1.5], "int32", "float64; converting it to int32 would lose"),
        ([1.5], "float99", "numpy has no dtype 'float99'"),
        ([1.5], "object", "can't be cached"),
    ],
)
def test_arrays_that_do_not_fit_the_dtype_are_refused(
    folder: Path, cache: FeatureCache, array: list[float], dtype: str, message: str
) -> None:
    rows = [("path", "feature"), ("0.wav", saved(folder, array))]
    with pytest.raises(CacheError, match=message):
        import_feature(cache, "video", write_table(folder, rows), dtype=dtype)


@pytest.mark.parametrize(("name", "version"), [("a/b", "1"), ("", "1"), ("video", "")])
def test_invalid_names_are_refused(
    folder: Path, cache: FeatureCache, name: str, version: str
) -> None:
    with pytest.raises(CacheError, match="can't be"):
        import_feature(cache, name, plain(folder), version=version)


def test_an_array_changed_during_the_import_is_not_stored(
    folder: Path, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    survey = imports._survey

    def then_change(*args: Any) -> Any:
        result = survey(*args)
        np.save(folder / "2.npy", array_of(99))
        return result

    monkeypatch.setattr(imports, "_survey", then_change)
    with pytest.raises(CacheError, match="line 4: The array was changed during the import"):
        import_feature(cache, "video", plain(folder))
    assert imported_features(cache) == []


def test_two_imports_at_once_never_mix(tmp_path: Path) -> None:
    """Two imports have the same recordings and other arrays: one succeeds, one is refused."""
    keys = [f"{n:032x}" for n in range(300)]
    for name, value in (("one", 1.0), ("two", 2.0)):
        np.save(tmp_path / f"{name}.npy", np.full((300, 4), value, np.float32))
        (tmp_path / f"{name}.csv").write_text("key\n" + "\n".join(keys) + "\n")
    with process_pool(2) as pool:
        output = [
            pool.submit(import_it, tmp_path / "cache", tmp_path / f"{name}.npy", tmp_path / "go")
            for name in ("one", "two")
        ]
        start_together(tmp_path / "go", 2)
        answers = {future.result() for future in output}
    assert "300" in answers
    (refused,) = answers - {"300"}
    assert "Another process is importing" in refused or "has another array" in refused
    cache = FeatureCache(tmp_path / "cache")
    (feature,) = imported_features(cache)
    assert len(cache.catalogue(feature)) == 300
    assert len(np.unique(cache.open(feature, keys).load())) == 1


@pytest.mark.skipif(os.name != "posix", reason="forks and kills")
@both_ways
def test_a_killed_import_can_be_resumed(tmp_path: Path, kills: Kills) -> None:
    """The result is the same as without a kill, without repeated items."""
    keys = [f"{n:032x}" for n in range(12)]  # two shards
    arrays = np.stack([array_of(n) for n in range(12)])
    np.save(tmp_path / "all.npy", arrays)
    table = write_table(tmp_path, [("key", "path"), *((key, key) for key in keys)], "all.csv")

    def work(root: Path) -> None:
        import_feature(FeatureCache(root), "video", table)

    stored = set()
    for root, _ in kills(tmp_path / "caches", work):
        cache = FeatureCache(root)
        present = len(cache.catalogue(VIDEO))
        report = import_feature(cache, "video", table)
        assert (report.present, report.stored) == (present, 12 - present)
        stored.add(present)
        result = FeatureCache(root).open(VIDEO, keys, verify="always").load()
        np.testing.assert_array_equal(result, arrays)
        catalogue = FeatureCache(root).catalogue(VIDEO)
        assert [catalogue.label(at).origin for at in catalogue.find(keys)] == keys
        assert (len(catalogue), cache.problems) == (12, [])
    assert stored <= {0, 8, 12} and 12 in stored
