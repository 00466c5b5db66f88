"""Small vector figures with the colours of the page and the font of the browser.

matplotlib draws with placeholder colours. This module replaces the placeholders by colours of the
page's style sheet. The style sheet has a light and a dark version. pyplot is not used, because it
opens windows and has global state.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from ...runs.outcome.results import CHOSEN
from ...runs.outcome.selection import ENSEMBLE
from ...runs.trainings import FUSED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 330.0, 216.0  # pixels of a small figure; a narrow page shrinks it
SERIES = 7  # number of series colours in the style sheet

# Placeholder colours as matplotlib writes them, and the CSS colours that replace them.
INK = "#010101"
GRID = "#020202"
MUTED = "#030303"
_SERIES = [f"#0404{number:02x}" for number in range(SERIES)]
_PAGE_COLOURS = {
    INK: "currentColor",
    GRID: "var(--grid, #ccc)",
    MUTED: "var(--muted, #777)",
    **{colour: f"var(--c{number}, #777)" for number, colour in enumerate(_SERIES)},
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fusion",
    "font.size": 11.0,
    "font.family": "DejaVu Sans",  # for measuring text; the page uses the browser's font
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.labelsize": 11.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "xtick.minor.size": 0.0,
    "ytick.minor.size": 0.0,
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "text.parse_math": False,  # a name may contain a dollar sign
    "path.simplify": False,  # simplification would join points above each other
}


def series_colour(number: int) -> str:
    """Return the placeholder of series colour `number`; colours repeat after :data:`SERIES`."""
    return _SERIES[number % SERIES]


# SVG of matplotlib's markers in a legend, centred at (13, 6).
_SHAPES = {
    "o": '<circle cx="13" cy="6" r="4.2"/>',
    "s": '<rect x="9" y="2" width="8" height="8"/>',
    "D": '<path d="M13 1l5 5-5 5-5-5z"/>',
    "^": '<path d="M13 1.5l5 9H8z"/>',
    "": '<line x1="1" y1="6" x2="25" y2="6"/>',
}
_DASHES = {"--": "6 3", ":": "2 3"}


@dataclass(frozen=True, slots=True)
class Mark:
    """Appearance of one series: placeholder colour, and dashes of a line or a marker."""

    colour: str
    dashes: str = "-"
    marker: str = ""

    @property
    def shape(self) -> Markup:
        """SVG of the mark for a legend."""
        return Markup(_SHAPES[self.marker])

    @property
    def style(self) -> str:
        """CSS of the mark for a legend."""
        colour = _PAGE_COLOURS[self.colour]
        if self.marker:
            return f"fill:{colour}"
        dashes = _DASHES.get(self.dashes, "none")
        return f"stroke:{colour};stroke-width:2.4;stroke-dasharray:{dashes}"


# -- models --------------------------------------------------------------------------

_MODALITIES = SERIES - 2  # the first colour is for the fused model, the last for the ensemble
_DOTS = {FUSED: "o", ENSEMBLE: "s", CHOSEN: "D"}


def colour_of(model: str, modalities: Sequence[str]) -> str:
    """Return the placeholder colour of a model, which is the same on the whole page."""
    if model in modalities:
        return series_colour(1 + list(modalities).index(model) % _MODALITIES)
    return {FUSED: series_colour(0), ENSEMBLE: series_colour(SERIES - 1)}.get(model, INK)


def line_of(model: str, modalities: Sequence[str], dashes: str = "-") -> Mark:
    """Return the mark of a model drawn as a line."""
    return Mark(colour_of(model, modalities), dashes)


def dot_of(model: str, modalities: Sequence[str]) -> Mark:
    """Return the mark of a model drawn as a dot."""
    return Mark(colour_of(model, modalities), marker=_DOTS.get(model, "^"))


# -- figures -------------------------------------------------------------------------

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")  # control characters are not valid HTML


def readable(name: str) -> str:
    """Return `name` with characters that HTML can't contain replaced by question marks.

    A file name may contain control characters and bytes that are not UTF-8.
    """
    return _CONTROL.sub("?", name.encode("utf-8", "replace").decode("utf-8"))


def draw(
    paint: Callable[[Axes], None],
    *,
    label: str,
    x: str = "",
    y: str = "",
    width: float = WIDTH,
    height: float = HEIGHT,
) -> Markup:
    """Draw a figure with one pair of axes, and return it as SVG for the page.

    Parameters
    ----------
    paint : callable
        Function that draws into the axes.
    label : str
        Text alternative for screen readers.
    x, y : str
        Labels of the axes.
    width, height : float
        Size in pixels; a narrow page shrinks the figure.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # The browser draws the text and has fonts for all scripts.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from", UserWarning)
        figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
        figure.patch.set_alpha(0)
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        paint(axes)
        axes.set(xlabel=x, ylabel=y)
        # Compute the layout once here: savefig would draw everything twice to find the layout.
        figure.get_layout_engine().execute(figure)  # type: ignore[union-attr]
        figure.set_layout_engine("none")
        file = io.StringIO()
        no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(file, format="svg", metadata=no_metadata)
    return _for_page(file.getvalue(), label, width)


def _for_page(svg: str, label: str, width: float) -> Markup:
    """Return matplotlib's SVG with colours and font of the page, without unused parts."""
    body = svg[svg.index("<svg") :]
    box = re.search(r'viewBox="([^"]+)"', body)
    body = body[body.index(">") + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"\sxlink:href=", " href=", body)
    body = re.sub(
        r"<style.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL
    )  # a style here would apply to the whole page
    body = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", body)  # use the font of the browser
    body = re.sub(r" font-family: [^;\"]*;", "", body)
    for placeholder, colour in _PAGE_COLOURS.items():
        body = body.replace(placeholder, colour)
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', body))
    body = re.sub(r' id="([^"]+)"', lambda m: m[0] if m[1] in used else "", body)
    body = re.sub(r' (d|x|y|x1|y1|x2|y2|transform|width|height)="([^"]*)"', _rounded, body)
    body = re.sub(r">\s+<", "><", body)
    assert box is not None
    return Markup(
        '<svg class="plot" role="img" aria-label="{}" viewBox="{}" style="max-width:{:.0f}px">{}'
    ).format(label, box[1], width * 1.25, Markup(body.strip()))


def _rounded(match: re.Match[str]) -> str:
    """Return an SVG attribute with its numbers rounded to two decimals."""
    plain = re.sub(r"-?\d+\.\d{3,}", lambda m: f"{float(m[0]):.2f}", match[2])
    return f' {match[1]}="{" ".join(plain.split())}"'


def with_own_ids(page: str) -> str:
    """Return the page with ids inside each SVG made unique by the number of the SVG."""
    count = 0

    def renamed(match: re.Match[str]) -> str:
        nonlocal count
        count += 1
        body = re.sub(r' id="([^"]+)"', rf' id="g{count}-\1"', match[0])
        return re.sub(r'(url\(#|href="#)', rf"\1g{count}-", body)

    return re.sub(r'<svg class="plot".*?</svg>', renamed, page, flags=re.DOTALL)
