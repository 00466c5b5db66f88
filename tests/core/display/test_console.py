"""Consoles: control characters from outside are replaced, their own are kept."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.table import Table
from rich.text import Text

from fusion.core.display.console import SafeConsole, new_console
from fusion.core.display.run import Display


def recorded(**options: Any) -> SafeConsole:
    return SafeConsole(file=io.StringIO(), width=60, highlight=False, **options)


def test_control_characters_in_texts_markup_and_tables_are_replaced() -> None:
    console = recorded()
    table = Table("head\x1b[2J", title="title\x9b2J", box=None)
    table.add_row("cell\x1b]0;owned")
    for subject in ("line\x1b[31m", Text("text\x1b[31m"), table):
        console.print(subject)
    output = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b" not in output and "\x9b" not in output
    for expected in ("line?[31m", "text?[31m", "head?[2J", "title?2J", "cell?]0;owned"):
        assert expected in output  # uncut: the width was measured as printed


def test_a_name_that_is_not_valid_utf8_can_be_printed() -> None:
    console = recorded()
    console.print("b\udcff.wav", markup=False)
    assert console.file.getvalue() == "b?.wav\n"  # type: ignore[attr-defined]


def test_the_console_keeps_its_own_styles_and_cursor_control() -> None:
    console = recorded(force_terminal=True, color_system="standard")
    console.print("[bold]loud[/]\x1b[31m")
    console.show_cursor(False)
    output = console.file.getvalue()  # type: ignore[attr-defined]
    assert output == "\x1b[1mloud\x1b[0m?[31m\n\x1b[?25l"


@pytest.mark.parametrize(("columns", "width"), [("80", 160), ("200", 200)])
def test_a_pipe_gets_wide_tables(columns: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert new_console().width == width


def test_progress_uses_a_safe_console() -> None:
    assert isinstance(Display(quiet=True).console, SafeConsole)
