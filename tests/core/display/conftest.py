"""Standard output of a display that prints to a pipe of 160 columns."""

import pytest

NASTY = "[/bold]\x1b[31m"  # would end a style and colour the terminal
SHOWN = "[/bold]?[31m"


@pytest.fixture
def nasty():
    """A label or file name, and the form in which it must be shown."""
    return NASTY, SHOWN


@pytest.fixture
def printed(capsys, monkeypatch):
    """Function that calls another and returns the lines of its standard output or error."""
    monkeypatch.setenv("COLUMNS", "160")

    def lines(show, *arguments, err=False):
        show(*arguments)
        out = capsys.readouterr()
        said = out.err if err else out.out
        assert "\x1b" not in said
        return [line.rstrip() for line in said.splitlines()]

    return lines
