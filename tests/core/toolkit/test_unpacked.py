"""Unpacked recordings: one file for each content, whole or absent."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fusion.core.contracts.errors import ParameterError, StorageError
from fusion.core.toolkit.unpacked import unpacked_folder, write_once


def test_the_name_is_the_digest_of_the_content(tmp_path):
    path = write_once(tmp_path / "new", b"sound", ".WAV")
    digest = hashlib.blake2b(b"sound", digest_size=20).hexdigest()
    assert path == tmp_path / "new" / digest[:2] / f"{digest}.wav"
    assert path.read_bytes() == b"sound"


def test_equal_content_is_written_once(tmp_path):
    first = write_once(tmp_path, b"sound", ".wav")
    before = first.stat()
    assert write_once(tmp_path, b"sound", ".wav") == first
    after = first.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert write_once(tmp_path, b"other", ".wav") != first
    assert len([p for p in tmp_path.rglob("*") if p.is_file()]) == 2


def test_a_file_that_was_cut_short_is_written_again(tmp_path):
    path = write_once(tmp_path, b"sound", "")
    path.write_bytes(b"so")
    assert write_once(tmp_path, b"sound", "").read_bytes() == b"sound"


def test_many_writers_of_one_content_leave_one_file(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(lambda _: write_once(tmp_path, b"x" * 10000, ".flac"), range(50)))
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == list(paths)


@pytest.mark.parametrize("suffix", ["wav", "/../../x", ".w/v", ".toolongsuffix", "."])
def test_a_suffix_can_not_leave_the_folder(tmp_path, suffix):
    with pytest.raises(ParameterError, match="suffix"):
        write_once(tmp_path, b"sound", suffix)


def test_a_folder_that_can_not_be_written_to_is_an_error_with_a_hint(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="can't be unpacked") as caught:
        write_once(tmp_path / "file", b"sound", ".wav")
    assert "FUSION_UNPACKED" in (caught.value.hint or "")


def test_the_folder_is_named_by_the_environment_or_beside_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FUSION_UNPACKED", str(tmp_path / "here"))
    assert unpacked_folder() == tmp_path / "here"
    monkeypatch.delenv("FUSION_UNPACKED")
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: Path(tmp_path, name))
    assert unpacked_folder() == tmp_path / "fusion" / "unpacked"
