"""Small vector figures that take the page's colours and the reader's font.

matplotlib draws in stand-in colours; the page's style sheet says what they are, in light and in
dark. Nothing is drawn through pyplot: no window, no global state.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from ...runs.outcome.results import CHOSEN
from ...runs.outcome.selection import ENSEMBLE
from ...runs.trainings import FUSED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 330.0, 216.0  # of a small figure, in pixels where the page has room for it
SERIES = 7  # colours of the style sheet

# Stand-ins, as matplotlib writes them, and what the page makes of them.
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
    "font.family": "DejaVu Sans",  # measured in; drawn in the reader's own
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
    "text.parse_math": False,  # a name may have a dollar sign
    "path.simplify": False,  # it would join points that lie above each other
}


def series_colour(number: int) -> str:
    """Stand-in for the page's colour `number`; they repeat where there are more."""
    return _SERIES[number % SERIES]


# What matplotlib's markers look like in a legend, around (13, 6).
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
    """How one series is drawn: a stand-in colour, and a line's dashes or a marker."""

    colour: str
    dashes: str = "-"
    marker: str = ""

    @property
    def shape(self) -> Markup:
        """Return its picture for a legend, as SVG."""
        return Markup(_SHAPES[self.marker])

    @property
    def style(self) -> str:
        """CSS of that shape."""
        colour = _PAGE_COLOURS[self.colour]
        if self.marker:
            return f"fill:{colour}"
        dashes = _DASHES.get(self.dashes, "none")
        return f"stroke:{colour};stroke-width:2.4;stroke-dasharray:{dashes}"


# -- models --------------------------------------------------------------------------

_MODALITIES = SERIES - 2  # colours that are theirs: the first is the fused model's, the last the
_DOTS = {FUSED: "o", ENSEMBLE: "s", CHOSEN: "D"}  # ensemble's


def colour_of(model: str, modalities: Sequence[str]) -> str:
    """Stand-in colour of a model of the table: the same on the whole page."""
    if model in modalities:
        return series_colour(1 + list(modalities).index(model) % _MODALITIES)
    return {FUSED: series_colour(0), ENSEMBLE: series_colour(SERIES - 1)}.get(model, INK)


def line_of(model: str, modalities: Sequence[str], dashes: str = "-") -> Mark:
    return Mark(colour_of(model, modalities), dashes)


def dot_of(model: str, modalities: Sequence[str]) -> Mark:
    return Mark(colour_of(model, modalities), marker=_DOTS.get(model, "^"))


# -- figures -------------------------------------------------------------------------

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")  # HTML has no place for them


def readable(name: str) -> str:
    """`name` without what no page can show: a file's name may hold bytes that are no text."""
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
    """One figure of one pair of axes, as SVG within the page.

    Parameters
    ----------
    paint : callable
        Draws into the axes.
    label : str
        What it shows, for those who can't see it.
    x, y : str
        What the axes mean.
    width, height : float
        In pixels, where the page has room for it.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
        figure.patch.set_alpha(0)
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        paint(axes)
        axes.set(xlabel=x, ylabel=y)
        # Laid out here and now: left to savefig, everything would be drawn twice.
        figure.get_layout_engine().execute(figure)  # type: ignore[union-attr]
        figure.set_layout_engine("none")
        file = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(file, format="svg", metadata=nothing)
    return _for_the_page(file.getvalue(), label, width)


def _for_the_page(svg: str, label: str, width: float) -> Markup:
    body = svg[svg.index("<svg") :]
    box = re.search(r'viewBox="([^"]+)"', body)
    body = body[body.index(">") + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"\sxlink:href=", " href=", body)
    body = re.sub(r"<style.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)  # of the whole page
    body = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", body)  # the reader's own font
    body = re.sub(r" font-family: [^;\"]*;", "", body)
    for stand_in, colour in _PAGE_COLOURS.items():
        body = body.replace(stand_in, colour)
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', body))
    body = re.sub(r' id="([^"]+)"', lambda m: m[0] if m[1] in used else "", body)
    body = re.sub(r' (d|x|y|x1|y1|x2|y2|transform|width|height)="([^"]*)"', _rounded, body)
    body = re.sub(r">\s+<", "><", body)
    assert box is not None
    return Markup(
        '<svg class="plot" role="img" aria-label="{}" viewBox="{}" style="max-width:{:.0f}px">{}'
    ).format(label, box[1], width * 1.25, Markup(body.strip()))


def _rounded(found: re.Match[str]) -> str:
    plain = re.sub(r"-?\d+\.\d{3,}", lambda m: f"{float(m[0]):.2f}", found[2])
    return f' {found[1]}="{" ".join(plain.split())}"'


def with_own_ids(page: str) -> str:
    """The page, where the ids within each SVG have the number of the SVG before them."""
    count = 0

    def renamed(found: re.Match[str]) -> str:
        nonlocal count
        count += 1
        body = re.sub(r' id="([^"]+)"', rf' id="g{count}-\1"', found[0])
        return re.sub(r'(url\(#|href="#)', rf"\1g{count}-", body)

    return re.sub(r'<svg class="plot".*?</svg>', renamed, page, flags=re.DOTALL)
