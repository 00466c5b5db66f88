"""Terminal output of a repair: progress of each step, and a table of the outcome."""

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
    """Progress of a repair on standard error."""

    def training(self, run: Path, epochs: Mapping[Training, int], trials: int = 1) -> None:
        """Store the epochs and trials of the trainings for the progress bars; print nothing."""
        self._epochs, self._trials = dict(epochs), trials
        self._best.clear()

    def trained(self, training: Training, summary: Mapping[str, Any]) -> None:
        """Remove the bar of a finished training; print nothing."""
        if training.name in self._bars:
            self._progress.remove_task(self._bars.pop(training.name))

    def diagnosed(self, diagnosis: Diagnosis, base: Step, goal: float) -> None:
        """Print the findings, the validation scores of the base run, and the target."""
        self.evaluating()
        findings = one_line(diagnosis.findings) or "no rule found a fault"
        self._say(f"[bold]diagnosis[/] {findings}")
        scores = ", ".join(f"{escape(m)} {100 * uar:.1f}" for m, uar in base.val_uar.items())
        self._say(f"[bold]base[/]      validation UAR: {scores}; target: {100 * goal:.1f}")

    def trying(self, name: str, words: Sequence[str]) -> None:
        """Print the name of a remedy and the options that it changes."""
        self._say(f"[bold]{escape(name):<9}[/] {escape(' '.join(words))}")

    def stepped(self, step: Step, best: Step) -> None:
        """Print the validation score of a step, and whether the step is kept or left out."""
        self.evaluating()
        if step.refused:
            self._say(f"          left out: {escape(step.refused)}")
            return
        decision = "kept" if step.kept else f"not kept; the best so far is {escape(best.name)}"
        self._say(
            f"          fused {100 * step.fused:.1f} on validation, {100 * step.gain:+.1f} against "
            f"the base, in {step.seconds:.0f} s: {decision}"
        )


def print_repair(repair: Repair) -> None:
    """Print a table of the steps, and the test results of the chosen step and of the base run."""
    console = new_console()
    base = repair.steps[0]
    header = ["step", *base.val_uar, "gain", "changes"]
    table = plain_table("Validation UAR (%), means over folds", header, left=header[-1:])
    for step in repair.steps:
        scores = [f"{100 * x:.1f}" for x in step.val_uar.values()]
        scores += [""] * (len(base.val_uar) - len(scores))
        gain = "" if step.refused or step is base else f"{100 * step.gain:+.1f}"
        star = " *" if step.name == repair.chosen.name else ""
        table.add_row(
            step.name + star, *scores, gain,
            escape(f"left out: {step.refused}" if step.refused else " ".join(step.words)),
            style="bold" if star else "",
        )  # fmt: skip
    console.print()
    console.print(table)
    console.print("* chosen step: fusion predict uses its models")
    console.print()
    console.print(Text(_sentence(repair), style="bold"))
    print_result(repair.result)
    before = repair.before.results
    fused, single = before.model(FUSED).uar, before.model(repair.best_single).uar
    console.print(
        f"\nbefore the repair, on the same test clips: fused {interval_text(fused)}, "
        f"{repair.best_single} {interval_text(single)}"
    )
    difference = escape(comparison_text(repair.against_base))  # [n/a] is not rich markup
    console.print(f"chosen model minus {repair.best_single} before the repair: {difference}")


def _sentence(repair: Repair) -> str:
    base, chosen = repair.steps[0], repair.chosen
    single = f"{repair.best_single} alone reached {100 * base.val_uar[repair.best_single]:.1f}"
    before = f"The fused model reached {100 * base.fused:.1f} UAR on validation, {single}"
    if repair.reached:
        return f"{before}; after the repair it reaches {100 * chosen.val_uar[FUSED]:.1f}."
    return (
        f"{before}; no step reached the target {100 * repair.goal:.1f}. The best fused model "
        f"reaches {100 * max(step.fused for step in repair.steps):.1f}. The chosen model is the "
        f"best candidate on validation, with {100 * chosen.best:.1f}."
    )
