"""Tables of figures as every command prints them: without lines, names left, figures right."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from rich.table import Table


def plain_table(
    title: str, header: Iterable[str], *, left: Collection[str] = (), **column: Any
) -> Table:
    """Return a table without rows.

    Parameters
    ----------
    title : str
        Printed above it.
    header : iterable of str
        Headings of the columns. The first column is left-aligned, the others right-aligned.
    left : collection of str
        Headings of other columns that are left-aligned.
    **column
        What each column gets besides, as `rich.table.Table.add_column` takes it.
    """
    table = Table(title=title, title_justify="left", box=None, pad_edge=False,
                  header_style="bold", title_style="")  # fmt: skip
    for number, name in enumerate(header):
        to_the_left = number == 0 or name in left
        table.add_column(name, justify="left" if to_the_left else "right", **column)
    return table
