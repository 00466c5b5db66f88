"""A comparison in words, as Markdown and as a table for spreadsheets."""

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


def sentences(found: Comparisons) -> list[str]:
    """What the grid says, in whole sentences, the most important first."""
    single = found.best_single
    told = [_on_best(found), _on_all(found), _on_gate(found), _on_handed_out(found)]
    told.append(
        f"The ensemble of the modalities reaches {percent(found.others[ENSEMBLE])}, {single} alone "
        f"{percent(found.others[single])}. An oracle that knew for each clip which modality is "
        f"right would reach {percent(found.others[ORACLE])}."
    )
    told[0] = with_task(found.adapt, told[0])
    if found.control:
        told.append(
            f"The control ({' or '.join(found.control)} alone, for as many steps as a fused model "
            f"and its baseline in all) reaches {percent(found.others[CONTROL])}."
        )
    told += absence_text(found.absent)
    if not found.speaker_independent:
        told.append("Speaker-dependent: test speakers were heard in training.")
    if found.synthetic:
        told.append("Generated voices: these figures are evidence of nothing.")
    return told


def _on_best(found: Comparisons) -> str:
    best, test = found.best, found.best.against["single"]
    c = test.comparison
    return (
        f"Validation finds {best.cell.name} best of {len(found.rows)} fused models. On test it "
        f"reaches {percent(best.uar)} UAR, {points(c.difference)} points [{points(c.low)}, "
        f"{points(c.high)}] against {found.best_single} alone (p = {p_text(c.p_value)}, "
        f"{p_text(test.p_holm)} corrected for the {len(found.rows)} comparisons; "
        f"{c.groups} test speakers).{_on_reading(best)}"
    )


def _on_reading(best: Row) -> str:
    """What the comparison with others of one budget leaves out."""
    told = {
        "baselines": " It reads the baselines: their training came before its own.",
        "validation": " It learns from validation: its score there is flattered.",
    }
    return "".join(told[what] for what in best.reads)


def _on_all(found: Comparisons) -> str:
    def count(family: str, sign: int) -> int:
        tests = [row.against[family] for row in found.rows if family in row.against]
        return sum(t.p_holm < SIGNIFICANT and t.comparison.difference * sign > 0 for t in tests)

    text = (
        f"After Holm's correction {count('single', 1)} of {len(found.rows)} fused models are "
        f"better than {found.best_single} alone and {count('single', -1)} worse; "
        f"{count('ensemble', 1)} better than the ensemble and {count('ensemble', -1)} worse"
    )
    balanced = sum("plain" in row.against for row in found.rows)
    if balanced:
        text += (
            f"; {count('plain', 1)} of {balanced} better than the plain training of their own "
            f"strategy and {count('plain', -1)} worse"
        )
    if smallest_p(found.speakers) * len(found.rows) >= SIGNIFICANT:
        text += (
            f". With {found.speakers} speakers and so many comparisons no corrected p-value can "
            "be below 0.05"
        )
    return text + "."


def _on_gate(found: Comparisons) -> str:
    held = sum(row.gate for row in found.rows)
    chosen = sum(row.fused_chosen > 0 for row in found.rows)
    return (
        f"The gate holds in {held} of {len(found.rows)} cells: what they hand out is nowhere worse "
        f"on validation than the best single modality. In {chosen} of them validation chose the "
        "fused model in some fold."
    )


def _on_handed_out(found: Comparisons) -> str:
    c = found.handed_out_against
    return (
        "Choosing on each fold's validation among everything in the grid reaches "
        f"{percent(found.handed_out)} on test, {points(c.difference)} points [{points(c.low)}, "
        f"{points(c.high)}] against {found.best_single} alone (p = {p_text(c.p_value)})."
    )


def percent(interval: Interval) -> str:
    """``"60.6 [55.1, 66.6]"``."""
    value = f"{100 * interval.value:.1f}"
    if interval.groups < 2:
        return value
    return f"{value} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def matrix(found: Comparisons) -> list[list[str]]:
    """Test UAR by strategy (columns) and balancer (rows), with a header."""
    strategies = list(dict.fromkeys(row.cell.strategy for row in found.rows))
    balances = list(dict.fromkeys(row.cell.balance for row in found.rows))
    by_cell = {(row.cell.strategy, row.cell.balance): row for row in found.rows}
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
    """One cell under :data:`HEADER`."""
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


def tested(found: Tested | None) -> str:
    """``"+1.2 (0.031)"``: points of UAR and the corrected p-value."""
    if found is None:
        return ""
    return f"{points(found.comparison.difference)} ({p_text(found.p_holm)})"


def by_score(found: Comparisons) -> list[Row]:
    """Cells from the best on validation down."""
    return sorted(found.rows, key=lambda row: -row.val_uar)


def markdown(found: Comparisons) -> str:
    """Everything, for a README or an issue."""
    tuned = f" in each of {found.trials} trials" if found.trials > 1 else ""
    parts = [
        f"{found.folds} fold(s), {found.seeds} seed(s), {_budget(found)}{tuned}, "
        f"{found.speakers} test speakers.",
        "\n".join(f"- {sentence}" for sentence in sentences(found)),
        "Test UAR (%) by strategy and balancer:",
        _table(matrix(found)),
        "Every cell, from the best on validation down:",
        _table([list(HEADER), *(line(row) for row in by_score(found))]),
    ]
    if found.missing:
        parts += ["Not trained:", "\n".join(f"- {n}: {r}" for n, r in found.missing.items())]
    return "\n\n".join(parts) + "\n"


def _budget(found: Comparisons) -> str:
    if found.control:
        return f"baselines of {found.epochs} epochs"
    return f"{found.epochs} epochs each"


def _table(lines: Sequence[Sequence[str]]) -> str:
    rows = [f"| {' | '.join(cells)} |" for cells in lines]
    rule = f"|{'---|' * len(lines[0])}"
    return "\n".join([rows[0], rule, *rows[1:]])


def csv_rows(found: Comparisons) -> Iterator[Sequence[Any]]:
    """One row per cell, all figures as numbers."""
    modalities = list(found.rows[0].contributions)
    families = ("single", "ensemble", "plain")
    figures = ("difference", "low", "high", "p", "p_holm")
    yield ["strategy", "balancers", "rate", "control", "uar", "low", "high", "val_uar", "rank",
           *(f"{family}_{figure}" for family in families for figure in figures), "gate",
           "fused_chosen", *(f"shapley_{m}" for m in modalities), "reads", "seconds",
           "updates", "peak_bytes", "parameters"]  # fmt: skip
    for row in found.rows:
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


def write_tables(found: Comparisons, folder: OutputFolder) -> None:
    """Write ``results.json``, ``table.csv`` and ``table.md``."""
    folder.write_json("results.json", found.to_json())
    folder.write_csv("table.csv", csv_rows(found))
    folder.write_text("table.md", markdown(found))
