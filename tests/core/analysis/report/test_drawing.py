"""Drawing of a figure as SVG: colours of the page, unique ids, deterministic output."""

import re

from markupsafe import Markup
from report_pages import Checked

from fusion.core.analysis.report.drawing import Mark, draw, with_own_ids
from fusion.core.analysis.report.page import Figure


def test_figures_use_the_colours_of_the_page():
    def paint(axes):
        axes.plot([0, 1], [0, 1], color="#040400")

    svg = draw(paint, label='a "label"', x="50 % < $x_1$")
    assert "var(--c0" in svg and "currentColor" in svg and "#0404" not in svg
    assert "50 % &lt; $x_1$" in svg and "font-family" not in svg
    assert 'role="img" aria-label="a &#34;label&#34;"' in svg
    page = Checked(with_own_ids(svg + svg))
    assert page.ids and len(set(page.ids)) == len(page.ids)
    assert svg == draw(paint, label='a "label"', x="50 % < $x_1$")


def test_drawing_does_not_change_the_settings_of_matplotlib():
    import matplotlib

    before = dict(matplotlib.rcParams)
    draw(lambda axes: None, label="")
    assert dict(matplotlib.rcParams) == before


def test_every_marker_has_a_legend_swatch(macros):
    marks = [(m, Mark("#010101", marker=m)) for m in ("", *"osD^")]
    shown = macros.figures([Figure("", Markup())], marks)
    assert len(re.findall("<li>", shown)) == 5 and len(set(re.findall("<svg.*?</svg>", shown))) == 5
