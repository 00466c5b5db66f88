from __future__ import annotations

import csv
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from cache_computations import array_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fusion.cache import FeatureCache, Fingerprint, digest_recording
from fusion.cache.builds.workers import process_pool
from fusion.cache.exchange import imports
from fusion.cache.exchange.export import export_feature
from fusion.cache.exchange.imports import import_feature, imported_features
from fusion.core.contracts.errors import CacheError

VIDEO = Fingerprint("video", "1", {"imported": True}, "float32", (3, 5), {})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six recordings, and a .npy file for each."""
    for n in range(6):
        (tmp_path / f"{n}.wav").write_bytes(b"sound %d" % n)
        np.save(tmp_path / f"{n}.npy", array_of(n))
    return tmp_path


@pytest.fixture
def cache(folder: Path) -> FeatureCache:
    return FeatureCache(folder / "cache")


def write_table(folder: Path, rows: Sequence[Sequence[Any]], name: str = "clips.csv") -> Path:
    with (folder / name).open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder / name


def plain(folder: Path, count: int = 6) -> Path:
    rows = [(f"{n}.wav", f"{n}.npy") for n in range(count)]
    return write_table(folder, [("path", "feature"), *rows])


def wav_keys(folder: Path, count: int = 6) -> list[str]:
    return [digest_recording(folder / f"{n}.wav") for n in range(count)]


# -- the three sources ---------------------------------------------------------------


def test_a_table_of_files(folder: Path, cache: FeatureCache) -> None:
    rows = [(f"{n}.wav", "happy", f"{n}.npy", f"set {n % 2}") for n in range(6)]
    table = write_table(folder, [("wav", "label", "feature", "group"), *rows])
    report = import_feature(cache, "video", table)
    assert report.fingerprint == VIDEO
    assert (report.stored, report.present, report.repeated) == (6, 0, 0)
    assert report.unused == ("label",)
    assert report.first_key == wav_keys(folder)[0]
    found = cache.open(VIDEO, wav_keys(folder), verify="always").load()
    np.testing.assert_array_equal(found, [array_of(n) for n in range(6)])
    catalogue = cache.catalogue(VIDEO)
    assert catalogue.group_counts() == {"set 0": 3, "set 1": 3}
    at = int(catalogue.find(wav_keys(folder)[4:5])[0])
    assert catalogue.origin(at) == str(folder / "4.wav")


def test_a_table_names_several_features(folder: Path, cache: FeatureCache) -> None:
    table = write_table(folder, [("path", "face", "body"), ("0.wav", "0.npy", "1.npy")])
    for name, number in (("face", 0), ("body", 1)):
        made = import_feature(cache, name, table).fingerprint
        found = cache.open(made, wav_keys(folder, 1)).load()
        np.testing.assert_array_equal(found, [array_of(number)])


def test_parts_of_recordings(folder: Path, cache: FeatureCache) -> None:
    table = write_table(
        folder,
        [("path", "start", "end", "feature"), ("0.wav", "", "", "0.npy"),
         ("0.wav", "1.5", "3", "1.npy"), ("0.wav", "3", "", "2.npy")],
    )  # fmt: skip
    assert import_feature(cache, "video", table).stored == 3
    keys = [digest_recording(folder / "0.wav", *part) for part in ((), (1.5, 3.0), (3.0,))]
    np.testing.assert_array_equal(cache.open(VIDEO, keys).load(), [array_of(n) for n in range(3)])
    catalogue = cache.catalogue(VIDEO)
    assert catalogue.origin(int(catalogue.find(keys)[1])) == f"{folder / '0.wav'}#t=1.5,3.0"


def test_paths_start_at_the_root(folder: Path, cache: FeatureCache) -> None:
    (folder / "tables").mkdir()
    table = write_table(folder / "tables", [("path", "feature"), ("0.wav", "0.npy")])
    with pytest.raises(CacheError, match=r"clips.csv, line 2: There is no recording") as error:
        import_feature(cache, "video", table)
    assert f"start at {folder / 'tables'}" in str(error.value.hint)
    assert import_feature(cache, "video", table, root=folder).stored == 1
    with pytest.raises(CacheError, match="The root .*nowhere is no folder"):
        import_feature(cache, "video", table, root=folder / "nowhere")


@pytest.mark.parametrize("source", ["all.npy", "all.csv"])
@pytest.mark.parametrize("order", [None, [2, 0, 1]])
def test_one_array_beside_a_table(
    folder: Path, cache: FeatureCache, source: str, order: list[int] | None
) -> None:
    np.save(folder / "all.npy", np.stack([array_of(n) for n in range(3)]))
    header, rows = ["path"], [[f"{n}.wav"] for n in range(3)]
    if order:
        header, rows = ["path", "row"], [[f"{n}.wav", n] for n in order]
    write_table(folder, [header, *rows], "all.csv")
    assert import_feature(cache, "video", folder / source).stored == 3
    found = cache.open(VIDEO, wav_keys(folder, 3)).load()
    np.testing.assert_array_equal(found, [array_of(n) for n in range(3)])


def hdf5(folder: Path, count: int = 6, **columns: Any) -> Path:
    with h5py.File(folder / "all.h5", "w") as file:
        file["video"] = np.stack([array_of(n) for n in range(count)])
        for name, column in columns.items():
            file[name] = column
    return folder / "all.h5"


PATHS = [f"{n}.wav" for n in range(6)]


@pytest.mark.parametrize(
    "paths",
    [PATHS, np.array(PATHS, "S"), np.array(PATHS, object)],
    ids=["variable", "fixed", "object"],
)
def test_hdf5(folder: Path, cache: FeatureCache, paths: Any) -> None:
    source = hdf5(folder, paths=paths, other=np.zeros(6), groups=["a"] * 6)
    assert import_feature(cache, "video", source).stored == 6
    found = cache.open(VIDEO, wav_keys(folder)).load()
    np.testing.assert_array_equal(found, [array_of(n) for n in range(6)])
    assert cache.catalogue(VIDEO).group_counts() == {"a": 6}


def test_hdf5_parts_and_a_dataset_by_name(folder: Path, cache: FeatureCache) -> None:
    source = hdf5(folder, **{"a/paths": PATHS[:2] * 2, "a/starts": [0, 0, 1.5, 1.5],
                             "a/ends": [np.nan, np.nan, 2, np.nan], "a/x": np.eye(4)})  # fmt: skip
    made = import_feature(cache, "eye", source, dataset="/a/x").fingerprint
    again = import_feature(cache, "eye", source)  # the only one with paths beside it
    assert again.present == 4
    keys = [
        digest_recording(folder / path, *part)
        for path, part in zip(PATHS[:2] * 2, [(), (), (1.5, 2.0), (1.5,)], strict=True)
    ]
    np.testing.assert_array_equal(cache.open(made, keys).load(), np.eye(4))


def test_compressed_chunks(folder: Path, cache: FeatureCache) -> None:
    with h5py.File(folder / "all.h5", "w") as file:
        data = np.stack([array_of(n) for n in range(6)])
        file.create_dataset("data", data=data, chunks=(4, 3, 5), compression="gzip")
        file["paths"] = PATHS
    assert import_feature(cache, "video", folder / "all.h5").stored == 6
    np.testing.assert_array_equal(cache.open(VIDEO, wav_keys(folder)).load(), data)


def test_numbers_become_arrays_of_one(folder: Path, cache: FeatureCache) -> None:
    with h5py.File(folder / "age.h5", "w") as file:
        file["age"], file["paths"] = np.arange(6), PATHS
    made = import_feature(cache, "age", folder / "age.h5").fingerprint
    assert (made.shape, made.dtype) == ((1,), "int64")
    np.testing.assert_array_equal(cache.open(made, wav_keys(folder)).load(), np.arange(6)[:, None])


# -- again, and otherwise ------------------------------------------------------------


def test_again_changes_nothing(folder: Path, cache: FeatureCache) -> None:
    import_feature(cache, "video", plain(folder, 4))
    before = set(cache.folder(VIDEO).glob("*.h5"))
    report = import_feature(cache, "video", plain(folder, 6))
    assert (report.stored, report.present) == (2, 4)
    assert before < set(cache.folder(VIDEO).glob("*.h5"))
    assert import_feature(cache, "video", plain(folder, 6)).stored == 0


def test_an_import_that_is_stopped_is_taken_up(
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
        assert len(where.catalogue(VIDEO)) == count  # nothing twice
        found = where.open(VIDEO, keys, verify="always").load()
        np.testing.assert_array_equal(found, [array_of(n) for n in range(count)])


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
    with pytest.raises(CacheError, match=r"shape \(3, 5\), float32; these are \(3, 5\), float16"):
        import_feature(cache, "video", plain(folder), dtype="float16")
    made = import_feature(cache, "video", plain(folder), dtype="float16", version="2").fingerprint
    np.testing.assert_array_equal(
        cache.open(made, wav_keys(folder)).load(),
        np.stack([array_of(n) for n in range(6)]).astype(np.float16),
    )


def test_copies_are_one_recording(folder: Path, cache: FeatureCache) -> None:
    (folder / "copy.wav").write_bytes((folder / "0.wav").read_bytes())
    rows = [("path", "feature"), ("0.wav", "0.npy"), ("1.wav", "1.npy"), ("copy.wav", "0.npy")]
    report = import_feature(cache, "video", write_table(folder, rows))
    assert (report.stored, report.repeated) == (2, 1)
    rows[3] = ("copy.wav", "2.npy")
    with pytest.raises(CacheError, match=r"line 4: .* stands in .*clips.csv, line 2 too, with an"):
        import_feature(cache, "face", write_table(folder, rows))


def test_only_imported_features_with_arrays(folder: Path, cache: FeatureCache) -> None:
    cache.add(Fingerprint("mel", "1", {}, "float32", (3, 5), {}), ["k"], [array_of(0)])
    cache.prepare(VIDEO)  # an import that was killed before its first shard
    assert imported_features(cache) == []
    import_feature(cache, "video", plain(folder))
    assert imported_features(cache) == [VIDEO]


# -- there and back ------------------------------------------------------------------

NUMBERS = st.sampled_from(["float16", "float32", "float64", "int8", "uint16", "int64", "bool",
                           "complex64", ">f4"])  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(
    data=st.data(),
    dtype=NUMBERS,
    shape=hnp.array_shapes(max_dims=3, max_side=4),
    count=st.integers(1, 12),
    form=st.sampled_from(["hdf5", "npy"]),
    shards=st.integers(1, 3),
)
def test_there_and_back(data: Any, dtype: str, shape: Any, count: int, form: Any, shards: int):
    finite: dict[str, Any] = {"allow_nan": False, "allow_infinity": False}
    elements = hnp.from_dtype(np.dtype(dtype), **(finite if np.dtype(dtype).kind in "fc" else {}))
    arrays = data.draw(hnp.arrays(dtype, (count, *shape), elements=elements))
    places = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), max_size=8)
    origins = [f"/{data.draw(places).strip()}.wav#t=0.5,{n + 1}.0" for n in range(count)]
    made = Fingerprint("x", "7", {"a": 1}, dtype, shape, {})
    keys = [f"key{n}" for n in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        one, two = FeatureCache(Path(folder) / "one"), FeatureCache(Path(folder) / "two")
        for part in range(shards):
            at = slice(part, None, shards)
            one.add(made, keys[at], list(arrays[at]), origins=origins[at], groups=keys[at])
        out = Path(folder) / ("x.h5" if form == "hdf5" else "x.npy")
        export_feature(one, made, out, form=form)
        report = import_feature(two, "x", out)
        assert (report.stored, report.fingerprint.shape) == (count, shape)
        found = two.open(report.fingerprint, keys, verify="always").load()
        assert found.dtype.name == np.dtype(dtype).name
        assert found.tobytes() == arrays.astype(found.dtype).tobytes()  # -0.0 too
        catalogue = two.catalogue(report.fingerprint)
        for at, origin, key in zip(catalogue.find(keys).tolist(), origins, keys, strict=True):
            assert (catalogue.origin(at), catalogue.group(at)) == (origin, key)


# -- what is wrong -------------------------------------------------------------------


def saved(folder: Path, array: Any, name: str = "bad.npy", **options: Any) -> str:
    np.save(folder / name, array, **options)
    return name


def nan(folder: Path) -> str:
    array = array_of(0)
    array[1, 2] = np.nan
    return saved(folder, array)


def cut_short(folder: Path) -> str:
    (folder / "bad.npy").write_bytes((folder / "0.npy").read_bytes()[:-8])
    return "bad.npy"


def text(folder: Path, content: bytes) -> str:
    (folder / "bad.npy").write_bytes(content)
    return "bad.npy"


def several(folder: Path) -> str:
    with (folder / "bad.npy").open("wb") as file:
        np.savez(file, a=array_of(0), b=array_of(1))
    return "bad.npy"


BAD_ARRAYS: dict[str, tuple[Callable[[Path], str], str]] = {
    "shape": (lambda f: saved(f, np.zeros((3, 4), np.float32)),
              r"Its array has shape \(3, 4\), and that of .*line 2 \(3, 5\)"),
    "dtype": (lambda f: saved(f, np.zeros((3, 5))), "float64, and that of .*line 2 float32"),
    "nan": (nan, r"holds NaN or infinite values, the first at \(1, 2\)"),
    "infinite": (lambda f: saved(f, np.full((3, 5), np.inf, np.float32)), "NaN or infinite"),
    "pickled": (lambda f: saved(f, np.array([{}]), allow_pickle=True),
                "is no .npy file of numbers"),
    "texts": (lambda f: saved(f, np.full((3, 5), "a")), "dtype <U1, which is no kind of number"),
    "cut short": (cut_short, "is no .npy file of numbers, or is damaged"),
    "empty": (lambda f: text(f, b""), "is no .npy file of numbers"),
    "text": (lambda f: text(f, b"1 2 3\n"), "is no .npy file of numbers"),
    "broken zip": (lambda f: text(f, b"PK\3\4 and no more"), "is no .npy file of numbers"),
    "several": (several, r"holds several arrays \(.npz\)"),
    "missing": (lambda f: "none.npy", "There is no file .*none.npy"),
    "folder": (lambda f: ".", "There is no file"),
    "not named": (lambda f: "", "There is no feature"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_arrays(folder: Path, cache: FeatureCache, case: str) -> None:
    make, message = BAD_ARRAYS[case]
    rows = [(f"{n}.wav", f"{n}.npy") for n in range(2)]
    table = write_table(folder, [("path", "feature"), *rows, ("2.wav", make(folder))])
    with pytest.raises(CacheError, match=f"(?s)clips.csv, line 4: .*{message}"):
        import_feature(cache, "video", table)
    assert imported_features(cache) == []  # nothing was stored before


BAD_TABLES: dict[str, tuple[list[tuple[str, ...]], str]] = {
    "no feature": ([("path",), ("0.wav",)], "line 1: There is no column feature.* Columns: path"),
    "no recording": ([("feature",), ("0.npy",)], "line 1: Nothing says which recording"),
    "neither": ([("path", "feature"), ("", "0.npy")], "line 2: There is neither a path nor a key"),
    "no such recording": ([("path", "feature"), ("9.wav", "0.npy")], "line 2: There is no recor"),
    "a folder": ([("path", "feature"), (".", "0.npy")], "line 2: There is no recording"),
    "a slip": ([("path", "strat", "feature"), ("0.wav", "1", "0.npy")],
               "line 1: There is a column 'strat'. Did you mean 'start'"),
    "seconds": ([("path", "start", "feature"), ("0.wav", "1s", "0.npy")],
                "line 2: The start '1s' is no number"),
    "no length": ([("path", "start", "end", "feature"), ("0.wav", "2", "1.5", "0.npy")],
                  "line 2: A part from second 2 to second 1.5 has no length"),
    "before the start": ([("path", "start", "feature"), ("0.wav", "-1", "0.npy")],
                         "line 2: A part from second -1 to its end has no length"),
    "key": ([("key", "feature"), ("ä", "0.npy")], "line 2: A key must be ASCII"),
    "no rows": ([("path", "feature")], "holds no rows"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_tables(folder: Path, cache: FeatureCache, case: str) -> None:
    rows, message = BAD_TABLES[case]
    with pytest.raises(CacheError, match=f"clips.csv.*{message}"):
        import_feature(cache, "video", write_table(folder, rows))
    assert not cache.root.exists()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("path",), ("0.wav",)], r"all.csv has 1 rows, and .*all.npy holds 2 arrays"),
        ([("path", "row"), ("0.wav", "2")], "all.csv, line 2: The row '2' is none of the 2"),
        ([("path", "row"), ("0.wav", "0.5")], "all.csv, line 2: The row '0.5' is none of the 2"),
        ([("path", "row"), ("0.wav", "")], "all.csv, line 2: The row None is none of the 2"),
    ],
)
def test_bad_pairs(folder: Path, cache: FeatureCache, rows: Any, message: str) -> None:
    np.save(folder / "all.npy", np.zeros((2, 3)))
    with pytest.raises(CacheError, match=message):
        import_feature(cache, "video", write_table(folder, rows, "all.csv"))


def test_an_array_without_a_table(folder: Path, cache: FeatureCache) -> None:
    with pytest.raises(CacheError, match=r"Nothing says whose arrays .* no .*0.csv"):
        import_feature(cache, "video", folder / "0.npy")


BAD_HDF5: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "Nothing says whose the arrays of /video"),
    "too few": ({"paths": PATHS[:3]}, "paths beside /video .* of 6 entries"),
    "numbers": ({"paths": np.arange(6)}, "/paths in .* must hold texts, not int64"),
    "no recording": ({"paths": [*PATHS[:5], "x"]}, r"all.h5, video\[5\]: There is no recording"),
    "texts": ({"paths": PATHS, "starts": PATHS}, "/starts in .* must hold numbers"),
    "no length": ({"paths": PATHS, "ends": [-1.0] * 6}, r"video\[0\]: A part .* no length"),
}


@pytest.mark.parametrize("case", BAD_HDF5)
def test_bad_hdf5(folder: Path, cache: FeatureCache, case: str) -> None:
    columns, message = BAD_HDF5[case]
    with pytest.raises(CacheError, match=message):
        import_feature(cache, "video", hdf5(folder, **columns))


def test_which_dataset(folder: Path, cache: FeatureCache) -> None:
    source = hdf5(folder, paths=PATHS, other=np.zeros((6, 2)))
    with pytest.raises(CacheError, match=r"several datasets that may be 'face': other \(6, 2\), v"):
        import_feature(cache, "face", source)
    with pytest.raises(CacheError, match=r"no dataset 'x' of numbers. There are: other"):
        import_feature(cache, "face", source, dataset="x")
    assert import_feature(cache, "face", source, dataset="other").fingerprint.shape == (2,)
    with pytest.raises(CacheError, match="is no HDF5 file: it has no dataset 'x' to choose"):
        import_feature(cache, "face", plain(folder), dataset="x")


@pytest.mark.parametrize(
    ("name", "message"),
    [("none.csv", "does not exist"), (".", "is a folder"), ("0.wav", "is no HDF5 file")],
)
def test_no_source(folder: Path, cache: FeatureCache, name: str, message: str) -> None:
    with pytest.raises(CacheError, match=message):
        import_feature(cache, "video", folder / name)


@pytest.mark.parametrize(
    ("array", "dtype", "message"),
    [
        ([1.0, 7e4], "float16", r"Its value 70000.0 does not fit float16"),
        ([1, 300], "int8", "Its value 300 does not fit int8"),
        ([1, -1], "uint8", "Its value -1 does not fit uint8"),
        ([1, 2], "bool", "Its value 2 does not fit bool"),
        ([1j], "float32", "complex128, which would lose as float32"),
        ([1.5], "int32", "float64, which would lose as int32"),
        ([1.5], "float99", "numpy knows no dtype 'float99'"),
        ([1.5], "object", "can't be cached"),
    ],
)
def test_what_does_not_fit(
    folder: Path, cache: FeatureCache, array: list[float], dtype: str, message: str
) -> None:
    rows = [("path", "feature"), ("0.wav", saved(folder, array))]
    with pytest.raises(CacheError, match=message):
        import_feature(cache, "video", write_table(folder, rows), dtype=dtype)


@pytest.mark.parametrize(("name", "version"), [("a/b", "1"), ("", "1"), ("video", "")])
def test_bad_names(folder: Path, cache: FeatureCache, name: str, version: str) -> None:
    with pytest.raises(CacheError, match="can't be"):
        import_feature(cache, name, plain(folder), version=version)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_a_recording_that_may_not_be_read(folder: Path, cache: FeatureCache) -> None:
    (folder / "3.wav").chmod(0)
    with pytest.raises(CacheError, match="line 5: There is no recording .* that can be read"):
        import_feature(cache, "video", plain(folder))


def test_what_changes_meanwhile_is_not_stored(
    folder: Path, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    survey = imports._survey

    def then_change(*args: Any) -> Any:
        found = survey(*args)
        np.save(folder / "2.npy", array_of(99))
        return found

    monkeypatch.setattr(imports, "_survey", then_change)
    with pytest.raises(CacheError, match="line 4: Its array was changed while it was imported"):
        import_feature(cache, "video", plain(folder))
    assert imported_features(cache) == []


def import_it(root: Path, source: Path, start: Path) -> str:
    """In a process of its own, from a common start."""
    while not start.exists():
        time.sleep(0.001)
    try:
        return str(import_feature(FeatureCache(root), "video", source).stored)
    except CacheError as error:
        return error.message


def test_two_imports_at_once_never_mix(tmp_path: Path) -> None:
    """Of the same recordings, with different arrays: one goes in, the other is told."""
    keys = [f"{n:032x}" for n in range(300)]
    for name, value in (("one", 1.0), ("two", 2.0)):
        np.save(tmp_path / f"{name}.npy", np.full((300, 4), value, np.float32))
        (tmp_path / f"{name}.csv").write_text("key\n" + "\n".join(keys) + "\n")
    with process_pool(2) as pool:
        said = [
            pool.submit(import_it, tmp_path / "cache", tmp_path / f"{name}.npy", tmp_path / "go")
            for name in ("one", "two")
        ]
        time.sleep(1.5)
        (tmp_path / "go").touch()
        answers = {future.result() for future in said}
    assert "300" in answers
    (refused,) = answers - {"300"}
    assert "Another process is importing" in refused or "has another array" in refused
    cache = FeatureCache(tmp_path / "cache")
    (feature,) = imported_features(cache)
    assert len(cache.catalogue(feature)) == 300
    assert len(np.unique(cache.open(feature, keys).load())) == 1
