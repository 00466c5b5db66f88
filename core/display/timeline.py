"""Picture of class probabilities over the time of long recordings."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..contracts.errors import ParameterError, StorageError
from ..runs.prediction import Prediction
from .plain_text import printable
from .predictions import clock

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

FORMATS = (".svg", ".png")
PANELS = 24  # recordings in one picture
_WIDTH, _HEIGHT, _LEGEND = 9.0, 2.1, 0.5  # inches: of the picture, of a panel, of the legend
_LINES_UP_TO = 60  # windows of a recording that is drawn as lines; more are drawn as an image
_STEPS = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)  # seconds between ticks
_TICKS = 9  # largest number of intervals between ticks
# Colours that readers with colour blindness can distinguish (Wong, Nature Methods 2011), dark
# enough for thin lines on white. Further classes repeat the colours with another kind of line.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b0508f", "#a07800", "#3a9bd0", "#444444")
_LINES = ("-", "--", ":")
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fusion",
    "font.size": 10.0,
    "font.family": "DejaVu Sans",
    "text.parse_math": False,  # a file name may contain dollar signs
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "axes.edgecolor": "#888888",
}


def check_timeline(file: Path) -> None:
    """Raise ParameterError unless the suffix of `file` is that of a picture."""
    if file.suffix.lower() not in FORMATS:
        raise ParameterError(
            f"--timeline {file}: the suffix {file.suffix!r} is not that of a picture. Accepted: "
            f"{', '.join(FORMATS)}."
        )


def draw_timeline(predictions: Sequence[Prediction], classes: Sequence[str], file: Path) -> None:
    """Draw the probabilities of recordings with windows, one panel per recording, into a file.

    Parameters
    ----------
    predictions : sequence of Prediction
        At least one recording with windows, at most `PANELS`.
    classes : sequence of str
        Classes, in the order of the legend.
    file : Path
        A ``.svg`` or ``.png`` file.

    Raises
    ------
    StorageError
        If the file can't be written.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # A font may lack the characters of a file's name; the picture then has boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        height = _LEGEND + _HEIGHT * len(predictions)
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(len(predictions), 1, squeeze=False)[:, 0]
        lines: list[Axes] = []
        for axes, prediction in zip(panels, predictions, strict=True):
            if len(prediction.windows) <= _LINES_UP_TO:
                _draw_lines(axes, prediction, classes)
                lines.append(axes)
            else:
                image = _draw_image(axes, prediction, classes)
                figure.colorbar(image, ax=axes, label="probability", ticks=[0, 0.5, 1], pad=0.01)
            _label(axes, prediction)
        panels[-1].set_xlabel("time in the recording (minutes:seconds)")
        if lines:
            handles, names = lines[0].get_legend_handles_labels()
            figure.legend(handles, names, loc="outside upper center",
                          ncols=min(len(classes), 7), frameon=False)  # fmt: skip
        picture = io.BytesIO()
        metadata = {"Date": None} if file.suffix.lower() == ".svg" else None
        figure.savefig(picture, format=file.suffix.lower()[1:], dpi=150, metadata=metadata)
    try:
        file.write_bytes(picture.getvalue())
    except OSError as error:
        raise StorageError(f"{file} can't be written: {error.strerror or error}.") from error


def _draw_lines(axes: Axes, prediction: Prediction, classes: Sequence[str]) -> None:
    """Draw a line per class, with a mark at the centre of each window."""
    centres = [(window.start + window.end) / 2 for window in prediction.windows]
    for number, name in enumerate(classes):
        repeat, colour = divmod(number, len(_COLOURS))
        shares = [window.probabilities[name] for window in prediction.windows]
        axes.plot(centres, shares, label=printable(name), color=_COLOURS[colour], marker="o",
                  linestyle=_LINES[repeat % len(_LINES)], markersize=3.5,
                  linewidth=1.5)  # fmt: skip
    axes.set_xlim(prediction.windows[0].start, prediction.windows[-1].end)
    axes.set_ylim(-0.02, 1.02)
    axes.set_yticks([0, 0.5, 1])
    axes.set_ylabel("probability")


def _draw_image(axes: Axes, prediction: Prediction, classes: Sequence[str]) -> AxesImage:
    """Draw an image with a row per class and a column per window; windows are evenly spaced."""
    shares = [[window.probabilities[name] for window in prediction.windows] for name in classes]
    start, end = prediction.windows[0].start, prediction.windows[-1].end
    image = axes.imshow(
        shares, vmin=0, vmax=1, cmap="Blues", aspect="auto", interpolation="nearest",
        extent=(start, end, len(classes) - 0.5, -0.5),
    )  # fmt: skip
    axes.grid(visible=False)
    axes.set_yticks(range(len(classes)), [printable(name) for name in classes])
    axes.tick_params(axis="y", length=0)
    return image


def _label(axes: Axes, prediction: Prediction) -> None:
    """Label a panel with the file, the label and its probability, and the times."""
    from matplotlib.ticker import FuncFormatter, MultipleLocator

    start, end = axes.get_xlim()
    axes.xaxis.set_major_locator(MultipleLocator(_step(end - start)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: clock(x).removesuffix(".0")))
    name = printable(prediction.path.name)
    name = name if len(name) <= 60 else f"{name[:28]}...{name[-29:]}"
    label = printable(str(prediction.label))
    axes.set_title(f"{name}: {label} ({prediction.confidence or 0:.2f})", loc="left", fontsize=10)


def _step(seconds: float) -> float:
    """Return the distance of ticks for a time axis of a length in seconds."""
    fitting = (step for step in _STEPS if seconds <= _TICKS * step)
    return next(fitting, seconds / _TICKS)
