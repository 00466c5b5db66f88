"""Terminal output of an audit: progress on standard error, the table on standard output."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ...cache import FeatureCache
from ..data.task import task_name
from ..runs.outcome.results import interval_text
from ..runs.plan import Plan
from ..workflows.audit import AuditObserver, PlannedAudit
from ..workflows.audit_results import Audit, Column, flattery_sentence, remarks
from .console import new_console
from .plain_tables import plain_table
from .run import Display


class AuditDisplay(Display, AuditObserver):
    """Progress of an audit, split by split."""

    def audited(self, planned: PlannedAudit) -> None:
        """Print the corpora, the audited splits, and the splits that are left out."""
        self._upstream = FeatureCache(planned.first.config.cache).upstream
        self.say_corpora(planned.first)
        self._say(f"[bold]splits[/]    {', '.join(planned.plans)}")
        for split, reason in planned.refused.items():
            self._say(f"[yellow]          left out[/] {split}: {escape(reason)}")

    def split_begins(self, split: str, plan: Plan, *, finished: bool) -> None:
        """Print the heading of the next split; unless its run is finished, print the part sizes."""
        self._best.clear()
        state = ": finished before" if finished else ""
        self._say(f"\n[bold underline]{split}[/]{state}")
        if not finished:
            self.say_split(plan)

    def planned(self, plan: Plan) -> None:
        """Print nothing, because `audited` has already described the plans of all splits."""


def print_audit(audit: Audit, out: Path) -> None:
    """Print the table of an audit, its conclusions, and the paths of its files."""
    console = new_console()
    console.print()
    console.print(_table(audit))
    console.print()
    console.print(Text(flattery_sentence(audit), style="bold"))
    for remark in remarks(audit):
        console.print(Text(remark))
    for split, reason in audit.refused.items():
        console.print(f"[yellow]left out:[/] {split}: {escape(reason)}")
    if audit.synthetic:
        console.print(
            "[yellow]The recordings are synthetic: "
            "these figures are no evidence about real speech.[/]"
        )
    console.print(f"\nall figures: {escape(str(out))}/audit.json, audit.csv")
    runs = ", ".join(column.split for column in audit.columns)
    console.print(f"run directories in {escape(str(out))}: {runs}")


def _table(audit: Audit) -> Table:
    columns = audit.columns
    title = ", ".join(filter(None, ("UAR (%) by model and split", task_name(audit.adapt))))
    table = plain_table(title, ["", *(column.split for column in columns)], no_wrap=True)

    def add(name: str, cells: Sequence[str] = ()) -> None:
        """Add a row to the table; without cells, the row is a heading."""
        table.add_row(name, *cells, style="" if cells else "bold")

    names = [model.name for model in columns[0].models]
    leaks = [column.leakage for column in columns]
    add("speakers are", [_speakers(c) for c in columns])
    table.add_section()
    add("test, with 95 % intervals")
    for name in names:
        add(f"  {name}", [interval_text(c.model(name).uar) for c in columns])
    add("validation")
    for name in names:
        add(f"  {name}", [f"{100 * c.model(name).val_uar:.1f}" for c in columns])
    table.add_section()
    add("folds", [str(c.folds) for c in columns])
    add("training clips", [str(c.train_clips) for c in columns])
    add("test speakers", [str(c.test_speakers) for c in columns])
    add("test clips", [str(leak.clips) for leak in leaks])
    add("test clips with, in training,")
    add("  their speaker", [_share(leak.speaker, leak.clips) for leak in leaks])
    add("  their sentence", [_share(leak.sentence, leak.known) for leak in leaks])
    add("  their corpus", [_share(leak.corpus, leak.clips) for leak in leaks])
    add("  the same recording", [_share(leak.recording, leak.clips) for leak in leaks])
    return table


def _speakers(column: Column) -> str:
    return "kept apart" if column.speaker_independent else "not kept apart"


def _share(count: int, clips: int) -> str:
    """Return `count` and its percentage of `clips` as text; "not known" if `clips` is 0."""
    return f"{count} ({100 * count / clips:.0f} %)" if clips else "not known"
