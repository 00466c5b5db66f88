"""Standard output as a display prints it to a pipe of 160 columns."""

import pytest

NASTY = "[/bold]\x1b[31m"  # would end a style, and colour the terminal
SHOWN = "[/bold]?[31m"


@pytest.fixture
def nasty():
    """A label or file name, and how it has to be shown."""
    return NASTY, SHOWN


@pytest.fixture
def printed(capsys, monkeypatch):
    """Call something and return the lines of its standard output, or standard error."""
    monkeypatch.setenv("COLUMNS", "160")

    def lines(show, *arguments, err=False):
        show(*arguments)
        out = capsys.readouterr()
        said = out.err if err else out.out
        assert "\x1b" not in said
        return [line.rstrip() for line in said.splitlines()]

    return lines
