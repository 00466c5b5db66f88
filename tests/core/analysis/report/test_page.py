"""jinja2's environment: every text is escaped that is no drawing."""

import json
import shutil

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup
from report_pages import change, checked, report_of
from report_runs import NASTY, write_run

from fusion.core.analysis.report import compare_reports
from fusion.core.analysis.report.drawing import Mark
from fusion.core.analysis.report.page import Figure, environment

SCRIPT = "<script>alert('x')</script>"


def test_names_are_escaped(tmp_path):
    """A class and a speaker, and with him the names of his clips."""
    run = write_run(tmp_path / "run", classes=(NASTY, "high"), speaker=NASTY)
    html, page = checked(report_of(run))
    assert "<b>" not in html
    assert NASTY in page.words  # a class, as the reader sees it
    assert any(f"{NASTY}0" in word for word in page.words)  # a speaker, in a figure


def test_no_text_of_a_run_is_markup(made, run, tmp_path):
    """Whatever stands in its files: their values are shown as they are."""
    texts = ("title", "severity", "modality", "says", "rule", "remedy", "command")
    finding = dict.fromkeys(texts, SCRIPT)
    finding |= {"numbers": {SCRIPT: SCRIPT}, "folds": [SCRIPT, SCRIPT]}
    told = {"findings": [finding], "caveats": [SCRIPT], "checked": [SCRIPT],
            "signs": {SCRIPT: {SCRIPT: SCRIPT}}, "thresholds": {SCRIPT: SCRIPT}}  # fmt: skip
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
    statistics = {"raw": {"min": SCRIPT, "channels": {"min": [SCRIPT]}}}
    training = run / "fold0/fused/training.json"
    change(training, inputs={SCRIPT: statistics}, precision=SCRIPT)
    html, page = checked(report_of(run))
    assert page.words.count(SCRIPT) > 10 and html.count("&lt;script&gt;") > 40
    checked(compare_reports([run, shutil.copytree(made(), tmp_path / "<b>")], tmp_path / "c.html"))


def test_bytes_that_are_no_text(tmp_path):
    html, _ = checked(report_of(write_run(tmp_path / "run", speaker="caf\udce9\x1b")))
    assert "caf??0" in html


def test_macros_escape_what_is_no_drawing(macros):
    assert "<td>&lt;</td>" in macros.table("t", ["a", "b"], [["x", "<"]])
    assert 'aria-label="&#34;a&#34;"' in macros.table('"a"', ["<b>"])
    assert "<code>a &amp;&amp; b</code>" in macros.code("a && b")
    drawn = macros.figures(
        [Figure("<b>", Markup("<i>x</i>"), ["1 < 2"])], [("<u>", Mark("#010101"))]
    )
    assert "<i>x</i>" in drawn and "<b>" not in drawn and "<u>" not in drawn and "1 &lt; 2" in drawn
    with pytest.raises(UndefinedError):
        environment().from_string("{{ forgotten }}").render()
