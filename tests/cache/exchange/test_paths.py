"""Search for the files that a table names."""

import pytest
from touched import touch

from fusion.cache.exchange.paths import AmbiguousPath, PathFinder, is_file, parts_of


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a/b.wav", ("a", "b.wav")), ("./a/./b.wav", ("a", "b.wav")), ("/a/b.wav", ("a", "b.wav")),
        ("../../a/b.wav", ("a", "b.wav")), ("a/../b.wav", ("b.wav",)), ("", ()), ("/", ()),
        (r"C:\data\b.wav", ("data", "b.wav")), (r"..\a\b.wav", ("a", "b.wav")),
        ("C:/data/b.wav", ("data", "b.wav")), ("file:///a/b.wav", ("a", "b.wav")),
        ("~/b.wav", ("b.wav",)),
    ],
)  # fmt: skip
def test_components(name, parts):
    assert parts_of(name) == parts


def found(root, *names, of=None):
    finder = PathFinder(root, names if of is None else of, suffixes=(".wav", ".flac"))
    files = [finder.find(name) for name in names]
    return [f.relative_to(root).as_posix() if is_file(f) else None for f in files]


def test_the_path_itself_comes_first(tmp_path):
    touch(tmp_path, "a.wav", "deep/a.wav")
    assert found(tmp_path, "a.wav", "deep/a.wav", str(tmp_path / "deep/a.wav")) == [
        "a.wav", "deep/a.wav", "deep/a.wav",
    ]  # fmt: skip


def test_trailing_components_decide_without_regard_to_case(tmp_path):
    touch(tmp_path, "x/DC/a01.wav", "x/JE/a01.wav", "y/B02.WAV")
    names = ("SAVEE/dc/A01.wav", r"D:\SAVEE\JE\a01.wav", "b02.wav")
    assert found(tmp_path, *names) == ["x/DC/a01.wav", "x/JE/a01.wav", "y/B02.WAV"]


def test_a_missing_file_is_not_replaced_by_another_row_s_file(tmp_path):
    touch(tmp_path, "DC/a01.wav")
    rows = ("DC/a01.wav", "JE/a01.wav")
    assert found(tmp_path, *rows) == ["DC/a01.wav", None]
    assert found(tmp_path, "JE/a01.wav") == [None]  # also if no row names the other file
    assert found(tmp_path, "a01.wav", "~nobody_here/a01.wav") == [None, None]
    assert found(tmp_path, "a01.wav") == ["DC/a01.wav"]
    touch(tmp_path / "flat", "b01.wav")
    assert found(tmp_path / "flat", "/old/JE/b01.wav") == ["b01.wav"]  # copied into one folder
    assert found(tmp_path, *(f"/old/{row}" for row in rows)) == ["DC/a01.wav", None]


def test_two_candidates_are_an_error_that_names_both(tmp_path):
    touch(tmp_path, "DC/a01.wav", "JE/a01.wav")
    with pytest.raises(AmbiguousPath) as caught:
        found(tmp_path, "a01.wav")
    assert [f.parent.name for f in caught.value.files] == ["DC", "JE"]


def test_another_format_of_the_same_stem_is_accepted(tmp_path):
    touch(tmp_path, "s/a.flac", "s/a.wav", "s/a.txt", "s/b.txt", "s/c.wav")
    assert found(tmp_path, "s/a.mp3", "s/b.mp3", "c") == ["s/a.wav", None, "s/c.wav"]


def test_names_that_no_file_can_have(tmp_path):
    touch(tmp_path, "a.wav")
    assert found(tmp_path, "x" * 5000 + ".wav", "nul\0.wav", "") == [None, None, None]
