"""What a person sees of a repair: each step as it goes, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.text import Text

from ..analysis.diagnosis import Diagnosis
from ..runs.outcome.results import comparison_text, interval_text
from ..runs.trainings import FUSED, Training
from ..workflows.repair import Repair, RepairObserver, Step
from .console import new_console
from .findings import one_line
from .plain_tables import plain_table
from .run import Display, print_result


class RepairDisplay(Display, RepairObserver):
    """Shows a repair on standard error as it goes on."""

    def training(self, run: Path, epochs: Mapping[Training, int], trials: int = 1) -> None:
        self._epochs, self._trials = dict(epochs), trials
        self._best.clear()

    def trained(self, training: Training, summary: Mapping[str, Any]) -> None:
        if training.name in self._bars:
            self._progress.remove_task(self._bars.pop(training.name))

    def diagnosed(self, diagnosis: Diagnosis, base: Step, goal: float) -> None:
        self.evaluating()
        found = one_line(diagnosis.findings) or "nothing that the rules know of"
        self._say(f"[bold]diagnosis[/] {found}")
        scores = ", ".join(f"{escape(m)} {100 * uar:.1f}" for m, uar in base.val_uar.items())
        self._say(f"[bold]base[/]      validation UAR: {scores}; to be reached: {100 * goal:.1f}")

    def trying(self, name: str, words: Sequence[str]) -> None:
        self._say(f"[bold]{escape(name):<9}[/] {escape(' '.join(words))}")

    def stepped(self, step: Step, best: Step) -> None:
        self.evaluating()
        if step.refused:
            self._say(f"          left out: {escape(step.refused)}")
            return
        kept = "kept" if step.kept else f"not kept; the best so far is {escape(best.name)}"
        self._say(
            f"          fused {100 * step.fused:.1f} on validation, {100 * step.gain:+.1f} against "
            f"the base, in {step.seconds:.0f} s: {kept}"
        )


def print_repair(done: Repair) -> None:
    """Every step, what is handed out, and its test."""
    console = new_console()
    header = ["step", *done.steps[0].val_uar, "gain", "what it changed"]
    table = plain_table("Validation UAR (%), means over folds", header, left=header[-1:])
    for step in done.steps:
        scores = [f"{100 * x:.1f}" for x in step.val_uar.values()]
        scores += [""] * (len(done.steps[0].val_uar) - len(scores))
        gain = "" if step.refused or step is done.steps[0] else f"{100 * step.gain:+.1f}"
        star = " *" if step.name == done.chosen.name else ""
        table.add_row(
            step.name + star, *scores, gain,
            escape(f"left out: {step.refused}" if step.refused else " ".join(step.words)),
            style="bold" if star else "",
        )  # fmt: skip
    console.print()
    console.print(table)
    console.print("* what is handed out is of this step")
    console.print()
    console.print(Text(_sentence(done), style="bold"))
    print_result(done.result)
    before = done.before.results
    fused, single = before.model(FUSED).uar, before.model(done.best_single).uar
    console.print(
        f"\nbefore, on the same test clips: fused {interval_text(fused)}, {done.best_single} "
        f"{interval_text(single)}"
    )
    difference = escape(comparison_text(done.against_base))  # [n/a, n/a] is no markup
    console.print(f"handed out minus {done.best_single} as it was: {difference}")


def _sentence(done: Repair) -> str:
    base, chosen = done.steps[0], done.chosen
    single = f"{done.best_single} alone had {100 * base.val_uar[done.best_single]:.1f}"
    begun = f"The fused model had {100 * base.fused:.1f} UAR on validation, {single}"
    if done.reached:
        return f"{begun}; mended, it has {100 * chosen.val_uar[FUSED]:.1f}."
    return (
        f"{begun}; no step reached {100 * done.goal:.1f}. The best fused model has "
        f"{100 * max(step.fused for step in done.steps):.1f}; what is handed out is whatever "
        f"validation found best, {100 * chosen.best:.1f}."
    )
