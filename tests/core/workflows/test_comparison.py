"""Figures computed from the predictions of a grid, by hand."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from written_grids import CLASSES, GOOD, PLAIN, READS, SPEAKERS, grid

from fusion.core.runs.run import Run
from fusion.core.workflows.comparison import mean_uar, summarise
from fusion.core.workflows.comparison_tables import markdown, sentences
from fusion.core.workflows.grid import Cell, Request


def test_scores_ranks_tests_and_costs(tmp_path):
    result = summarise(tmp_path, grid(tmp_path), {}, {}, READS)
    plain, good = result.rows
    # Clips 0, 2 are calm and 1, 3 loud. Recalls: plain 1/2 and 1/2, mel 1 and 1/2, good 1 and 1.
    assert plain.uar.value == pytest.approx(0.5)
    assert good.uar.value == pytest.approx(1.0)
    assert result.others["mel"].value == pytest.approx(0.75)
    assert result.others["persistence"].value == pytest.approx(0.25)
    assert result.others["oracle"].value == pytest.approx(1.0)  # one of the two is always right
    assert (result.best_single, result.best.cell) == ("mel", GOOD)
    assert (good.rank, plain.rank) == (1.0, 2.0)
    assert (good.val_uar, plain.val_uar) == (pytest.approx(0.9), pytest.approx(0.5))
    against = good.against["single"]
    assert against.comparison.difference == pytest.approx(0.25)
    # All 8 speakers improve: of 2**8 swaps, only none and all are as extreme.
    assert against.comparison.p_value == pytest.approx(2 / 256)
    assert against.p_holm == pytest.approx(4 / 256)  # two cells
    assert plain.against["single"].comparison.difference == pytest.approx(-0.25)
    assert "plain" not in plain.against
    assert good.against["plain"].comparison.difference == pytest.approx(0.5)
    assert good.against["plain"].p_holm == pytest.approx(2 / 256)  # one comparison
    assert good.gate and plain.gate
    assert (good.fused_chosen, plain.fused_chosen) == (1.0, 0.0)
    # Training took 2 and 4 seconds; cells that start from the baselines add their 10 seconds.
    assert (good.seconds, good.parameters, good.peak_bytes) == (13.0, 12, 5_000_000)
    assert (plain.seconds, plain.updates, plain.reads) == (3.0, 30, ())
    assert plain.peak_bytes is None
    # Validation chooses the helped model in both folds.
    assert result.handed_out.value == pytest.approx(1.0)
    assert result.handed_out_against.difference == pytest.approx(0.25)


def test_seeds_are_averaged_and_not_pooled(tmp_path):
    request = grid(tmp_path, seeds=(0, 1))
    # In the second seed the helped model is right about clips 0 and 1 only.
    path = tmp_path / "seed1/concat+helper/predictions.csv"
    rows = list(csv.reader(path.open(newline="")))
    for row in rows[1:]:
        if row[5] == "fused" and row[1][-1] in "23":
            row[6] = CLASSES[1 - CLASSES.index(row[4])]
    csv.writer(path.open("w", newline="")).writerows(rows)
    result = summarise(tmp_path, request, {}, {}, READS)
    assert result.trials == 1 and "3 epochs each, 8 test" in markdown(result)
    assert "3 epochs each in each of 4 trials, 8 test" in markdown(replace(result, trials=4))
    assert result.rows[1].uar.value == pytest.approx(0.75)  # (1.0 + 0.5) / 2
    assert result.seeds == 2


def test_mean_uar_by_hand():
    confusions = np.array([[[[1, 1], [0, 2]], [[2, 0], [2, 0]]]])  # one resample of two seeds
    assert mean_uar(confusions).tolist() == [pytest.approx((0.75 + 0.5) / 2)]


def test_a_violated_gate_is_reported(tmp_path):
    request = grid(tmp_path)
    path = tmp_path / "seed0/concat+none/selection.json"
    selection = json.loads(path.read_text())
    selection["folds"][1]["chosen"] = "fused"  # 0.5 on validation, where mel has 0.7
    path.write_text(json.dumps(selection))
    result = summarise(tmp_path, request, {}, {}, READS)
    assert [row.gate for row in result.rows] == [False, True]
    assert "In 1 of 2 cells the chosen model" in " ".join(sentences(result))


def test_cells_that_could_not_be_trained_are_listed(tmp_path):
    request = grid(tmp_path)
    broken = Cell("film", ("helper",))
    request = Request(request.config, (*request.cells, broken), request.seeds)
    result = summarise(tmp_path, request, {broken: "needs two of a size"}, {}, READS)
    assert result.missing == {"film + helper": "needs two of a size"}
    assert len(result.rows) == 2
    assert "- film + helper: needs two of a size" in markdown(result)


# -- the equal-steps control -----------------------------------------------------------


def controlled(path, right, val, modality="mel"):
    """Add a control to a written cell; it is right about these clips of every speaker."""
    run = Run(path)
    run.write_json("run.json", run.read_json("run.json") | {"control": 4})
    selection = run.read_json("selection.json")
    selection |= {"rule": "log-linear", "control": modality, "control_val_uar": [val, val]}
    run.write_json("selection.json", selection)
    with (path / "predictions.csv").open("a", newline="") as file:
        out = csv.writer(file)
        for number, speaker in enumerate(SPEAKERS):
            for clip in range(4):
                output = clip % 2 if clip in right else 1 - clip % 2
                out.writerow([number % 2, f"{speaker}-{clip}", "c", speaker, CLASSES[clip % 2],
                              "control", CLASSES[output]])  # fmt: skip


def test_the_control_is_listed_beside_the_modalities(tmp_path):
    request = grid(tmp_path, seeds=(0, 1))
    without = summarise(tmp_path, request, {}, {}, READS)
    assert "control" not in without.others and without.control == ()
    assert "3 epochs each" in markdown(without)
    for seed, modality in ((0, "mel"), (1, "persistence")):
        for cell in (PLAIN, GOOD):
            controlled(tmp_path / f"seed{seed}" / cell.folder, (0, 1, 2), 0.8, modality)
    result = summarise(tmp_path, request, {}, {}, READS)
    assert list(result.others) == ["mel", "persistence", "control", "ensemble", "oracle"]
    assert result.others["control"].value == pytest.approx(0.75)
    assert result.others_val["control"] == pytest.approx(0.8)
    assert result.control == ("mel", "persistence")
    assert result.to_json()["control"] == ["mel", "persistence"] or result.to_json()["control"] == (
        "mel", "persistence")  # fmt: skip
    text = markdown(result)
    assert "The control (mel or persistence alone, trained for as many steps" in text
    assert "baselines of 3 epochs" in text
    # The control is no candidate and changes no other figure.
    assert result.best_single == without.best_single
    assert result.handed_out == without.handed_out
    assert [row.uar for row in result.rows] == [row.uar for row in without.rows]


def test_the_control_of_a_grid_is_from_the_first_cell_that_has_one(tmp_path):
    request = grid(tmp_path)
    controlled(tmp_path / "seed0" / GOOD.folder, (0, 1, 2, 3), 0.9)
    result = summarise(tmp_path, request, {}, {}, READS)
    assert result.others["control"].value == pytest.approx(1.0)
