"""Option ``--trace-hooks``: print the duration of the calls of each plugin in a command."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import click

from ..display.plain_text import echo

ENVIRONMENT = "FUSION_TRACE_HOOKS"

_ON = {"1", "true", "yes", "on"}
_OFF = {"", "0", "false", "no", "off"}


def requested_by_environment() -> bool:
    """Return whether the environment variable ``FUSION_TRACE_HOOKS`` asks for a trace."""
    return os.environ.get(ENVIRONMENT, "").lower() not in _OFF


def start_trace(ctx: click.Context) -> None:
    """Trace plugin calls until the command ends; a second call has no effect."""
    root = ctx.find_root()
    if not root.obj.get("traced"):
        root.obj["traced"] = True
        root.with_resource(_traced(root, _file()))


def _file() -> Path | None:
    """Return the file for the trace that ``FUSION_TRACE_HOOKS`` names; None if no file is named."""
    from ..contracts.errors import UserError

    value = os.environ.get(ENVIRONMENT, "")
    if value.lower() in _ON | _OFF:
        return None
    path = Path(value).expanduser().absolute()
    if path.is_dir() or not path.parent.is_dir():
        problem = "it is a folder" if path.is_dir() else f"the folder {path.parent} does not exist"
        raise UserError(
            f"The trace can't be written to {path}, the value of {ENVIRONMENT}: {problem}.",
            hint=f"Name a file in an existing folder, or set {ENVIRONMENT}=1 to write the trace "
            "into the run directory.",
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
        echo("\n" + "\n".join(table(trace)), err=True)
        if file is not None:
            try:
                trace.write(file, f"fusion {root.invoked_subcommand}")
            except OSError as error:
                echo(f"The trace can't be written to {file}: {error.strerror}", err=True)
            else:
                echo(f"trace file: {file}", err=True)
