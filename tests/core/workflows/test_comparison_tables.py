"""Comparisons as sentences, as Markdown and as CSV."""

import csv
import json
from dataclasses import replace

import pytest
from written_grids import GOOD, PLAIN, READS, grid

from fusion.core.runs.run import OutputFolder
from fusion.core.toolkit.intervals import Comparison, Interval
from fusion.core.workflows import comparison, comparison_tables
from fusion.core.workflows.comparison import summarise
from fusion.core.workflows.comparison_tables import (
    HEADER,
    by_score,
    csv_rows,
    line,
    markdown,
    matrix,
    percent,
    sentences,
    write_tables,
)
from fusion.core.workflows.grid import Cell


def test_sentences_and_tables(tmp_path):
    found = summarise(tmp_path, grid(tmp_path), {}, {}, READS)
    reported = " ".join(sentences(found))
    assert "On validation, concat + helper is the best of 2 fused models" in reported
    assert "reaches 100.0 [98.4, 100.0] UAR, +25.0 points [+25.0, +25.0] against mel" in reported
    assert "1 of 2 fused models are better than mel alone and 1 worse" in reported
    assert "1 of 1 better than plain training of the same strategy" in reported
    assert "right would reach 100.0" in reported
    assert matrix(found) == [["balancer", "concat"], ["none", "50.0"], ["helper", "100.0"]]
    header, *rows = csv_rows(found)
    assert {len(row) for row in rows} == {len(header)}
    good = dict(zip(header, rows[1], strict=True))
    assert good["balancers"] == "helper" and good["single_difference"] == pytest.approx(0.25)
    text = markdown(found)
    lines = [line for line in text.splitlines() if line.startswith("| concat + helper")]
    assert len(lines) == 1 and "+25.0 (0.016)" in lines[0]
    json.dumps(found.to_json(), allow_nan=False)


def test_absent_modalities_are_counted(tmp_path):
    found = summarise(tmp_path, grid(tmp_path), {}, {}, READS)
    assert found.absent == {} and "clips have no" not in markdown(found)
    assert "\n- 5 clips have no mel. For these clips" in markdown(replace(found, absent={"mel": 5}))


@pytest.fixture
def found(tmp_path):
    return summarise(tmp_path, grid(tmp_path), {}, {}, READS)


def test_the_first_sentence_names_the_inputs_of_the_best_cell(found):
    first = sentences(found)[0]
    assert "uses the trained baselines, " in first and "learns from validation: " in first
    plain = replace(found, best=replace(found.best, reads=()))
    assert "uses the trained baselines" not in sentences(plain)[0]


def test_caveats_come_last(found):
    assert sentences(replace(found, synthetic=True))[-1].startswith("The recordings are synthetic")
    dependent = sentences(replace(found, speaker_independent=False))
    assert dependent[-1] == "Speaker-dependent: training contains clips of the test speakers."
    adapted = sentences(replace(found, adapt="speaker"))
    assert adapted[0].startswith("Speaker-adapted: ") and adapted[1:] == sentences(found)[1:]


@pytest.mark.parametrize(("speakers", "output"), [(8, False), (6, True), (5, True)])
def test_too_few_speakers_for_the_number_of_comparisons_are_reported(found, speakers, output):
    """Two cells: 2 * 2 / 2**6 is above 0.05, 2 * 2 / 2**8 is not."""
    text = " ".join(sentences(replace(found, speakers=speakers)))
    message = f"With {speakers} speakers and this number of comparisons, no corrected"
    assert (message in text) is output


def test_one_speaker_gives_no_interval():
    assert percent(Interval(0.606, 0.551, 0.666, 0.95, 8)) == "60.6 [55.1, 66.6]"
    assert percent(Interval(0.606, 0.606, 0.606, 0.95, 1)) == "60.6"


def test_a_comparison_is_shown_as_points_and_corrected_p_value():
    difference = Comparison(0.0123, -0.01, 0.03, 0.01, 8, 0.95)
    found = comparison.Tested(difference, 0.0312)
    assert comparison_tables.tested(found) == "+1.2 (0.031)"
    worse = comparison.Tested(replace(difference, difference=-0.2), 0.0001)
    assert comparison_tables.tested(worse) == "-20.0 (< 0.001)"
    assert comparison_tables.tested(None) == ""


def test_a_matrix_has_a_gap_for_a_missing_cell(found):
    plain, good = found.rows
    other = replace(plain, cell=Cell("gated"))
    assert matrix(replace(found, rows=(other, good, plain))) == [
        ["balancer", "gated", "concat"],
        ["none", "50.0", "50.0"],
        ["helper", "", "100.0"],
    ]


def test_lines_match_their_header(found):
    plain, good = (dict(zip(HEADER, line(row), strict=True)) for row in found.rows)
    assert plain["method"] == "concat" and good["method"] == "concat + helper"
    assert good["UAR % [95 %]"] == "100.0 [98.4, 100.0]" and good["val UAR"] == "90.0"
    assert (good["rank"], plain["rank"]) == ("1.0", "2.0")
    assert plain["vs plain (p Holm)"] == "" and good["vs plain (p Holm)"].startswith("+50.0 (")
    assert good["Shapley"] == "mel +20.0, persistence +10.0"
    assert good["reads"] == "baselines, validation" and plain["reads"] == ""
    assert (plain["MB"], good["MB"]) == ("", "5")  # 5,000,000 bytes
    assert (good["updates"], good["parameters"]) == ("30", "12")
    large = replace(found.rows[0], updates=None, parameters=1234567)
    assert line(large)[-1] == "1,234,567" and line(large)[HEADER.index("updates")] == ""


def test_cells_are_sorted_by_validation(found):
    assert [row.cell for row in found.rows] == [PLAIN, GOOD]
    assert [row.cell for row in by_score(found)] == [GOOD, PLAIN]


def test_tables_are_written_as_json_csv_and_markdown(found, tmp_path):
    write_tables(found, OutputFolder(tmp_path))
    assert json.loads((tmp_path / "results.json").read_text()) == json.loads(
        json.dumps(found.to_json())
    )
    assert (tmp_path / "table.md").read_text() == markdown(found)
    with (tmp_path / "table.csv").open(newline="") as file:
        plain, good = csv.DictReader(file)
    assert (plain["strategy"], plain["balancers"], good["balancers"]) == ("concat", "", "helper")
    assert plain["plain_p"] == "" and float(good["plain_difference"]) == pytest.approx(0.5)
    assert (plain["peak_bytes"], good["peak_bytes"]) == ("", "5000000")
    assert float(good["shapley_mel"]) == pytest.approx(0.2) and good["reads"].split() == [
        "baselines", "validation"]  # fmt: skip
