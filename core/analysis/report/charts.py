"""Kinds of figures in a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from markupsafe import Markup

from ...toolkit.intervals import Interval
from ...toolkit.metrics import Floats
from .drawing import GRID, HEIGHT, INK, MUTED, WIDTH, Mark, draw, readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Line:
    """One quantity of a training over its epochs.

    Attributes
    ----------
    mark : Mark
        Colour and dashes.
    folds : sequence of array
        (E, 2) epoch and value for each fold; folds may end at different epochs.
    """

    mark: Mark
    folds: Sequence[Floats]

    def __bool__(self) -> bool:
        """Return True if any fold has values."""
        return any(len(fold) for fold in self.folds)


def over_epochs(
    lines: Sequence[Line],
    *,
    label: str,
    y: str,
    scale: float = 1.0,
    log: bool = False,
    level: tuple[float, str] | None = None,
    marked: Sequence[int] = (),
    limits: tuple[float | None, float | None] | None = None,
) -> Markup:
    """Draw lines over epochs: the mean of the folds, and the range of the folds as a band.

    Only solid lines have a band, because the bands of solid and dashed lines would overlap.

    Parameters
    ----------
    lines : sequence of Line
        The quantities to draw.
    label : str
        Text alternative for screen readers.
    y : str
        Label of the vertical axis.
    scale : float
        Factor on the values: 100 for per cent.
    log : bool
        Whether the vertical axis is logarithmic.
    level : (float, str), optional
        Value (before scaling) and label of a horizontal line.
    marked : sequence of int
        Epochs marked by a vertical line.
    limits : (float or None, float or None), optional
        Ends of the vertical axis, after scaling; None fits the end to the lines.
    """

    def paint(axes: Axes) -> None:
        for epoch in marked:
            axes.axvline(epoch, color=MUTED, linewidth=1, linestyle=":")
        if level:
            axes.axhline(scale * level[0], color=MUTED, linewidth=1, linestyle="-.")
            axes.annotate(
                level[1], (1, scale * level[0]), xycoords=("axes fraction", "data"), ha="right",
                xytext=(-4, 5), textcoords="offset points", color=MUTED, fontsize=10,
            )  # fmt: skip
        for line in lines:
            _paint_line(axes, line, scale)
        if log:
            _logarithmic(axes)
        if limits:
            axes.set_ylim(*limits)
        _whole_epochs(axes, lines)

    return draw(paint, label=label, x="epoch", y=y)


def _paint_line(axes: Axes, line: Line, scale: float) -> None:
    """Draw the mean over folds, and a band for a solid line of several folds."""
    epochs, low, mean, high = spread(line.folds)
    if not len(epochs):
        return
    if (
        len(line.folds) > 1 and line.mark.dashes == "-"
    ):  # bands of dashed lines would hide the bands of solid lines
        axes.fill_between(
            epochs, scale * low, scale * high, color=line.mark.colour, alpha=0.15, linewidth=0
        )
    marker = "o" if len(epochs) == 1 else ""
    axes.plot(
        epochs, scale * mean, color=line.mark.colour, linestyle=line.mark.dashes,
        marker=marker, markersize=4,
    )  # fmt: skip


def spread(folds: Sequence[Floats]) -> tuple[Floats, Floats, Floats, Floats]:
    """Return epochs, and the lowest, mean and highest value over folds at each epoch, (E,) each."""
    values: dict[float, list[float]] = {}
    for fold in folds:
        for epoch, value in fold.tolist():
            values.setdefault(epoch, []).append(value)
    epochs = sorted(values)
    each = [values[epoch] for epoch in epochs]
    return (
        np.array(epochs),
        np.array([min(v) for v in each]),
        np.array([sum(v) / len(v) for v in each]),
        np.array([max(v) for v in each]),
    )


def _whole_epochs(axes: Axes, lines: Sequence[Line]) -> None:
    """Limit the horizontal axis to the epochs, with ticks at whole epochs."""
    from matplotlib.ticker import MaxNLocator

    last = max((fold[-1, 0] for line in lines for fold in line.folds if len(fold)), default=1)
    axes.set_xlim(0 if last > 1 else 0.5, last * 1.02 if last > 1 else 1.5)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def _logarithmic(axes: Axes) -> None:
    """Make the vertical axis logarithmic, with few and plain tick labels.

    matplotlib's own logarithmic ticks take long to draw.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    decades = np.log10(high / low)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 2 else (1,), numticks=8))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def interval_bars(
    rows: Sequence[tuple[str, Interval, str]], *, chance: float, label: str
) -> Markup:
    """Draw one bar per model with its score and interval in per cent, one below the other.

    Parameters
    ----------
    rows : sequence of (str, Interval, str)
        Name, score (0 to 1) and placeholder colour.
    chance : float
        Chance level, 0 to 1.
    label : str
        Text alternative for screen readers.
    """

    def paint(axes: Axes) -> None:
        for position, (_, score, colour) in enumerate(rows):
            axes.barh(position, 100 * score.value, height=0.62, color=colour, alpha=0.75)
            end = 100 * score.value
            if not np.isnan(score.low):
                axes.plot([100 * score.low, 100 * score.high], [position, position], color=INK)
                end = max(end, 100 * score.high)
            axes.annotate(
                f"{100 * score.value:.1f}", (end, position), xytext=(5, 0),
                textcoords="offset points", va="center",
            )  # fmt: skip
        axes.axvline(100 * chance, color=MUTED, linewidth=1, linestyle="-.")
        axes.set_yticks(range(len(rows)), [readable(name) for name, _, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(0, 115)
        axes.set_xticks(range(0, 101, 20))
        axes.grid(visible=False, axis="y")

    height = 52 + 27 * len(rows)
    return draw(paint, label=label, x="UAR (%)", width=1.15 * WIDTH, height=height)


def dot_rows(
    names: Sequence[str],
    columns: Sequence[tuple[str, Mark, Floats]],
    *,
    label: str,
    x: str,
) -> Markup:
    """Draw several scores per row as dots on a line, in per cent.

    Parameters
    ----------
    names : sequence of str
        Names of the rows, from top to bottom.
    columns : sequence of (str, Mark, array)
        Name, mark, and (rows,) values from 0 to 1.
    label : str
        Text alternative for screen readers.
    x : str
        Label of the horizontal axis.
    """

    def paint(axes: Axes) -> None:
        scores = 100 * np.array([values for _, _, values in columns])  # (columns, rows)
        for position in range(len(names)):
            finite = scores[:, position][~np.isnan(scores[:, position])]
            if len(finite) > 1:
                axes.plot(
                    [finite.min(), finite.max()], [position, position], color=GRID, linewidth=2
                )
        for (_, mark, _), values in zip(columns, scores, strict=True):
            axes.scatter(values, range(len(names)), s=40, color=mark.colour, marker=mark.marker,
                         linewidths=0, zorder=3)  # fmt: skip
        axes.set_yticks(range(len(names)), [readable(name) for name in names])
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlim(-3, 103)
        axes.tick_params(axis="y", labelsize=10)

    height = 52 + 15 * max(3, len(names))
    return draw(paint, label=label, x=x, width=1.15 * WIDTH, height=height)


def reliability(bins: Floats, *, colour: str, label: str) -> Markup:
    """Draw accuracy over confidence: one dot per bin, and the diagonal of equal values.

    The size of a dot grows with the number of clips in its bin.

    Parameters
    ----------
    bins : array
        (B, 3): mean confidence, accuracy and share of all clips, for each non-empty bin.
    colour : str
        Placeholder colour of the dots.
    label : str
        Text alternative for screen readers.
    """

    def paint(axes: Axes) -> None:
        axes.plot([0, 100], [0, 100], color=MUTED, linewidth=1, linestyle="-.")
        confidence, right, share = 100 * bins.T
        axes.plot(confidence, right, color=colour, linewidth=1.2, alpha=0.7)
        axes.scatter(confidence, right, s=8 + 5 * share, color=colour, alpha=0.75, linewidths=0,
                     zorder=3)  # fmt: skip
        axes.set_xlim(0, 103)
        axes.set_ylim(-3, 103)

    return draw(paint, label=label, x="confidence (%)", y="accuracy (%)", width=0.8 * WIDTH)


def scattered(
    groups: Sequence[tuple[Mark, Floats]], *, x: str, y: str, diagonal: bool, label: str
) -> Markup:
    """Draw groups of points, (n, 2) each, and the diagonal on request."""

    def paint(axes: Axes) -> None:
        for mark, points in groups:
            _dots(axes, points, mark)
        axes.autoscale_view()
        if diagonal:
            low, high = axes.get_ylim()
            axes.plot([low, high], [low, high], color=MUTED, linewidth=1, linestyle="-.")
            axes.set_ylim(low, high)

    return draw(paint, label=label, x=x, y=y, width=0.5 * WIDTH, height=0.5 * WIDTH)


def diagrams(groups: Sequence[tuple[Mark, Floats]], *, x: str, y: str, label: str) -> Markup:
    """Draw persistence diagrams, (n, 2) birth and death each, in the layout of persim.

    Both axes have the same scale and range. Points on the diagonal have no lifetime, and points
    that never die are on a line near the top.
    """

    def paint(axes: Axes) -> None:
        from persim import plot_diagrams

        bars = [pairs for _, pairs in groups] or [np.empty((0, 2))]
        ends = np.concatenate(bars)
        finite = ends[np.isfinite(ends)]
        low, high = (finite.min(), finite.max()) if finite.size else (0, 0)
        plot_diagrams(
            bars,
            xy_range=None if high > low else [low - 1, low + 1] * 2,  # persim needs a range above 0
            colormap={},  # persim's own style would override the page's style
            legend=False,
            ax=axes,
        )
        for line in axes.lines:
            line.set(color=MUTED, linewidth=1, linestyle="-.")
        for dots, (mark, _) in zip(list(axes.collections), groups, strict=False):
            _dots(axes, np.asarray(dots.get_offsets()), mark)
            dots.remove()

    return draw(paint, label=label, x=x, y=y, width=0.5 * WIDTH, height=0.5 * WIDTH)


def barcode(groups: Sequence[tuple[Mark, Floats]], *, x: str, y: str, label: str) -> Markup:
    """Draw a barcode: intervals, (n, 2) each, as horizontal lines one above the other."""

    def paint(axes: Axes) -> None:
        below = 0
        for mark, bars in groups:
            height = np.arange(below, below + len(bars)) + 0.5
            below += len(bars)
            ends = np.stack([bars, np.stack([height, height], axis=1)], axis=2)  # (n, 2, 2)
            _segments(axes, ends, mark, linewidth=1.3, alpha=0.9)
        axes.autoscale_view()
        axes.set_ylim(0, max(below, 1))
        axes.set_yticks([])

    return draw(paint, label=label, x=x, y=y, width=0.5 * WIDTH, height=0.5 * WIDTH)


def curves(
    groups: Sequence[tuple[Mark, Floats]],
    *,
    x: str,
    y: str,
    label: str,
    lines: Sequence[tuple[Mark, Floats]] = (),
) -> Markup:
    """Draw curves of values, (n,) each, over the index of the value.

    Parameters
    ----------
    groups : sequence of (Mark, array)
        The curves.
    x, y, label : str
        Labels of the axes, and text alternative for screen readers.
    lines : sequence of (Mark, array)
        Vertical lines, (n, 3) each: index, and the values at both ends.
    """

    def paint(axes: Axes) -> None:
        for mark, marked in lines:
            ends = np.stack([marked[:, [0, 0]], marked[:, 1:]], axis=2)  # (n, 2, 2)
            _segments(axes, ends, mark, linewidth=1.6, alpha=0.8)
        for mark, values in groups:
            axes.plot(values, color=mark.colour, linewidth=1.2)

    return draw(paint, label=label, x=x, y=y, height=0.75 * HEIGHT)


def _dots(axes: Axes, points: Floats, mark: Mark) -> None:
    """Draw points, (n, 2), as lines of zero length with round ends."""
    ends = np.stack([points, points], axis=1)  # (n, 2, 2)
    _segments(axes, ends, mark, linewidth=3.2, alpha=0.6, capstyle="round")


def _segments(axes: Axes, ends: Floats, mark: Mark, *, linewidth: float, alpha: float,
              capstyle: Literal["butt", "round"] = "butt") -> None:  # fmt: skip
    """Draw line segments, (n, 2, 2) x and y of both ends, as one path to keep the page small."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    if len(ends):
        path = Path(ends.reshape(-1, 2), [Path.MOVETO, Path.LINETO] * len(ends))
        axes.add_patch(
            PathPatch(path, facecolor="none", edgecolor=mark.colour, linewidth=linewidth,
                      capstyle=capstyle, alpha=alpha)
        )  # fmt: skip
        axes.update_datalim(ends.reshape(-1, 2))


def along_depth(lines: Sequence[tuple[Mark, Floats]], *, label: str) -> Markup:
    """Draw a quantity of each layer in order from the input, (layers,) per line."""

    def paint(axes: Axes) -> None:
        from matplotlib.ticker import MaxNLocator

        for mark, values in lines:
            number = np.arange(1, len(values) + 1)
            axes.plot(number, values, mark.dashes, color=mark.colour, marker="o", markersize=3)
        if all((values > 0).all() for _, values in lines):
            _logarithmic(axes)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))

    return draw(paint, label=label, x="layer, counted from the input", height=0.8 * HEIGHT)
