"""What a person sees of a comparison: progress on standard error, tables on standard out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ..data.task import task_name
from ..runs.run import Run
from ..runs.trainings import FUSED
from ..workflows.compare import CompareObserver
from ..workflows.comparison import Comparisons, Row
from ..workflows.comparison_tables import by_score, matrix, percent, sentences, tested
from ..workflows.grid import Cell, PlannedGrid, Request
from .console import new_console
from .plain_tables import plain_table
from .run import Display

_LISTED = 12  # cells in the table; all of them are in table.md
_BAR = "models"


class CompareDisplay(Display, CompareObserver):
    """Shows a comparison as it goes on."""

    def __init__(self, *, quiet: bool = False) -> None:
        super().__init__(quiet=quiet)
        self.failures = 0

    def gridded(self, grid: PlannedGrid, request: Request) -> None:
        asked = sum(not cell.control for cell in request.cells)
        controls = len(request.cells) - asked
        also = f" and {controls} controls" if controls else ""
        trials = request.config.tune
        tuned = f", {trials} trials of every training" if trials else ""
        self._say(f"[bold]methods[/]   {asked} cells{also}, {_seeds(request.seeds)}{tuned}")
        for cell, reason in grid.refused.items():
            self._say(f"[yellow]          left out[/] {escape(cell.name)}: {escape(reason)}")

    def budgeted(self, epochs: int, trainings: int, finished: int) -> None:
        known = f", {finished} of them done before" if finished else ""
        self._say(f"[bold]training[/]  {trainings} models, baselines of {epochs} epochs{known}")
        self._bar(_BAR, finished, trainings, "")

    def cell_training(self, cell: str, summary: Mapping[str, Any]) -> None:
        if _BAR in self._bars:
            self._progress.advance(self._bars[_BAR])
            self._progress.update(self._bars[_BAR], note=escape(cell))

    def concluded(self, cell: Cell, seed: int, run: Run) -> None:
        models = {m["name"]: m for m in run.read_json("results.json")["models"]}
        fused = models[FUSED]
        self._say(
            f"          {cell.name:<32} seed {seed}: validation UAR "
            f"{100 * fused['val_uar']:.1f}, test {100 * fused['uar']['value']:.1f}"
        )

    def failed(self, cell: Cell, seed: int, reason: str) -> None:
        self.failures += 1
        self._say(f"[red]          failed[/] {escape(cell.name)}, seed {seed}: {escape(reason)}")


def _seeds(seeds: tuple[int, ...]) -> str:
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"


def print_comparisons(found: Comparisons, out: Path) -> None:
    """The tables, what they say, and where the rest is."""
    console = new_console()
    console.print()
    lines = matrix(found)
    if len(lines) > 2 and len(lines[0]) > 2:
        table = plain_table("Test UAR (%) by balancer and strategy", lines[0], overflow="fold")
        for cells in lines[1:]:
            table.add_row(*cells)
        console.print(table)
        console.print()
    rows = by_score(found)
    console.print(_detail(found, rows[:_LISTED]))
    if len(rows) > _LISTED:
        console.print(f"and {len(rows) - _LISTED} more in {escape(str(out / 'table.md'))}")
    console.print()
    first, *rest = sentences(found)
    console.print(Text(first, style="bold"))
    for sentence in rest:
        console.print(Text(sentence))
    for name, reason in found.missing.items():
        console.print(f"[yellow]not trained:[/] {escape(name)}: {escape(reason)}")
    console.print(f"\nall figures: {escape(str(out))}/table.md, table.csv, results.json")
    console.print(f"one cell's run: {escape(str(out))}/seed*/{escape(found.best.cell.folder)}")


_COLUMNS = ("method", "UAR [95 %]", "validation", "rank", "vs single (p)", "vs ensemble (p)",
            "vs plain (p)", "reads", "seconds")  # fmt: skip


def _detail(found: Comparisons, rows: list[Row]) -> Table:
    heard = "on speakers never heard" if found.speaker_independent else "SPEAKER-DEPENDENT"
    heard = ", ".join(filter(None, (heard, task_name(found.adapt))))
    title = f"Test, {heard}, from the best on validation down; p by Holm, controls dim"
    # Folded where a terminal is narrow: a figure that is cut short is another figure.
    table = plain_table(title, _COLUMNS, overflow="fold")
    for row in rows:
        table.add_row(
            row.cell.name,
            percent(row.uar),
            f"{100 * row.val_uar:.1f}",
            f"{row.rank:.1f}",
            *(tested(row.against.get(family)) for family in ("single", "ensemble", "plain")),
            ", ".join(row.reads),
            f"{row.seconds:.0f}",
            style="dim" if row.cell.control else "",
        )
    table.add_section()
    for name, interval in found.others.items():
        val = found.others_val.get(name)
        shown = "" if val is None else f"{100 * val:.1f}"
        table.add_row(name, percent(interval), shown, *[""] * (len(_COLUMNS) - 3))
    return table
