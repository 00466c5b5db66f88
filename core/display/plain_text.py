"""Text that is safe to print: file names and labels without control characters."""

from __future__ import annotations

import re

# Control characters except tab and line break, and characters that reverse the direction of text.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Return `text` with ``?`` for control characters and for bytes that are not UTF-8.

    File names and labels may contain control characters and bytes that are not UTF-8. An escape
    sequence would control the terminal. A name that is not UTF-8 can't be printed at all. Tabs and
    line breaks are kept.
    """
    return _CONTROL.sub("?", text.encode("utf-8", "replace").decode())


def echo(text: str = "", *, err: bool = False, nl: bool = True) -> None:
    """Print a :func:`printable` text without colours, on standard output or standard error."""
    import click

    click.echo(printable(text), err=err, nl=nl)
