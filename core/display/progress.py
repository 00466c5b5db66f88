"""Progress bar for one long task, shown only if standard error is a terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

Advance = Callable[[int, int], None]
"""Function that receives the finished amount and the total amount of work."""


@contextlib.contextmanager
def bar(name: str, *, of_bytes: bool = False, keep_stdout: bool = False) -> Iterator[Advance]:
    """Show a progress bar until the context ends; yield the function that updates the bar.

    With `keep_stdout`, standard output is not redirected to the bar's terminal. Use this for
    results that are printed during the work, if standard output is a file or a pipe.
    """
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
        redirect_stdout=not keep_stdout,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task(name, total=None)

        def advance(completed: int, total: int) -> None:
            progress.update(task, completed=completed, total=total)

        yield advance
