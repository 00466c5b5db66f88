"""The report of one run: complete and deterministic."""

import json
from functools import cache
from html import unescape

import pytest
from markupsafe import escape
from report_pages import SECTIONS, checked, report_of

from fusion.core.contracts.errors import RunError


@pytest.fixture(scope="module")
def reported(made):
    """Function that writes the report of a run of ``made`` once and returns its path. Read-only."""
    return cache(lambda *given: report_of(made(*given)))


def test_the_report_has_every_section_and_score(made, reported):
    assert reported() == made() / "report.html"
    html, page = checked(reported())
    assert [i for i in page.ids if i in SECTIONS] == SECTIONS
    results = json.loads((made() / "results.json").read_text())
    for model in results["models"]:
        uar = model["uar"]
        shown = f"{100 * uar['value']:.1f} [{100 * uar['low']:.1f}, {100 * uar['high']:.1f}]"
        assert f'<th scope="row">{model["name"]}</th><td>{shown}</td>' in html
    assert escape(results["verdict"].partition(" Chosen model")[0]) in html


@pytest.mark.parametrize(
    "modalities, folds", [(("a",), 3), (("a", "b", "c"), 1), (tuple("abcd"), 3)]
)
def test_any_number_of_modalities_and_folds(reported, modalities, folds):
    html, _ = checked(reported(modalities, folds))
    assert ("2 of 4" in html) == (len(modalities) == 4)
    assert ("a single modality" in html) == (len(modalities) == 1)


def test_two_reports_of_a_run_have_the_same_bytes(made, reported, tmp_path):
    given = ("a",), 3
    again = report_of(made(*given), tmp_path / "b.html")
    assert reported(*given).read_bytes() == again.read_bytes()


@pytest.mark.parametrize(
    "name, says",
    [
        ("predictions.csv", "predictions.csv can't be read"),
        ("clips.csv", "clips.csv can't be read"),
        ("selection.json", "All models"),
        ("fold0/fused/epochs.jsonl", "recorded no figures inside the fused model"),
        ("fold0/fused/training.json", "no statistics of its inputs"),
    ],
)
def test_a_missing_file_affects_only_its_section(run, sketched, name, says):
    (run / name).unlink()
    html, page = checked(report_of(run))
    assert says in unescape(html)
    assert [i for i in page.ids if i in SECTIONS] == SECTIONS


def test_damaged_files_do_not_prevent_a_report(run):
    for name in ("predictions.csv", "clips.csv", "selection.json", "diagnosis.json",
                 "fold0/fused/epochs.jsonl", "fold0/a/training.json"):  # fmt: skip
        (run / name).write_text("{nonsense")
    checked(report_of(run))


def test_what_became_of_each_file_and_row(run, sketched):
    assert "Files and rows of the corpora" not in report_of(run).read_text()
    record = json.loads((run / "run.json").read_text())
    record |= {
        "dropped_labels": {"c": {"odd": 3}},
        "passed_over": {"c": {"not a recording (.txt)": 9, "<b>": 11}},
        "columns": {"c": {"label": "EmoClass", "speaker": "<i>"}},
        "unreadable": {"c": 2},
    }
    (run / "run.json").write_text(json.dumps(record))
    html, _ = checked(report_of(run))
    text = unescape(html)
    assert "Files and rows of the corpora" in text
    for became, number in (("used as clips", 36), ("left out by label: odd", 3),
                           ("passed over: <b>", 11), ("passed over: not a recording (.txt)", 9),
                           ("unreadable", 2)):  # fmt: skip
        assert f"<td>{became}</td><td>{number}</td>" in text
    assert "c: label = EmoClass, speaker = <i>" in text


def test_the_diagnosis(run, sketched):
    assert "has no diagnosis" in report_of(run).read_text()
    findings = [
        {"fault": "x", "title": "Mild fault", "severity": "mild", "modality": "b", "folds": [0],
         "says": "It says.", "rule": "The rule.", "numbers": {"ratio": 0.12345}, "remedy": "Do it.",
         "command": "fusion run --epochs 3"},
        {"fault": "y", "title": "Grave <fault>", "severity": "severe", "modality": None,
         "folds": [0, 2], "says": "", "rule": "", "numbers": {}, "remedy": "", "command": None},
    ]  # fmt: skip
    told = {"format": 1, "findings": findings, "checked": ["x", "dead_branch"], "thresholds": {}}
    (run / "diagnosis.json").write_text(json.dumps(told))
    html, _ = checked(report_of(run))
    assert html.index("Grave &lt;fault&gt;") < html.index("Mild fault (b)")
    for part in ("folds 0, 2", "0.1235", "fusion run --epochs 3", "x, dead branch", "The rule."):
        assert part in html


def test_a_diagnosis_without_findings_shows_its_signs_and_thresholds(run, sketched):
    told = {"findings": [], "checked": ["x"], "caveats": ["Too few <steps>."],
            "signs": {"a": {"norm": 1.5}, "": {"agreement": 0.25}},
            "thresholds": {"scale_ratio": 10.0}}  # fmt: skip
    (run / "diagnosis.json").write_text(json.dumps(told))
    html, _ = checked(report_of(run))
    assert "No fault was detected" in html and "Too few &lt;steps&gt;." in html
    assert '<th scope="row">norm</th><td>1.5</td><td></td>' in html
    assert '<th scope="row">agreement</th><td></td><td>0.25</td>' in html
    assert '<th scope="row">scale_ratio</th><td>10</td>' in html


def test_unfinished_or_damaged_runs_are_refused(run, tmp_path):
    with pytest.raises(RunError, match="is not a run directory"):
        report_of(tmp_path)
    (run / "results.json").write_text("{}")
    with pytest.raises(RunError, match="damaged"):
        report_of(run)
    (run / "results.json").unlink()
    with pytest.raises(RunError, match="not finished") as caught:
        report_of(run)
    assert "fusion run --resume" in caught.value.hint
    assert not (run / "report.html").exists()
