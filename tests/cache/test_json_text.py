"""Text of strangers: what is no regular file, too large or too deep is refused at once."""

import os
from pathlib import Path

import pytest

from fusion.cache.json_text import parse_json, read_bytes, read_json, read_text


def test_values_are_those_of_json(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"ä": [1, 2.5, null]}', encoding="utf-8")
    assert read_json(tmp_path / "a.json") == {"ä": [1, 2.5, None]}


@pytest.mark.parametrize("bracket", ["[", '{"a":'])
def test_deep_nesting_is_a_value_error(bracket: str) -> None:
    with pytest.raises(ValueError):
        parse_json(bracket * 200_000)


def test_bytes_that_are_not_utf8_are_a_value_error(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'{"a": "\xff\xfe"}')
    with pytest.raises(ValueError):
        read_json(tmp_path / "a.json")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_named_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        read_text(tmp_path / "pipe")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero on this system")
def test_a_device_behind_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/zero")
    with pytest.raises(OSError, match="not a regular file"):
        read_bytes(tmp_path / "link")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        read_bytes(tmp_path)


def test_the_size_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(11))
    assert len(read_bytes(tmp_path / "large", max_bytes=11)) == 11
    with pytest.raises(OSError, match="larger than 10 bytes"):
        read_bytes(tmp_path / "large", max_bytes=10)
