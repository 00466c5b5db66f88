"""Conclusions and tables of a comparison: sentences, Markdown and CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..data.absence import absence_text
from ..data.task import with_task
from ..runs.outcome.results import SIGNIFICANT, p_text, points, smallest_p
from ..runs.outcome.selection import ENSEMBLE
from ..runs.run import OutputFolder
from ..runs.trainings import CONTROL
from ..toolkit.intervals import Interval
from .comparison import ORACLE, Comparisons, Row, Tested

_MB = 1e6


def sentences(comparisons: Comparisons) -> list[str]:
    """Return the conclusions of a comparison as sentences, the most important first."""
    single = comparisons.best_single
    texts = [
        _on_best(comparisons),
        _on_all(comparisons),
        _on_gate(comparisons),
        _on_chosen(comparisons),
    ]
    texts.append(
        f"The ensemble of the modalities reaches {percent(comparisons.others[ENSEMBLE])}, "
        f"{single} alone {percent(comparisons.others[single])}. An oracle that knew for each clip "
        f"which modality is right would reach {percent(comparisons.others[ORACLE])}."
    )
    texts[0] = with_task(comparisons.adapt, texts[0])
    if comparisons.control:
        texts.append(
            f"The control ({' or '.join(comparisons.control)} alone, trained for as many steps as "
            "a fused model and its baseline together) reaches "
            f"{percent(comparisons.others[CONTROL])}."
        )
    texts += absence_text(comparisons.absent)
    if not comparisons.speaker_independent:
        texts.append("Speaker-dependent: training contains clips of the test speakers.")
    if comparisons.synthetic:
        texts.append(
            "The recordings are synthetic: these figures are no evidence about real speech."
        )
    return texts


def _on_best(comparisons: Comparisons) -> str:
    best, test = comparisons.best, comparisons.best.against["single"]
    c = test.comparison
    return (
        f"On validation, {best.cell.name} is the best of {len(comparisons.rows)} fused models. "
        f"On test it reaches {percent(best.uar)} UAR, {points(c.difference)} points "
        f"[{points(c.low)}, {points(c.high)}] against {comparisons.best_single} alone (p = "
        f"{p_text(c.p_value)}, "
        f"{p_text(test.p_holm)} corrected for the {len(comparisons.rows)} comparisons; "
        f"{c.groups} test speakers).{_on_reading(best)}"
    )


def _on_reading(best: Row) -> str:
    """Return caveats on inputs of the best method that are not training clips."""
    caveats = {
        "baselines": " The method uses the trained baselines, whose training adds to its cost.",
        "validation": " The method learns from validation: its validation score is optimistic.",
    }
    return "".join(caveats[source] for source in best.reads)


def _on_all(comparisons: Comparisons) -> str:
    def count(family: str, sign: int) -> int:
        tests = [row.against[family] for row in comparisons.rows if family in row.against]
        return sum(t.p_holm < SIGNIFICANT and t.comparison.difference * sign > 0 for t in tests)

    text = (
        f"After Holm's correction {count('single', 1)} of {len(comparisons.rows)} fused models are "
        f"better than {comparisons.best_single} alone and {count('single', -1)} worse; "
        f"{count('ensemble', 1)} better than the ensemble and {count('ensemble', -1)} worse"
    )
    balanced = sum("plain" in row.against for row in comparisons.rows)
    if balanced:
        text += (
            f"; {count('plain', 1)} of {balanced} better than plain training of the same "
            f"strategy and {count('plain', -1)} worse"
        )
    if smallest_p(comparisons.speakers) * len(comparisons.rows) >= SIGNIFICANT:
        text += (
            f". With {comparisons.speakers} speakers and this number of comparisons, no corrected "
            "p-value can be below 0.05"
        )
    return text + "."


def _on_gate(comparisons: Comparisons) -> str:
    gates = sum(row.gate for row in comparisons.rows)
    chosen = sum(row.fused_chosen > 0 for row in comparisons.rows)
    return (
        f"In {gates} of {len(comparisons.rows)} cells the chosen model of every fold is at least "
        f"as good on validation as the best single modality. In {chosen} cells the fused model was "
        "chosen in at least one fold."
    )


def _on_chosen(comparisons: Comparisons) -> str:
    c = comparisons.handed_out_against
    return (
        "The best model of the whole grid on validation, chosen in each fold, reaches "
        f"{percent(comparisons.handed_out)} on test, {points(c.difference)} points "
        f"[{points(c.low)}, {points(c.high)}] against {comparisons.best_single} alone (p = "
        f"{p_text(c.p_value)})."
    )


def percent(interval: Interval) -> str:
    """Return a score in percent with its interval: ``"60.6 [55.1, 66.6]"``."""
    value = f"{100 * interval.value:.1f}"
    if interval.groups < 2:
        return value
    return f"{value} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def matrix(comparisons: Comparisons) -> list[list[str]]:
    """Return the test UAR by strategy (columns) and balancer (rows), with a header."""
    strategies = list(dict.fromkeys(row.cell.strategy for row in comparisons.rows))
    balances = list(dict.fromkeys(row.cell.balance for row in comparisons.rows))
    by_cell = {(row.cell.strategy, row.cell.balance): row for row in comparisons.rows}
    lines = [["balancer", *strategies]]
    for balance in balances:
        cells = [by_cell.get((strategy, balance)) for strategy in strategies]
        lines.append([balance, *("" if c is None else f"{100 * c.uar.value:.1f}" for c in cells)])
    return lines


HEADER = (
    "method", "UAR % [95 %]", "val UAR", "rank", "vs single (p Holm)", "vs ensemble (p Holm)",
    "vs plain (p Holm)", "Shapley", "reads", "s", "updates", "MB", "parameters",
)  # fmt: skip


def line(row: Row) -> list[str]:
    """Return the results of one cell as texts, in the columns of :data:`HEADER`."""
    shares = ", ".join(f"{m} {points(v)}" for m, v in row.contributions.items())
    return [
        row.cell.name,
        percent(row.uar),
        f"{100 * row.val_uar:.1f}",
        f"{row.rank:.1f}",
        *(tested(row.against.get(family)) for family in ("single", "ensemble", "plain")),
        shares,
        ", ".join(row.reads),
        f"{row.seconds:.0f}",
        "" if row.updates is None else f"{row.updates:,}",
        "" if row.peak_bytes is None else f"{row.peak_bytes / _MB:.0f}",
        f"{row.parameters:,}",
    ]


def tested(test: Tested | None) -> str:
    """Return points of UAR and corrected p-value as ``"+1.2 (0.031)"``; empty for None."""
    if test is None:
        return ""
    return f"{points(test.comparison.difference)} ({p_text(test.p_holm)})"


def by_score(comparisons: Comparisons) -> list[Row]:
    """Return the cells sorted by validation UAR, the best first."""
    return sorted(comparisons.rows, key=lambda row: -row.val_uar)


def markdown(comparisons: Comparisons) -> str:
    """Return all conclusions and tables of a comparison as Markdown."""
    tuned = f" in each of {comparisons.trials} trials" if comparisons.trials > 1 else ""
    parts = [
        f"{comparisons.folds} fold(s), {comparisons.seeds} seed(s), {_budget(comparisons)}{tuned}, "
        f"{comparisons.speakers} test speakers.",
        "\n".join(f"- {sentence}" for sentence in sentences(comparisons)),
        "Test UAR (%) by strategy and balancer:",
        _table(matrix(comparisons)),
        "Every cell, sorted by validation UAR:",
        _table([list(HEADER), *(line(row) for row in by_score(comparisons))]),
    ]
    if comparisons.missing:
        parts += ["Not trained:", "\n".join(f"- {n}: {r}" for n, r in comparisons.missing.items())]
    return "\n\n".join(parts) + "\n"


def _budget(comparisons: Comparisons) -> str:
    if comparisons.control:
        return f"baselines of {comparisons.epochs} epochs"
    return f"{comparisons.epochs} epochs each"


def _table(lines: Sequence[Sequence[str]]) -> str:
    rows = [f"| {' | '.join(cells)} |" for cells in lines]
    rule = f"|{'---|' * len(lines[0])}"
    return "\n".join([rows[0], rule, *rows[1:]])


def csv_rows(comparisons: Comparisons) -> Iterator[Sequence[Any]]:
    """Yield the rows of table.csv: a header, and one row per cell with unrounded numbers."""
    modalities = list(comparisons.rows[0].contributions)
    families = ("single", "ensemble", "plain")
    figures = ("difference", "low", "high", "p", "p_holm")
    yield ["strategy", "balancers", "rate", "control", "uar", "low", "high", "val_uar", "rank",
           *(f"{family}_{figure}" for family in families for figure in figures), "gate",
           "fused_chosen", *(f"shapley_{m}" for m in modalities), "reads", "seconds",
           "updates", "peak_bytes", "parameters"]  # fmt: skip
    for row in comparisons.rows:
        tests: list[Any] = []
        for family in families:
            test = row.against.get(family)
            if test is None:
                tests += [""] * len(figures)
            else:
                c = test.comparison
                tests += [c.difference, c.low, c.high, c.p_value, test.p_holm]
        yield [row.cell.strategy, "+".join(row.cell.balancers), row.cell.rate,
               int(row.cell.control), row.uar.value, row.uar.low, row.uar.high, row.val_uar,
               row.rank, *tests, int(row.gate), row.fused_chosen,
               *(row.contributions[m] for m in modalities), " ".join(row.reads), row.seconds,
               "" if row.updates is None else row.updates,
               "" if row.peak_bytes is None else row.peak_bytes, row.parameters]  # fmt: skip


def write_tables(comparisons: Comparisons, folder: OutputFolder) -> None:
    """Write the files ``results.json``, ``table.csv`` and ``table.md`` of a comparison."""
    folder.write_json("results.json", comparisons.to_json())
    folder.write_csv("table.csv", csv_rows(comparisons))
    folder.write_text("table.md", markdown(comparisons))
