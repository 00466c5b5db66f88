"""``--trace-hooks``: what every command says of its plugins when it ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import click

ENVIRONMENT = "FUSION_TRACE_HOOKS"

_ON = {"1", "true", "yes", "on"}
_OFF = {"", "0", "false", "no", "off"}


def asked_for() -> bool:
    """Whether the environment asks for a trace."""
    return os.environ.get(ENVIRONMENT, "").lower() not in _OFF


def start_trace(ctx: click.Context) -> None:
    """Trace the rest of the command; begun once, whatever asks for it."""
    root = ctx.find_root()
    if not root.obj.get("traced"):
        root.obj["traced"] = True
        root.with_resource(_traced(root, _file()))


def _file() -> Path | None:
    """The file that the environment names."""
    from ..contracts.errors import UserError

    given = os.environ.get(ENVIRONMENT, "")
    if given.lower() in _ON | _OFF:
        return None
    path = Path(given).expanduser().absolute()
    if path.is_dir() or not path.parent.is_dir():
        what = "is a folder" if path.is_dir() else "lies in a folder that does not exist"
        raise UserError(
            f"{ENVIRONMENT} names the file for the trace, and {path} {what}.",
            hint="Name a file in a folder that exists, or set it to 1: the run directory then "
            "gets the file.",
        )
    return path


@contextlib.contextmanager
def _traced(root: click.Context, file: Path | None) -> Iterator[None]:
    from ..display.trace import table
    from ..registry.trace import FILE, tracing

    try:
        with tracing() as trace:
            yield
    finally:
        if trace.folder is not None and file is None and trace.folder.is_dir():
            file = trace.folder / FILE
        click.echo("\n" + "\n".join(table(trace)), err=True)
        if file is not None:
            try:
                trace.write(file, f"fusion {root.invoked_subcommand}")
            except OSError as error:
                click.echo(f"The trace can't be written to {file}: {error.strerror}", err=True)
            else:
                click.echo(f"all of it: {file}", err=True)
