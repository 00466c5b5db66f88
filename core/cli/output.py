"""Output of commands, except tables: JSON, warnings, and the command that resumes the work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from ..display.plain_text import echo, printable


def echo_json(value: Any) -> None:
    """Print `value` as JSON on standard output."""
    import json

    click.echo(json.dumps(value, indent=1))


def warn(text: str) -> None:
    """Print a warning on standard error."""
    click.echo(click.style("warning: ", fg="yellow") + printable(text), err=True)


def echo_failure(text: str) -> None:
    """Print on standard error why one recording failed; the command continues."""
    click.echo(click.style("error: ", fg="red") + printable(text), err=True)


def dated_folder(folder: str | None, parent: str) -> Path:
    """Return `folder`; if None, return a folder in `parent` named after the current time."""
    from datetime import datetime

    return Path(folder or Path(parent) / datetime.now().strftime("%Y%m%d-%H%M%S"))


@contextlib.contextmanager
def resumable(marker: Path, command: str) -> Iterator[None]:
    """Print the `command` that resumes the work if Ctrl-C interrupts the ``with`` block.

    The file `marker` exists as soon as work is stored. If `marker` is missing, nothing is printed.
    """
    try:
        yield
    except KeyboardInterrupt:
        if marker.is_file():
            echo(f"\nTo resume: {command}", err=True)
        raise
