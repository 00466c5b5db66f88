"""Comparisons on a terminal."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from fusion.core.display.compare import CompareDisplay, print_comparisons
from fusion.core.runs.config import RunConfig
from fusion.core.runs.trainings import FUSED
from fusion.core.toolkit.intervals import Comparison, Interval
from fusion.core.workflows import comparison
from fusion.core.workflows.comparison import ORACLE, Comparisons, Row
from fusion.core.workflows.grid import Cell, PlannedGrid, Request

BETTER = Comparison(0.05, 0.01, 0.09, 0.01, 8, 0.95)


def interval(value):
    return Interval(value, value - 0.05, value + 0.05, 0.95, 8)


def row(cell, val_uar, uar=0.6):
    against = {
        "single": comparison.Tested(BETTER, 0.03),
        "ensemble": comparison.Tested(BETTER, 0.5),
    }
    return Row(cell, interval(uar), val_uar, 1.5, against, True, 0.5, {"mel": 0.2},
               ("baselines",), 12.4, 30, None, 1000)  # fmt: skip


ROWS = (
    row(Cell("concat"), 0.5, 0.55),
    row(Cell("gated", ("ogm_ge",)), 0.75, 0.65),
    row(Cell("gated", control=True), 0.625),
)


def comparisons(rows=ROWS, **changes):
    best = max(rows, key=lambda r: r.val_uar)
    passed = {
        "rows": rows, "others": {"mel": interval(0.5), "ensemble": interval(0.58),
                                 ORACLE: interval(0.9)},
        "others_val": {"mel": 0.51}, "best_single": "mel", "best": best,
        "handed_out": interval(0.6), "handed_out_against": BETTER, "missing": {}, "speakers": 8,
        "folds": 2, "seeds": 1, "epochs": 3, "trials": 1, "speaker_independent": True,
        "synthetic": False, "absent": {},
    }  # fmt: skip
    return Comparisons(**{**passed, **changes})


def words(lines, name):
    return [line.split() for line in lines if line.startswith(f"{name} ")]


def test_the_matrix_has_balancers_in_rows_and_strategies_in_columns(printed):
    lines = printed(print_comparisons, comparisons(), Path("x"))
    rows = [line.split() for line in lines]
    head = rows.index(["balancer", "concat", "gated"])
    assert rows[head + 1 : head + 3] == [["none", "55.0", "60.0"], ["ogm_ge", "65.0"]]


def test_a_single_method_needs_no_matrix(printed):
    lines = printed(print_comparisons, comparisons(ROWS[:1]), Path("x"))
    assert not any("by balancer and strategy" in line for line in lines)


def test_methods_are_sorted_by_validation_and_other_models_follow(printed):
    lines = printed(print_comparisons, comparisons(), Path("x"))
    head = next(i for i, line in enumerate(lines) if line.startswith("method "))
    names = [" ".join(line.split()).partition(" 6")[0] for line in lines[head + 1 : head + 3]]
    assert names == ["gated + ogm_ge", "gated"]
    assert words(lines, "concat")[0][1:] == [
        "55.0", "[50.0,", "60.0]", "50.0", "1.5", "+5.0", "(0.030)", "+5.0", "(0.500)",
        "baselines", "12",
    ]  # fmt: skip
    assert words(lines, "mel") == [["mel", "50.0", "[45.0,", "55.0]", "51.0"]]
    assert words(lines, ORACLE) == [[ORACLE, "90.0", "[85.0,", "95.0]"]]


def test_twelve_methods_are_listed_and_the_others_counted(printed):
    many = tuple(row(Cell(f"s{k}"), k / 100) for k in range(15))
    lines = printed(print_comparisons, comparisons(many), Path("out"))
    assert "and 3 more in out/table.md" in lines
    assert words(lines, "s14") and words(lines, "s3") and not words(lines, "s2")


def test_the_title_names_split_and_adaptation(printed):
    text = "\n".join(printed(print_comparisons, comparisons(speaker_independent=False), Path("x")))
    assert "Test, SPEAKER-DEPENDENT, sorted by validation UAR" in text
    text = "\n".join(printed(print_comparisons, comparisons(adapt="speaker"), Path("x")))
    assert "Test, on held-out speakers, speaker-adapted, sorted by validation UAR" in text


def test_markup_and_control_characters_are_plain_text(printed, nasty):
    name, shown = nasty
    lines = printed(print_comparisons, comparisons(missing={"concat + x": name}), Path(name))
    assert f"not trained: concat + x: {shown}" in lines
    assert f"all figures: {shown}/table.md, table.csv, results.json" in lines
    assert lines[-1] == f"runs of the best cell: {shown}/seed*/{ROWS[1].cell.folder}"


# -- progress --------------------------------------------------------------------------


def request(**changes):
    passed = Request(RunConfig(("x",), strategy="concat"), (ROWS[0].cell, ROWS[2].cell), (0, 1))
    return replace(passed, **changes)


def test_the_head_counts_cells_controls_and_seeds(printed, nasty):
    name, shown = nasty
    grid = PlannedGrid({}, {Cell("gated"): name})
    lines = printed(CompareDisplay().gridded, grid, request(), err=True)
    assert lines == [
        "methods   1 cells and 1 controls, seeds 0, 1",
        f"          left out gated: {shown}",
    ]
    one = request(cells=(Cell("concat"),), seeds=(3,))
    one = replace(one, config=replace(one.config, tune=4))
    assert printed(CompareDisplay().gridded, PlannedGrid({}, {}), one, err=True) == [
        "methods   1 cells, seed 3, 4 trials of every training"
    ]


def test_the_budget_line_counts_models_finished_before(printed):
    display = CompareDisplay()
    assert printed(display.budgeted, 5, 12, 3, err=True) == [
        "training  12 models, baselines of 5 epochs, 3 of them finished before"
    ]
    assert printed(display.cell_training, "gated", {}, err=True) == []


def test_finished_and_failed_cells_are_shown(printed, nasty):
    name, shown = nasty
    display = CompareDisplay()
    models = [{"name": "mel"}, {"name": FUSED, "val_uar": 0.5, "uar": {"value": 0.625}}]
    run = SimpleNamespace(read_json=lambda name: {"models": models})
    assert printed(display.concluded, Cell("gated"), 1, run, err=True) == [
        f"          {'gated':<32} seed 1: validation UAR 50.0, test 62.5"
    ]
    assert display.failures == 0
    assert printed(display.failed, Cell("gated"), 1, name, err=True) == [
        f"          failed gated, seed 1: {shown}"
    ]
    assert display.failures == 1


def test_quiet_prints_nothing(printed):
    display = CompareDisplay(quiet=True)
    assert printed(display.failed, Cell("gated"), 1, "reason", err=True) == []
    assert display.failures == 1
