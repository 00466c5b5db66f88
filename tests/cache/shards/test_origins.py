from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.cache.shards.origins import origin_text, parse_origin

SECONDS = st.floats(0, 1e9, allow_nan=False)


@pytest.mark.parametrize(
    ("path", "start", "end", "text"),
    [
        ("/a/b.wav", 0, None, "/a/b.wav"),
        ("/a/b.wav", 1.5, 3, "/a/b.wav#t=1.5,3.0"),
        ("/a/b.wav", 1.5, None, "/a/b.wav#t=1.5,"),
        ("/a/b.wav", 0, 2, "/a/b.wav#t=0.0,2.0"),
        ("/a/b.wav", 1e-05, 1e17, "/a/b.wav#t=1e-05,1e+17"),
        # A file whose name looks like a part of another file.
        ("/a/b#t=1,2", 0, None, "/a/b#t=1,2#t=0.0,"),
    ],
)
def test_texts_of_origins(path: str, start: float, end: float | None, text: str) -> None:
    assert origin_text(Path(path), start, end) == text
    assert parse_origin(text) == (path, start, end)


@given(
    path=st.text(st.characters(exclude_characters="\0"), min_size=1),
    start=SECONDS,
    end=st.none() | SECONDS,
)
def test_parse_is_the_inverse(path: str, start: float, end: float | None) -> None:
    assert parse_origin(origin_text(path, start, end)) == (path, start, end)


@pytest.mark.parametrize("text", ["", "camera 7", "/a#t=e,", "/a#t=1", "/a#t=,2", "/a#t=1,x"])
def test_other_texts_are_paths(text: str) -> None:
    assert parse_origin(text) == (text, 0.0, None)
