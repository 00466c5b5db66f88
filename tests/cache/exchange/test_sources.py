"""Recordings, parts of recordings, and keys of imported rows."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from cache_computations import array_of
from cache_sources import VIDEO, plain, write_table

from fusion.cache import FeatureCache, digest_recording
from fusion.cache.exchange.imports import import_feature
from fusion.cache.exchange.sources import keys_of, place_of
from fusion.core.contracts.errors import CacheError


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
    assert catalogue.label(int(catalogue.find(keys)[1])).origin == f"{folder / '0.wav'}#t=1.5,3.0"


def test_paths_are_relative_to_the_root(folder: Path, cache: FeatureCache) -> None:
    (folder / "tables").mkdir()
    table = write_table(folder / "tables", [("path", "feature"), ("0.wav", "0.npy")])
    with pytest.raises(CacheError, match=r"clips.csv, line 2: There is no recording") as error:
        import_feature(cache, "video", table)
    assert f"start at {folder / 'tables'}" in str(error.value.hint)
    assert import_feature(cache, "video", table, root=folder).stored == 1
    with pytest.raises(CacheError, match="The root .*nowhere is not a folder"):
        import_feature(cache, "video", table, root=folder / "nowhere")


def test_copies_count_as_one_recording(folder: Path, cache: FeatureCache) -> None:
    (folder / "copy.wav").write_bytes((folder / "0.wav").read_bytes())
    rows = [("path", "feature"), ("0.wav", "0.npy"), ("1.wav", "1.npy"), ("copy.wav", "0.npy")]
    report = import_feature(cache, "video", write_table(folder, rows))
    assert (report.stored, report.repeated) == (2, 1)
    rows[3] = ("copy.wav", "2.npy")
    with pytest.raises(CacheError, match=r"line 4: .* is also in .*clips.csv, line 2, with an"):
        import_feature(cache, "face", write_table(folder, rows))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_recording_is_reported(folder: Path, cache: FeatureCache) -> None:
    (folder / "3.wav").chmod(0)
    with pytest.raises(CacheError, match="line 5: There is no recording .* that can be read"):
        import_feature(cache, "video", plain(folder))


def test_a_known_key_needs_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    present = place_of("row 1", tmp_path, key="k", path="a.wav", start=1.5)
    assert (present.origin, present.path) == (f"{tmp_path / 'a.wav'}#t=1.5,", tmp_path / "a.wav")
    missing = place_of("row 2", tmp_path, key="k", path="of a robot, take 3", group="g")
    assert (missing.origin, missing.group) == ("of a robot, take 3", "g")  # unchanged
    assert place_of("row 3", tmp_path, key="k", path=None).origin == ""


def test_files_are_digested_only_if_no_key_is_given(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"a")
    places = [
        place_of("row 1", tmp_path, key="known", path="a.wav"),
        place_of("row 2", tmp_path, key=None, path="a.wav", start=1.0, end=2.0),
        place_of("row 3", tmp_path, key=None, path="a.wav"),
    ]
    path = tmp_path / "a.wav"
    assert keys_of(places) == ["known", digest_recording(path, 1.0, 2.0), digest_recording(path)]
