"""A bar on the terminal for one long piece of work; nothing elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

Advance = Callable[[int, int], None]
"""Receives how much is done, and how much there is."""


@contextlib.contextmanager
def bar(name: str, *, of_bytes: bool = False) -> Iterator[Advance]:
    """Show a bar on standard error until the context ends."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True, highlight=False)
    amount: ProgressColumn = DownloadColumn() if of_bytes else MofNCompleteColumn()
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        amount,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task(name, total=None)

        def advance(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield advance
