"""Terminal output of a comparison: progress on standard error, tables on standard output."""

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

_LISTED = 12  # maximum number of cells in the printed table; table.md holds all cells
_BAR = "models"


class CompareDisplay(Display, CompareObserver):
    """Progress of a comparison, with the number of failed cells in `failures`."""

    def __init__(self, *, quiet: bool = False) -> None:
        super().__init__(quiet=quiet)
        self.failures = 0

    def gridded(self, grid: PlannedGrid, request: Request) -> None:
        """Print the numbers of cells, controls, seeds and trials, and the excluded cells."""
        requested = sum(not cell.control for cell in request.cells)
        controls = len(request.cells) - requested
        also = f" and {controls} controls" if controls else ""
        trials = request.config.tune
        tuned = f", {trials} trials of every training" if trials else ""
        self._say(f"[bold]methods[/]   {requested} cells{also}, {_seeds(request.seeds)}{tuned}")
        for cell, reason in grid.refused.items():
            self._say(f"[yellow]          left out[/] {escape(cell.name)}: {escape(reason)}")

    def budgeted(self, epochs: int, trainings: int, finished: int) -> None:
        """Print the number of trainings and their epochs, and start the bar."""
        before = f", {finished} of them finished before" if finished else ""
        self._say(f"[bold]training[/]  {trainings} models, baselines of {epochs} epochs{before}")
        self._bar(_BAR, finished, trainings, "")

    def cell_training(self, cell: str, summary: Mapping[str, Any]) -> None:
        """Advance the bar by one training."""
        if _BAR in self._bars:
            self._progress.advance(self._bars[_BAR])
            self._progress.update(self._bars[_BAR], note=escape(cell))

    def concluded(self, cell: Cell, seed: int, run: Run) -> None:
        """Print the validation and test UAR of a finished cell."""
        models = {m["name"]: m for m in run.read_json("results.json")["models"]}
        fused = models[FUSED]
        self._say(
            f"          {cell.name:<32} seed {seed}: validation UAR "
            f"{100 * fused['val_uar']:.1f}, test {100 * fused['uar']['value']:.1f}"
        )

    def failed(self, cell: Cell, seed: int, reason: str) -> None:
        """Count a failed cell and print the reason."""
        self.failures += 1
        self._say(f"[red]          failed[/] {escape(cell.name)}, seed {seed}: {escape(reason)}")


def _seeds(seeds: tuple[int, ...]) -> str:
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"


def print_comparisons(comparisons: Comparisons, out: Path) -> None:
    """Print the tables of a comparison, its conclusions, and the paths of its files."""
    console = new_console()
    console.print()
    lines = matrix(comparisons)
    if len(lines) > 2 and len(lines[0]) > 2:
        table = plain_table("Test UAR (%) by balancer and strategy", lines[0], overflow="fold")
        for cells in lines[1:]:
            table.add_row(*cells)
        console.print(table)
        console.print()
    rows = by_score(comparisons)
    console.print(_detail(comparisons, rows[:_LISTED]))
    if len(rows) > _LISTED:
        console.print(f"and {len(rows) - _LISTED} more in {escape(str(out / 'table.md'))}")
    console.print()
    first, *rest = sentences(comparisons)
    console.print(Text(first, style="bold"))
    for sentence in rest:
        console.print(Text(sentence))
    for name, reason in comparisons.missing.items():
        console.print(f"[yellow]not trained:[/] {escape(name)}: {escape(reason)}")
    console.print(f"\nall figures: {escape(str(out))}/table.md, table.csv, results.json")
    best_folder = escape(comparisons.best.cell.folder)
    console.print(f"runs of the best cell: {escape(str(out))}/seed*/{best_folder}")


_COLUMNS = ("method", "UAR [95 %]", "validation", "rank", "vs single (p)", "vs ensemble (p)",
            "vs plain (p)", "reads", "seconds")  # fmt: skip


def _detail(comparisons: Comparisons, rows: list[Row]) -> Table:
    independent = comparisons.speaker_independent
    speakers = "on held-out speakers" if independent else "SPEAKER-DEPENDENT"
    conditions = ", ".join(filter(None, (speakers, task_name(comparisons.adapt))))
    title = f"Test, {conditions}, sorted by validation UAR; p after Holm, controls dim"
    # On a narrow terminal, a table cell is folded and not cut: a truncated number would be wrong.
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
    for name, interval in comparisons.others.items():
        val = comparisons.others_val.get(name)
        shown = "" if val is None else f"{100 * val:.1f}"
        table.add_row(name, percent(interval), shown, *[""] * (len(_COLUMNS) - 3))
    return table
