"""Table of a run's results as text and as HTML, for notebooks and scripts."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from statistics import mean, stdev

from ..data.absence import absence_text
from ..data.split_modes import mode_of_splits
from ..data.task import measured_on
from .outcome.results import (
    AGAINST_CONTROL,
    CHOSEN,
    ModelResult,
    Results,
    comparison_text,
    interval_text,
)
from .record import RunRecord
from .trainings import FUSED


@dataclass(frozen=True, slots=True)
class ResultTable:
    """Printable table of a run's results.

    Attributes
    ----------
    title : str
        Title that names the measured quantity and the clips.
    header : tuple of str
        Names of the columns.
    rows : tuple of tuple of str
        One row per model.
    best : frozenset of int
        Indices of the rows with the highest UAR.
    lines : tuple of str
        Lines after the table: comparisons, verdict, warnings.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: frozenset[int]
    lines: tuple[str, ...]

    def text(self) -> str:
        """Return the table as text, with aligned columns."""
        table = [self.header, *self.rows]
        widths = [max(len(row[i]) for row in table) for i in range(len(self.header))]
        lines = [
            "  ".join(
                [row[0].ljust(widths[0])]
                + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            )
            for row in table
        ]
        return "\n".join([self.title, *lines, "", *self.lines])

    def html(self) -> str:
        """Return the table as HTML for a notebook, with the best rows in bold."""
        head = "".join(f"<th>{escape(name)}</th>" for name in self.header)
        body = "".join(self._html_row(index) for index in range(len(self.rows)))
        below = "".join(f"<p>{escape(line)}</p>" for line in self.lines)
        return (
            f"<table><caption>{escape(self.title)}</caption>"
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"
        )

    def _html_row(self, index: int) -> str:
        style = ' style="font-weight: bold"' if index in self.best else ""
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in self.rows[index])
        return f"<tr{style}>{cells}</tr>"


def result_table(results: Results, record: RunRecord, path: Path) -> ResultTable:
    """Make the table of a run, with the comparisons and the verdict below it.

    Parameters
    ----------
    record : RunRecord
        Content of run.json.
    path : Path
        The run directory.
    """
    models, folds = results.models, record.split.folds
    mode = mode_of_splits(record.split.mode, record.split.speaker_independent)
    header = ["model", "UAR", "WA", "macro-F1", "validation UAR"]
    if folds > 1:
        header.append("UAR by fold, mean ± sd")
    top = max(model.uar.value for model in models if model.name != CHOSEN)
    return ResultTable(
        f"Test, {measured_on(mode, record.config.adapt)} (%, with 95 % intervals)",
        tuple(header),
        tuple(_row(model, folds) for model in models),
        frozenset(i for i, model in enumerate(models) if model.uar.value == top),
        tuple(_lines(results, record, path, mode.warning)),
    )


def _row(model: ModelResult, folds: int) -> tuple[str, ...]:
    row = [model.name, interval_text(model.uar), interval_text(model.accuracy),
           f"{100 * model.macro_f1:.1f}", f"{100 * model.val_uar:.1f}"]  # fmt: skip
    if folds > 1:
        row.append(f"{100 * mean(model.fold_uar):.1f} ± {100 * stdev(model.fold_uar):.1f}")
    return tuple(row)


def comparison_lines(results: Results) -> list[str]:
    """Return one line for each comparison of the fused and of the chosen model.

    The fused model is compared with the best single modality, and with the control if there is a
    control. The chosen model is compared with the best single modality unless the UAR of both is
    equal.
    """
    comparisons = results.comparisons
    lines = [f"{FUSED} minus {results.best_single}: {comparison_text(comparisons[FUSED])}"]
    if results.control:
        lines.append(
            f"{FUSED} minus control ({results.control} alone, same total steps): "
            f"{comparison_text(comparisons[AGAINST_CONTROL])}"
        )
    if comparisons[CHOSEN].difference:  # the difference is 0 if the best single modality was chosen
        lines.append(
            f"{CHOSEN} minus {results.best_single}: {comparison_text(comparisons[CHOSEN])}"
        )
    return lines


def _lines(results: Results, record: RunRecord, path: Path, warning: str) -> list[str]:
    lines = [*comparison_lines(results), results.verdict]
    lines += absence_text(record.absent)
    if warning:
        lines.append(warning)
    if record.synthetic:
        lines.append(
            "The recordings are synthetic: these figures are no evidence about real speech."
        )
    return [*lines, f"run directory: {path}"]
