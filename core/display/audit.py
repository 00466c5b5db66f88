"""What a person sees of an audit: progress on standard error, the table on standard out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ...cache import FeatureCache
from ..data.split_modes import MODES
from ..data.task import task_name
from ..runs.outcome.results import interval_text
from ..runs.plan import Plan
from ..workflows.audit import AuditObserver, PlannedAudit
from ..workflows.audit_results import Audit, Column, flattery_sentence, remarks
from .run import Display, new_console, new_table


class AuditDisplay(Display, AuditObserver):
    """Shows an audit as it goes on, one split after the other."""

    def audited(self, planned: PlannedAudit) -> None:
        self._upstream = FeatureCache(planned.first.config.cache).upstream
        self.say_corpora(planned.first)
        self._say(f"[bold]splits[/]    {', '.join(planned.plans)}")
        for split, reason in planned.refused.items():
            self._say(f"[yellow]          left out[/] {split}: {escape(reason)}")

    def split_begins(self, split: str, plan: Plan, *, finished: bool) -> None:
        self._best.clear()
        done = ": finished before" if finished else ""
        self._say(f"\n[bold underline]{split}[/]{done}")
        if not finished:
            self.say_split(plan)

    def planned(self, plan: Plan) -> None:
        """Said before, all at once."""


def print_audit(audit: Audit, out: Path) -> None:
    """The table, what it says, and where the rest is."""
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
            "[yellow]Generated voices: for trying the tool. "
            "These figures are evidence of nothing.[/]"
        )
    console.print(f"\nall figures: {escape(str(out))}/audit.json, audit.csv")
    runs = ", ".join(column.split for column in audit.columns)
    console.print(f"run directories in {escape(str(out))}: {runs}")


def _table(audit: Audit) -> Table:
    columns = audit.columns
    title = ", ".join(filter(None, ("UAR (%) by model and split", task_name(audit.adapt))))
    table = new_table(title)
    table.add_column("", no_wrap=True)
    for column in columns:
        table.add_column(column.split, justify="right", no_wrap=True)

    def add(name: str, cell: Callable[[Column], str], style: str = "") -> None:
        table.add_row(name, *(cell(column) for column in columns), style=style)

    add("speakers are", _speakers)
    table.add_section()
    add("test, with 95 % intervals", lambda _: "", "bold")
    for name in _models(audit):
        add(f"  {name}", lambda c, name=name: interval_text(c.model(name).uar))  # type: ignore[misc]
    add("validation", lambda _: "", "bold")
    for name in _models(audit):
        add(f"  {name}", lambda c, name=name: f"{100 * c.model(name).val_uar:.1f}")  # type: ignore[misc]
    table.add_section()
    add("folds", lambda c: str(c.folds))
    add("training clips", lambda c: str(c.train_clips))
    add("test speakers", lambda c: str(c.test_speakers))
    add("test clips", lambda c: str(c.leakage.clips))
    add("test clips with, in training,", lambda _: "", "bold")
    add("  their speaker", lambda c: _share(c.leakage.speaker, c.leakage.clips))
    add("  their sentence", lambda c: _share(c.leakage.sentence, c.leakage.known))
    add("  their corpus", lambda c: _share(c.leakage.corpus, c.leakage.clips))
    add("  the same recording", lambda c: _share(c.leakage.recording, c.leakage.clips))
    return table


def _models(audit: Audit) -> list[str]:
    return [model.name for model in audit.columns[0].models]


def _speakers(column: Column) -> str:
    return "kept apart" if MODES[column.split].speaker_independent else "not kept apart"


def _share(count: int, clips: int) -> str:
    """Of the clips of which it is known."""
    return f"{count} ({100 * count / clips:.0f} %)" if clips else "not known"
