"""The page of a report: whole, escaped, alone, the same when written twice."""

import json
import re
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from jinja2 import UndefinedError
from markupsafe import Markup, escape
from report_runs import NASTY, write_run

from fusion import Clip, Extractor, Recording
from fusion.core.analysis.report import compare_reports, write_report
from fusion.core.analysis.report.charts import diagrams
from fusion.core.analysis.report.drawing import Mark, draw, series_colour, with_own_ids
from fusion.core.analysis.report.examples import example
from fusion.core.analysis.report.page import Figure, environment
from fusion.core.analysis.report.run_data import read_run
from fusion.core.contracts.data import Panel, default_panels
from fusion.core.contracts.errors import RunError
from fusion.core.runs.run import Run

SECTIONS = ["verdict", "models", "diagnosis", "learning", "inside", "confusions", "disagreement",
            "examples", "speakers", "calibration", "cost", "inputs", "clips", "repeat",
            "words"]  # fmt: skip


def report_of(run, *out):
    return write_report(Run.open(run), *out)


VOID = {"meta", "img", "br", "hr"}


class Checked(HTMLParser):
    """Fails on a tag that is not closed, closed twice or crossed; remembers ids and links."""

    def __init__(self, html):
        super().__init__()
        self.open, self.ids, self.links, self.words = [], [], [], []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self._note(attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self._note(attrs)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def _note(self, attrs):
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href"):
                self.links.append(value)
            self.links += re.findall(r"url\(([^)]*)\)", value or "")


def checked(path):
    html = path.read_text(encoding="utf-8")
    page = Checked(html)
    assert len(set(page.ids)) == len(page.ids)
    assert html.startswith("<!doctype html>\n<html") and html.endswith("</html>\n")
    assert "<script" not in html and "http:" not in html and "https:" not in html
    for link in page.links:
        assert link.startswith(("#", "data:image/png")), link
        assert not link.startswith("#") or link[1:] in page.ids
    assert len(html) < 1_000_000
    return html, page


def test_everything_is_there(tmp_path):
    path = report_of(write_run(tmp_path / "run"))
    assert path == tmp_path / "run" / "report.html"
    html, page = checked(path)
    assert [i for i in page.ids if i in SECTIONS] == SECTIONS
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    for model in results["models"]:
        uar = model["uar"]
        shown = f"{100 * uar['value']:.1f} [{100 * uar['low']:.1f}, {100 * uar['high']:.1f}]"
        assert f'<th scope="row">{model["name"]}</th><td>{shown}</td>' in html
    assert escape(results["verdict"].partition(" Handed out")[0]) in html


@pytest.mark.parametrize(
    "modalities, folds", [(("a",), 3), (("a", "b", "c"), 1), (tuple("abcd"), 3)]
)
def test_any_number_of_modalities_and_folds(tmp_path, modalities, folds):
    html, _ = checked(report_of(write_run(tmp_path / "run", modalities, folds)))
    assert ("2 of 4" in html) == (len(modalities) == 4)
    assert ("one modality alone" in html) == (len(modalities) == 1)


def test_names_are_escaped(tmp_path):
    """A class and a speaker, and with him the names of his clips."""
    run = write_run(tmp_path / "run", classes=(NASTY, "high"), speaker=NASTY)
    html, page = checked(report_of(run))
    assert "<b>" not in html
    assert NASTY in page.words  # a class, as the reader sees it
    assert any(f"{NASTY}0" in word for word in page.words)  # a speaker, in a figure


SCRIPT = "<script>alert('x')</script>"


def test_no_text_of_a_run_is_markup(tmp_path):
    """Whatever stands in its files: their values are shown as they are."""
    run = write_run(tmp_path / "run")
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
    training = run / "fold0" / "fused" / "training.json"
    statistics = {"raw": {"min": SCRIPT, "channels": {"min": [SCRIPT]}}}
    summary = json.loads(training.read_text())
    training.write_text(
        json.dumps({**summary, "inputs": {SCRIPT: statistics}, "precision": SCRIPT})
    )
    html, page = checked(report_of(run))
    assert page.words.count(SCRIPT) > 10 and html.count("&lt;script&gt;") > 40
    checked(compare_reports([run, write_run(tmp_path / "<b>")], tmp_path / "c.html"))


def test_bytes_that_are_no_text(tmp_path):
    html, _ = checked(report_of(write_run(tmp_path / "run", speaker="caf\udce9\x1b")))
    assert "caf??0" in html


def test_twice_the_same_bytes(tmp_path):
    run = write_run(tmp_path / "run", folds=3)
    assert report_of(run).read_bytes() == report_of(run, tmp_path / "b.html").read_bytes()


@pytest.mark.parametrize(
    "name, says",
    [
        ("predictions.csv", "predictions.csv can't be read"),
        ("clips.csv", "clips.csv can't be read"),
        ("selection.json", "All models"),
        ("fold0/fused/epochs.jsonl", "recorded nothing of the fused model's inside"),
        ("fold0/fused/training.json", "no statistics of its inputs"),
    ],
)
def test_a_file_that_is_gone_costs_its_part_alone(tmp_path, name, says):
    run = write_run(tmp_path / "run")
    (run / name).unlink()
    html, page = checked(report_of(run))
    assert says in unescape(html)
    assert [i for i in page.ids if i in SECTIONS] == SECTIONS


def test_the_start_of_the_fused_model_is_its_epoch_0(tmp_path):
    run = write_run(tmp_path / "run")
    assert "epoch 0" not in report_of(run).read_text()
    path = run / "fold0/fused/training.json"
    start = {"epoch": 0, "val_uar": 0.25, "val_loss": 1.5}
    path.write_text(json.dumps({**json.loads(path.read_text()), "start": start}))
    assert "epoch 0 is its start" in unescape(report_of(run).read_text())
    (first, *later) = read_run(Run.open(run)).records("fused")[0]
    assert first == start and [record["epoch"] for record in later][:2] == [1, 2]


def test_files_of_nonsense(tmp_path):
    run = write_run(tmp_path / "run")
    for name in ("predictions.csv", "clips.csv", "selection.json", "diagnosis.json",
                 "fold0/fused/epochs.jsonl", "fold0/a/training.json"):  # fmt: skip
        (run / name).write_text("{nonsense")
    checked(report_of(run))


def test_the_diagnosis(tmp_path):
    run = write_run(tmp_path / "run")
    assert "holds no diagnosis" in report_of(run).read_text()
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


def test_a_diagnosis_that_found_nothing_says_what_it_looked_at(tmp_path):
    run = write_run(tmp_path / "run")
    told = {"findings": [], "checked": ["x"], "caveats": ["Too few <steps>."],
            "signs": {"a": {"norm": 1.5}, "": {"agreement": 0.25}},
            "thresholds": {"scale_ratio": 10.0}}  # fmt: skip
    (run / "diagnosis.json").write_text(json.dumps(told))
    html, _ = checked(report_of(run))
    assert "None of the known faults" in html and "Too few &lt;steps&gt;." in html
    assert '<th scope="row">norm</th><td>1.5</td><td></td>' in html
    assert '<th scope="row">agreement</th><td></td><td>0.25</td>' in html
    assert '<th scope="row">scale_ratio</th><td>10</td>' in html


def test_statistics_of_the_inputs(tmp_path):
    run = write_run(tmp_path / "run")
    numbers = {"min": -1.5, "max": 2, "mean": 0.25, "std": 1, "zeros": 0.125, "nan": None}
    channels = {key: [value, value] for key, value in numbers.items()}
    path = run / "fold0" / "fused" / "training.json"
    summary = json.loads(path.read_text())
    summary["inputs"] = {"a": {"raw": {**numbers, "channels": channels}, "seen": numbers}}
    path.write_text(json.dumps(summary))
    html, _ = checked(report_of(run))
    assert "<td>-1.5</td><td>2</td><td>0.25</td><td>1</td><td>12.5</td><td>n/a</td>" in html
    assert "channel 1, as stored" in html


def test_wrong_input(tmp_path):
    with pytest.raises(RunError, match="no run directory"):
        report_of(tmp_path)
    run = write_run(tmp_path / "run")
    with pytest.raises(RunError, match="named twice"):
        compare_reports([run, run], tmp_path / "c.html")
    with pytest.raises(RunError, match="two runs or more"):
        compare_reports([run], tmp_path / "c.html")
    (run / "results.json").write_text("{}")
    with pytest.raises(RunError, match="damaged"):
        report_of(run)
    (run / "results.json").unlink()
    with pytest.raises(RunError, match="not finished") as caught:
        report_of(run)
    assert "fusion run --resume" in caught.value.hint
    assert not (run / "report.html").exists()


def test_a_comparison(tmp_path):
    """Two runs on the same clips are compared in pairs, a third on others is not."""
    one = write_run(tmp_path / "x" / "run", ("a", "b"))
    two = write_run(tmp_path / "y" / "run", ("a", "b", "c"))
    other = write_run(tmp_path / "z", folds=3)
    out = tmp_path / "new" / "c.html"
    assert compare_reports([one, two, other], out) == out
    html, page = checked(out)
    sections = ["verdicts", "models", "differences", "learning", "settings", "diagnosis"]
    assert [i for i in page.ids if i in sections] == sections
    assert "y/run minus x/run: fused" in html
    third = f"{tmp_path.name}/z"
    assert f"not compared in pairs: {third} and x/run; {third} and y/run." in html
    assert '<th scope="row">features</th><td>a, b</td><td>a, b, c</td><td>a, b</td>' in html
    assert compare_reports([one, two, other], tmp_path / "d.html").read_text() == html


# -- pieces --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def macros():
    return environment().get_template("macros.html.j2").module


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


def test_figures_take_the_colours_of_the_page():
    def paint(axes):
        axes.plot([0, 1], [0, 1], color="#040400")

    svg = draw(paint, label='a "label"', x="50 % < $x_1$")
    assert "var(--c0" in svg and "currentColor" in svg and "#0404" not in svg
    assert "50 % &lt; $x_1$" in svg and "font-family" not in svg
    assert 'role="img" aria-label="a &#34;label&#34;"' in svg
    page = Checked(with_own_ids(svg + svg))
    assert page.ids and len(set(page.ids)) == len(page.ids)
    assert svg == draw(paint, label='a "label"', x="50 % < $x_1$")


def test_drawing_leaves_no_trace():
    import matplotlib

    before = dict(matplotlib.rcParams)
    draw(lambda axes: None, label="")
    assert dict(matplotlib.rcParams) == before


def test_every_marker_has_a_swatch(macros):
    marks = [(m, Mark("#010101", marker=m)) for m in ("", *"osD^")]
    shown = macros.figures([Figure("", Markup())], marks)
    assert len(re.findall("<li>", shown)) == 5 and len(set(re.findall("<svg.*?</svg>", shown))) == 5


def test_marks_and_barcodes_are_drawn(macros):
    clip = Clip(Recording(Path("a.wav")), "a", "sad", "s", "c")
    panels = [
        Panel("i", "image", {"": np.eye(10)}, marks={"": np.array([[0, 0], [9, 4]])}),
        Panel("b", "bars", {"low": np.array([[1, 2], [0, 5]]), "none": np.empty((0, 2))}),
        Panel("c", "curve", {"": np.arange(5)}, marks={"low": np.array([[1, 0, 3]])}),
    ]
    shown = example(clip, panels, "m")
    page = str(macros.figures(shown.figures, shown.marks))
    Checked(page)
    # Row 0 is at the bottom: the middles of the first and the last pixel of a square of 100.
    assert re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', page)[-2:] == [
        ("5.0", "95.0"), ("95.0", "55.0")]  # fmt: skip
    assert page.count('class="panel wide"') == 2 and page.count('class="marked"') == 1
    assert re.findall(r"</svg>(\w+)</li>", page) == ["low", "none"]  # the curve has no name
    assert page.count("var(--c0, #777)") >= 2 and page.count("var(--c2, #777)") >= 1


