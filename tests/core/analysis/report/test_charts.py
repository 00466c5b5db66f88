"""Kinds of figures in a report."""

import re
import subprocess
import sys

import numpy as np
import pytest
from report_pages import Checked

from fusion.core.analysis.report.charts import diagrams, spread
from fusion.core.analysis.report.drawing import Mark, series_colour

ENDLESS = np.array([[0.0, 2.0], [1.0, np.inf]])


def drawn_diagrams(*pairs):
    groups = [(Mark(series_colour(i)), np.array(p).reshape(-1, 2)) for i, p in enumerate(pairs)]
    return diagrams(groups, x="birth", y="death (dB)", label="d")


def test_a_persistence_diagram_is_drawn_by_persim(monkeypatch):
    """The drawing has the colours of the page and a path per diagram, and is deterministic."""
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
    # There are two further lines: the diagonal, and the line of infinite deaths.
    assert len(re.findall("stroke: var\\(--muted", svg)) == 2
    assert len(re.findall("stroke: var\\(--muted", drawn_diagrams([[0, 1]]))) == 1
    passed = []
    monkeypatch.setattr(persim, "plot_diagrams", lambda bars, **_: passed.append(bars))
    drawn_diagrams(ENDLESS)
    assert passed[0][0].tolist() == ENDLESS.tolist()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("pairs", [[], [[]], [[[0, np.inf]]], [[[2, 2]], []]])
def test_a_diagram_without_a_range_is_drawn(pairs):
    Checked(drawn_diagrams(*pairs))


def test_importing_the_report_imports_no_drawing_library():
    """Importing persim takes as long as drawing a page, so only diagrams import it."""
    code = (
        "import sys, fusion.core.analysis.report, fusion.plugins.extractors.persistence; "
        "sys.exit(' '.join({'persim', 'matplotlib', 'jinja2'} & set(sys.modules)) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_the_mean_of_folds_that_stopped_at_different_epochs():
    epochs, low, mean, high = spread([np.array([[1, 2.0], [2, 4.0]]), np.array([[1, 6.0]])])
    assert epochs.tolist() == [1, 2]
    assert (low.tolist(), mean.tolist(), high.tolist()) == ([2, 4], [4, 4], [6, 4])
