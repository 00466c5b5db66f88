"""Common table style of all commands: no rules, names left-aligned, numbers right-aligned."""

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
        Title, printed above the table.
    header : iterable of str
        Headings of the columns. The first column is left-aligned; other columns are right-aligned.
    left : collection of str
        Headings of columns to align left, in addition to the first column.
    **column
        Further arguments of `rich.table.Table.add_column` for each column.
    """
    table = Table(title=title, title_justify="left", box=None, pad_edge=False,
                  header_style="bold", title_style="")  # fmt: skip
    for number, name in enumerate(header):
        left_aligned = number == 0 or name in left
        table.add_column(name, justify="left" if left_aligned else "right", **column)
    return table
