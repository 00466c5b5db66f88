"""Text from outside without control characters."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.core.display.plain_text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb", "a?[31mb"),
        ("\x9b2J", "?2J"),  # the same sequence with a one-character introducer
        ("bell\x07, back\x08, return\r, delete\x7f, nothing\x00",
         "bell?, back?, return?, delete?, nothing?"),
        ("tab\tand\nline", "tab\tand\nline"),
        ("größe 情感 🎤", "größe 情感 🎤"),
        (os.fsdecode(b"b\xff.wav"), "b?.wav"),
        ("", ""),
    ],
)  # fmt: skip
def test_control_characters_become_question_marks(text: str, shown: str) -> None:
    assert printable(text) == shown


@settings(max_examples=30)
@given(st.text(st.characters(codec=None)))
def test_any_text_becomes_printable_and_keeps_its_length(text: str) -> None:
    shown = printable(text)
    assert len(shown) == len(text)
    assert all(c.isprintable() or c in "\t\n" or ord(c) > 0x9F for c in shown)
    assert printable(shown) == shown
    shown.encode()  # no lone surrogate remains
