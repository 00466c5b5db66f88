"""Imports of tables of recordings, with a file per row or one file for all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cache_computations import array_of
from cache_sources import VIDEO, saved, wav_keys, write_table

from fusion.cache import FeatureCache
from fusion.cache.exchange.imports import import_feature, imported_features
from fusion.core.contracts.errors import CacheError


def test_a_table_of_files(folder: Path, cache: FeatureCache) -> None:
    rows = [(f"{n}.wav", "happy", f"{n}.npy", f"set {n % 2}") for n in range(6)]
    table = write_table(folder, [("wav", "label", "feature", "group"), *rows])
    report = import_feature(cache, "video", table)
    assert report.fingerprint == VIDEO
    assert (report.stored, report.present, report.repeated) == (6, 0, 0)
    assert report.unused == ("label",)
    assert report.first_key == wav_keys(folder)[0]
    result = cache.open(VIDEO, wav_keys(folder), verify="always").load()
    np.testing.assert_array_equal(result, [array_of(n) for n in range(6)])
    catalogue = cache.catalogue(VIDEO)
    assert catalogue.group_counts() == {"set 0": 3, "set 1": 3}
    at = int(catalogue.find(wav_keys(folder)[4:5])[0])
    assert catalogue.label(at).origin == str(folder / "4.wav")


def test_a_table_names_several_features(folder: Path, cache: FeatureCache) -> None:
    table = write_table(folder, [("path", "face", "body"), ("0.wav", "0.npy", "1.npy")])
    for name, number in (("face", 0), ("body", 1)):
        created = import_feature(cache, name, table).fingerprint
        result = cache.open(created, wav_keys(folder, 1)).load()
        np.testing.assert_array_equal(result, [array_of(number)])


@pytest.mark.parametrize("source", ["all.npy", "all.csv"])
@pytest.mark.parametrize("order", [None, [2, 0, 1]])
def test_one_array_with_a_table(
    folder: Path, cache: FeatureCache, source: str, order: list[int] | None
) -> None:
    np.save(folder / "all.npy", np.stack([array_of(n) for n in range(3)]))
    header, rows = ["path"], [[f"{n}.wav"] for n in range(3)]
    if order:
        header, rows = ["path", "row"], [[f"{n}.wav", n] for n in order]
    write_table(folder, [header, *rows], "all.csv")
    assert import_feature(cache, "video", folder / source).stored == 3
    result = cache.open(VIDEO, wav_keys(folder, 3)).load()
    np.testing.assert_array_equal(result, [array_of(n) for n in range(3)])


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
              r"The array has shape \(3, 4\), but .*line 2 has \(3, 5\)"),
    "dtype": (lambda f: saved(f, np.zeros((3, 5))), "float64, but .*line 2 is float32"),
    "nan": (nan, r"holds NaN or infinite values, the first at \(1, 2\)"),
    "infinite": (lambda f: saved(f, np.full((3, 5), np.inf, np.float32)), "NaN or infinite"),
    "pickled": (lambda f: saved(f, np.array([{}]), allow_pickle=True),
                "is not a .npy file of numbers"),
    "texts": (lambda f: saved(f, np.full((3, 5), "a")), "dtype <U1, which is not numeric"),
    "cut short": (cut_short, "is not a .npy file of numbers, or is damaged"),
    "empty": (lambda f: text(f, b""), "is not a .npy file of numbers"),
    "text": (lambda f: text(f, b"1 2 3\n"), "is not a .npy file of numbers"),
    "broken zip": (lambda f: text(f, b"PK\3\4 and no more"), "is not a .npy file of numbers"),
    "several": (several, r"holds several arrays \(.npz\)"),
    "missing": (lambda f: "none.npy", "There is no file .*none.npy"),
    "folder": (lambda f: ".", "There is no file"),
    "not named": (lambda f: "", "The cell of the feature is empty"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_invalid_arrays(folder: Path, cache: FeatureCache, case: str) -> None:
    make, message = BAD_ARRAYS[case]
    rows = [(f"{n}.wav", f"{n}.npy") for n in range(2)]
    table = write_table(folder, [("path", "feature"), *rows, ("2.wav", make(folder))])
    with pytest.raises(CacheError, match=f"(?s)clips.csv, line 4: .*{message}"):
        import_feature(cache, "video", table)
    assert imported_features(cache) == []  # no arrays are stored before the error


BAD_TABLES: dict[str, tuple[list[tuple[str, ...]], str]] = {
    "no feature": ([("path",), ("0.wav",)], "line 1: There is no column feature.* Columns: path"),
    "no recording": ([("feature",), ("0.npy",)], "line 1: The table does not name recordings"),
    "neither": ([("path", "feature"), ("", "0.npy")], "line 2: There is neither a path nor a key"),
    "no such recording": ([("path", "feature"), ("9.wav", "0.npy")], "line 2: There is no recor"),
    "a folder": ([("path", "feature"), (".", "0.npy")], "line 2: There is no recording"),
    "a slip": ([("path", "strat", "feature"), ("0.wav", "1", "0.npy")],
               "line 1: There is a column 'strat'. Did you mean 'start'"),
    "seconds": ([("path", "start", "feature"), ("0.wav", "soon", "0.npy")],
                "line 2: Column start holds 'soon', which is not a time"),
    "no length": ([("path", "start", "end", "feature"), ("0.wav", "2", "1.5", "0.npy")],
                  "line 2: There is no part from second 2 to second 1.5"),
    "before the start": ([("path", "start", "feature"), ("0.wav", "-1", "0.npy")],
                         "line 2: There is no part from second -1 to its end"),
    "key": ([("key", "feature"), ("ä", "0.npy")], "line 2: A key must be ASCII"),
    "no rows": ([("path", "feature")], "holds no rows"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_TABLES)
def test_invalid_tables(folder: Path, cache: FeatureCache, case: str) -> None:
    rows, message = BAD_TABLES[case]
    with pytest.raises(CacheError, match=f"clips.csv.*{message}"):
        import_feature(cache, "video", write_table(folder, rows))
    assert not cache.root.exists()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("path",), ("0.wav",)], r"all.csv has 1 rows, and .*all.npy holds 2 arrays"),
        ([("path", "row"), ("0.wav", "2")], "all.csv, line 2: There is no row '2': there are 2"),
        (
            [("path", "row"), ("0.wav", "0.5")],
            "all.csv, line 2: There is no row '0.5': there are 2",
        ),
        ([("path", "row"), ("0.wav", "")], "all.csv, line 2: There is no row None: there are 2"),
    ],
)
def test_tables_that_do_not_match_the_array(
    folder: Path, cache: FeatureCache, rows: Any, message: str
) -> None:
    np.save(folder / "all.npy", np.zeros((2, 3)))
    with pytest.raises(CacheError, match=message):
        import_feature(cache, "video", write_table(folder, rows, "all.csv"))


def test_an_array_without_a_table(folder: Path, cache: FeatureCache) -> None:
    with pytest.raises(CacheError, match=r"no table of recordings: there is no .*0.csv"):
        import_feature(cache, "video", folder / "0.npy")
