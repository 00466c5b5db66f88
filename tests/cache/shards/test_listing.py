"""Listing of shards: files that can't be examined are listed as unreadable."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fusion.cache.errors import CacheError
from fusion.cache.shards.listing import UNREADABLE, Listed, shards_in, sorted_entries


def test_only_shards_are_listed(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"12345")
    os.utime(tmp_path / "a.h5", ns=(7, 7_000))
    for name in ("b.txt", ".hidden.h5", "shards.idx"):
        (tmp_path / name).write_bytes(b"")
    assert shards_in(tmp_path) == {"a.h5": Listed(5, 7_000)}
    assert sorted_entries(tmp_path)[0].name == ".hidden.h5"


def test_a_missing_folder_has_no_shards(tmp_path: Path) -> None:
    assert shards_in(tmp_path / "none") == {}
    assert sorted_entries(tmp_path / "none") == []


def test_a_file_as_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for function in (shards_in, sorted_entries):
        with pytest.raises(CacheError, match="Can't read the cache folder"):
            function(tmp_path / "file")


def test_links_to_nothing_and_files_of_others_are_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "self.h5").symlink_to("self.h5")
    (tmp_path / "gone.h5").symlink_to("nothing")
    (tmp_path / "theirs.h5").write_bytes(b"1")
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("theirs.h5"))
    names = ("self.h5", "gone.h5", "theirs.h5")
    assert shards_in(tmp_path) == dict.fromkeys(names, UNREADABLE)
