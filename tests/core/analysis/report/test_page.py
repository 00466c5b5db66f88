"""Texts of a page: escaping, and the format of numbers."""

import json
import shutil

import numpy as np
import pytest
from jinja2 import UndefinedError
from markupsafe import Markup
from report_pages import change, checked, report_of
from report_runs import NASTY, write_run

from fusion.core.analysis.report import compare_reports
from fusion.core.analysis.report.drawing import Mark
from fusion.core.analysis.report.page import (
    Figure,
    by_severity,
    contents,
    environment,
    number,
    percent,
    seconds,
    write_page,
)
from fusion.core.contracts.errors import StorageError

SCRIPT = "<script>alert('x')</script>"


def test_names_are_escaped(tmp_path):
    """Names of a class, a speaker and the speaker's clips may be markup or invalid text."""
    speaker = f"{NASTY}\udce9\x1b"
    run = write_run(tmp_path / "run", classes=(NASTY, "high"), speaker=speaker)
    html, page = checked(report_of(run))
    assert "<b>" not in html
    assert NASTY in page.words  # a class as displayed
    assert any(f"{NASTY}??0" in word for word in page.words)  # a speaker in a figure


def test_texts_of_a_run_are_not_markup(made, run, tmp_path, sketched):
    """Values of every file of a run are shown as text."""
    texts = ("title", "fault", "severity", "modality", "says", "rule", "remedy", "command")
    finding = dict.fromkeys(texts, SCRIPT)
    finding |= {"numbers": {SCRIPT: SCRIPT}, "folds": [SCRIPT, SCRIPT]}
    told = {"findings": [finding], "caveats": [SCRIPT], "checked": [SCRIPT],
            "signs": {SCRIPT: {SCRIPT: 1.0}}, "thresholds": {SCRIPT: 1.0}}  # fmt: skip
    (run / "diagnosis.json").write_text(json.dumps(told))
    info = json.loads((run / "run.json").read_text())
    info |= {
        "created": SCRIPT, "corpora": [SCRIPT], "versions": {SCRIPT: SCRIPT},
        "machine": {SCRIPT: SCRIPT}, "dropped_labels": {SCRIPT: {SCRIPT: 1}},
        "absent": {SCRIPT: 2}, "seconds": {SCRIPT: 1.0}, "trainings": 3,
        "failures": [{"recording": SCRIPT, "feature": SCRIPT, "reason": SCRIPT}],
    }  # fmt: skip
    info["config"] |= {"data": [SCRIPT], "device": SCRIPT}
    (run / "run.json").write_text(json.dumps(info))
    statistics = {"raw": {"min": 1.0, "channels": {"min": [1.0]}}}
    training = run / "fold0/fused/training.json"
    change(training, inputs={SCRIPT: statistics}, precision=SCRIPT)
    html, page = checked(report_of(run))
    assert page.words.count(SCRIPT) > 10 and html.count("&lt;script&gt;") > 40
    checked(compare_reports([run, shutil.copytree(made(), tmp_path / "<b>")], tmp_path / "c.html"))


def test_macros_escape_everything_except_drawings(macros):
    assert "<td>&lt;</td>" in macros.table("t", ["a", "b"], [["x", "<"]])
    assert 'aria-label="&#34;a&#34;"' in macros.table('"a"', ["<b>"])
    assert "<code>a &amp;&amp; b</code>" in macros.code("a && b")
    drawn = macros.figures(
        [Figure("<b>", Markup("<i>x</i>"), ["1 < 2"])], [("<u>", Mark("#010101"))]
    )
    assert "<i>x</i>" in drawn and "<b>" not in drawn and "<u>" not in drawn and "1 &lt; 2" in drawn
    with pytest.raises(UndefinedError):
        environment().from_string("{{ forgotten }}").render()


def test_sections_and_findings_in_the_order_of_the_page():
    assert contents('<section id="a"><h2>A &amp; b</h2><section id="c"><h2>C</h2>') == [
        ("a", "A &amp; b"),
        ("c", "C"),
    ]
    given = ["mild", None, "severe", "moderate", "severe"]
    found = by_severity([{"severity": s, "n": n} for n, s in enumerate(given)])
    assert [finding["n"] for finding in found] == [2, 4, 3, 0, 1]


def test_numbers_as_text():
    assert [percent(v) for v in (0.4321, 1, np.nan)] == ["43.2", "100.0", "n/a"]
    given = (1234567, 0.000123456, 1234.56, np.nan, None, True, "text")
    shown = ["1,234,567", "0.0001235", "1235", "n/a", "n/a", "True", "text"]
    assert [number(v) for v in given] == shown
    given = (42.4, 99.4, 100, 200, 5999.4, 7500)
    shown = ["42 s", "99 s", "1 min 40 s", "3 min 20 s", "99 min 59 s", "2 h 05 min"]
    assert [seconds(v) for v in given] == shown


def test_a_page_is_written_completely_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "x.html"
    assert write_page(path, "first") == path
    assert write_page(path, "\u2192").read_bytes() == b"\xe2\x86\x92"
    for out in (path / "y.html", tmp_path):  # below a file; a folder
        with pytest.raises(StorageError, match="can't be written") as caught:
            write_page(out, "lost")
        assert f"The report {out} " in caught.value.message and "--out" in caught.value.hint
    assert [f.name for f in tmp_path.rglob("*")] == ["new", "x.html"]
    assert not list(tmp_path.parent.glob(f".{tmp_path.name}.*"))