ENDLESS = np.array([[0.0, 2.0], [1.0, np.inf]])


def drawn_diagrams(*pairs):
    groups = [(Mark(series_colour(i)), np.array(p).reshape(-1, 2)) for i, p in enumerate(pairs)]
    return diagrams(groups, x="birth", y="death (dB)", label="d")


def test_a_persistence_diagram_is_drawn_by_persim(monkeypatch):
    """In the colours of the page, a path for each diagram, the same bytes each time."""
    import matplotlib
    import persim

    settings = dict(matplotlib.rcParams)
    svg = drawn_diagrams(ENDLESS, [[0, 1], [0.5, 1.5], [1, 4]])
    assert drawn_diagrams(ENDLESS, [[0, 1], [0.5, 1.5], [1, 4]]) == svg
    assert dict(matplotlib.rcParams) == settings
    Checked(svg)
    assert "var(--c0" in svg and "var(--c1" in svg and "death (dB)" in svg
    strokes = re.findall(r'<path d="([^"]*)" [^>]*stroke: var\(--c(\d)', svg)
    assert [(path.count("M"), colour) for path, colour in strokes] == [(2, "0"), (3, "1")]
    # Two lines besides: the diagonal, and what never ends.
    assert len(re.findall("stroke: var\\(--muted", svg)) == 2
    assert len(re.findall("stroke: var\\(--muted", drawn_diagrams([[0, 1]]))) == 1
    given = []
    monkeypatch.setattr(persim, "plot_diagrams", lambda bars, **_: given.append(bars))
    drawn_diagrams(ENDLESS)
    assert given[0][0].tolist() == ENDLESS.tolist()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("pairs", [[], [[]], [[[0, np.inf]]], [[[2, 2]], []]])
