"""Result table: its rows by hand, as text and as HTML."""

from dataclasses import replace
from pathlib import Path

import pytest
from made_results import everything, make_data
from run_records import record_of, split_of

from fusion.core.runs.config import RunConfig
from fusion.core.runs.outcome.results import evaluate
from fusion.core.runs.outcome.selection import select
from fusion.core.runs.result_table import ResultTable, comparison_lines, result_table
from fusion.core.runs.trainings import CONTROL, FUSED

PATH = Path("runs/one")
TABLE = ResultTable(
    "Test <%>", ("model", "UAR"), (("a", "50.0"), ("longer & b", "7.5")), frozenset({0}),
    ("a < b", "end"),
)  # fmt: skip


def results_of(folds=1, of_control="", **wrong):
    data = make_data(folds)
    wrong = {"a": [0], "b": range(8), FUSED: [0, 1], **wrong}
    selection = select(data, ["a", "b"], everything(data, "val", wrong), of_control)
    results, _ = evaluate(data, selection, everything(data, "test", wrong), "gated")
    return data, results


def table_of(folds=1, config=None, mode="speaker", speaker_independent=True, **changes):
    data, results = results_of(folds)
    split = split_of(data.splits, data.clips)
    split = replace(split, mode=mode, speaker_independent=speaker_independent)
    record = record_of(split=split, config=config or RunConfig(("x",)), **changes)
    return result_table(results, record, PATH), results


def test_columns_have_a_fixed_width_and_numbers_are_right_aligned():
    assert TABLE.text().splitlines() == [
        "Test <%>",
        "model        UAR",
        "a           50.0",
        "longer & b   7.5",
        "",
        "a < b",
        "end",
    ]


def test_html_is_escaped_and_the_best_row_is_bold():
    assert TABLE.html() == (
        "<table><caption>Test &lt;%&gt;</caption>"
        "<thead><tr><th>model</th><th>UAR</th></tr></thead><tbody>"
        '<tr style="font-weight: bold"><td>a</td><td>50.0</td></tr>'
        "<tr><td>longer &amp; b</td><td>7.5</td></tr>"
        "</tbody></table><p>a &lt; b</p><p>end</p>"
    )


def test_rows_by_hand():
    table, _ = table_of()
    assert table.header == ("model", "UAR", "WA", "macro-F1", "validation UAR")
    rows = {row[0]: row[1:] for row in table.rows}
    assert list(rows) == ["a", "b", "fused", "ensemble", "chosen"]
    # One of 16 test clips is wrong, so 7 of 8 of its class are right. F1 is 14/15 and 16/17.
    assert rows["a"][0].startswith("93.8 [") and rows["a"][1].startswith("93.8 [")
    assert rows["a"][2:] == ("93.7", "93.8")
    assert rows["b"][0].startswith("50.0 [") and rows["b"][2:] == ("50.0", "50.0")
    # The best rows are a and its equals; the chosen model does not compete.
    assert {table.rows[i][0] for i in table.best} >= {"a"}
    assert not {table.rows[i][0] for i in table.best} & {"b", "fused"}


def test_folds_have_an_additional_column():
    table, _ = table_of(folds=3)
    assert table.header[-1] == "UAR by fold, mean ± sd"
    assert {row[0]: row[-1] for row in table.rows}["b"] == "50.0 ± 0.0"
    assert {row[0]: row[-1] for row in table.rows}["fused"] == "87.5 ± 0.0"


def test_the_title_names_the_task():
    assert table_of()[0].title == "Test, on held-out speakers (%, with 95 % intervals)"
    adapted, _ = table_of(config=RunConfig(("x",), adapt="speaker"))
    assert "on held-out speakers, speaker-adapted (" in adapted.title


def test_a_published_split_says_whether_its_test_speakers_are_new():
    def of(speaker_independent):
        table, _ = table_of(mode="published", speaker_independent=speaker_independent)
        return table.title, any("Speaker-dependent" in line for line in table.lines)

    assert of(speaker_independent=False) == (
        "Test, published split, SPEAKER-DEPENDENT (%, with 95 % intervals)", True,
    )  # fmt: skip
    assert of(speaker_independent=True) == (
        "Test, published split, on held-out speakers (%, with 95 % intervals)", False,
    )  # fmt: skip


def test_lines_end_with_the_verdict_its_caveats_and_the_path():
    table, results = table_of()
    assert table.lines == (*comparison_lines(results), results.verdict, f"run directory: {PATH}")
    table, results = table_of(mode="random", synthetic=True, absent={"b": 3})
    after = table.lines[list(table.lines).index(results.verdict) + 1 :]
    assert after[0].startswith("3 clips have no b. For these clips")
    assert "speaker" in after[1].lower() and "no evidence about real speech" in after[2]
    assert after[3:] == (f"run directory: {PATH}",)


@pytest.mark.parametrize("better", [True, False])
def test_differences_that_have_a_line(better):
    # The fused model is always right, or a is chosen and does not differ from itself.
    _, results = results_of(**{FUSED: [] if better else range(4)})
    first, *rest = comparison_lines(results)
    assert first.startswith(f"fused minus a: {'+6.2' if better else '-18.8'} points of UAR, 95 %")
    assert [line.split(":")[0] for line in rest] == (["chosen minus a"] if better else [])


def test_the_control_has_a_line():
    _, results = results_of(of_control="a", **{CONTROL: range(2)})
    assert comparison_lines(results)[1].startswith(
        "fused minus control (a alone, same total steps): +0.0 points of UAR"
    )
