from __future__ import annotations

from pathlib import Path

import pytest

from fusion.cache.shards.info import Problem, closed_folder, in_one_line


@pytest.mark.parametrize(
    ("reason", "line"),
    [
        ("It is odd.", "It is odd."),
        ("It is odd\n  hint: Remove it.", "It is odd. Remove it."),
        ("It is odd.\n  hint: Remove it.", "It is odd. Remove it."),
        (
            "Unable to open file (truncated file: eof = 3000, sblock->base_addr = 0, "
            "stored_eof = 9)",
            "truncated file",
        ),
        (
            "[Errno 21] Unable to open file (file read failed: time = Tue Nov 24 08:34:42 2026\n, "
            "filename = '/c/a.h5', file descriptor = 3, errno = 21, error message = "
            "'Is a directory', buf "
            "= 0x7ffd, offset = 0)",
            "file read failed: Is a directory",
        ),
        (
            "Bad: Unable to synchronously open file (file signature not found).",
            "Bad: file signature not found.",
        ),
        ("It has shape (2, 3), not (2,).",) * 2,
    ],
)
def test_reasons_are_shortened_to_one_line(reason: str, line: str) -> None:
    assert in_one_line(reason) == line


def test_a_path_is_named_once() -> None:
    path = Path("/c/a.h5")
    assert Problem(path, "It is odd.").line == "/c/a.h5: It is odd."
    assert Problem(path, "/c/a.h5 is odd.").line == "/c/a.h5 is odd."


def test_readable_and_missing_folders(tmp_path: Path) -> None:
    assert closed_folder(tmp_path) is None
    assert closed_folder(tmp_path / "none") is None
    (tmp_path / "file").touch()
    problem = closed_folder(tmp_path / "file")
    assert problem is not None and problem.line.endswith("file can't be read: Not a directory.")