def test_a_diagram_without_a_range_is_drawn(pairs):
    Checked(drawn_diagrams(*pairs))


def test_importing_the_report_imports_no_drawing():
    """persim takes as long to import as a page to draw: it is, where a panel is a diagram."""
    code = (
        "import sys, fusion.core.analysis.report, fusion.plugins.extractors.persistence; "
        "sys.exit(' '.join({'persim', 'matplotlib', 'jinja2'} & set(sys.modules)) or 0)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


class Named(Extractor):
    name = "named"
    axes = ("channel", "frequency", "time")

    def __init__(self):
        self.shape = (2, 3, 4)
        self.channels = ("left", "right")


def test_panels_by_default():
    panels = Named().panels(np.arange(24.0).reshape(2, 3, 4))
    assert [p.title for p in panels] == ["left", "right"]
    assert {(p.kind, p.x, p.y) for p in panels} == {("image", "time", "frequency")}
    assert panels[1].data[""].tolist() == np.arange(12.0, 24.0).reshape(3, 4).tolist()
    plain = Extractor()
    assert [p.kind for p in default_panels(plain, np.zeros(5))] == ["curve"]
    assert [p.kind for p in default_panels(plain, np.zeros((5, 2)))] == ["image"]
    assert [p.title for p in default_panels(plain, np.zeros((2, 5, 2)))] == [
        "channel 0",
        "channel 1",
    ]
    assert default_panels(plain, np.zeros((2, 2, 2, 2))) == []
