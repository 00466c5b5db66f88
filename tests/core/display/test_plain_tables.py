"""Tables without borders: names are left-aligned, figures right-aligned."""

from __future__ import annotations

from fusion.core.display.plain_tables import plain_table


def test_figures_are_right_aligned() -> None:
    table = plain_table("Scores", ["model", "UAR", "note"], left=["note"], no_wrap=True)
    assert [(column.header, column.justify) for column in table.columns] == [
        ("model", "left"),
        ("UAR", "right"),
        ("note", "left"),
    ]
    assert all(column.no_wrap for column in table.columns)
    assert (table.title, table.box) == ("Scores", None)
