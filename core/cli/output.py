"""Output of commands beside their tables: JSON, warnings, and how to go on after Ctrl-C."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from ..display.plain_text import printable


def echo_json(value: Any) -> None:
    """Print plain values on standard output."""
    import json

    click.echo(json.dumps(value, indent=1))


def warn(text: str) -> None:
    """Print a warning on standard error."""
    click.echo(click.style("warning: ", fg="yellow") + printable(text), err=True)


def echo_failure(text: str) -> None:
    """Print why one recording failed, on standard error; the command goes on with the others."""
    click.echo(click.style("error: ", fg="red") + printable(text), err=True)


def dated_folder(given: str | None, parent: str) -> Path:
    """The folder that was given, or a new one in `parent` called by the time."""
    from datetime import datetime

    return Path(given or Path(parent) / datetime.now().strftime("%Y%m%d-%H%M%S"))


@contextlib.contextmanager
def resumable(begun: Path, how: str) -> Iterator[None]:
    """Print `how` to go on where Ctrl-C ends the block after the file `begun` was written."""
    try:
        yield
    except KeyboardInterrupt:
        if begun.is_file():
            click.echo(f"\nGo on with{how}", err=True)
        raise
