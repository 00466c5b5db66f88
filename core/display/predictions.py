"""Predictions for recordings as lines of the terminal, JSON objects and rows of a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from ...cache.exchange.times import seconds_text
from ..runs.prediction import Prediction, Window, most_probable
from .plain_text import printable

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # first characters that spreadsheets may execute


def header_line(classes: Sequence[str], width: int) -> str:
    """Return the header of the table; `width` is the number of characters for names of files."""
    names = "  ".join(f"{printable(name):>8}" for name in classes)
    return f"{'file':<{width}}  {'label':<10}  {names}"


def table_lines(
    prediction: Prediction, classes: Sequence[str], width: int, *, windows: bool = False
) -> Iterator[str]:
    """Yield the line of a labelled recording, then the lines of its windows if requested."""
    yield _line(printable(str(prediction.path)), prediction.probabilities, classes, width)
    for window in prediction.windows if windows else ():
        span = f"  {clock(window.start)} to {clock(window.end)}"
        yield _line(span, window.probabilities, classes, width)


def _line(name: str, shares: Mapping[str, float], classes: Sequence[str], width: int) -> str:
    numbers = "  ".join(f"{shares[c]:8.3f}" for c in classes)
    return f"{name:<{width}}  {printable(most_probable(shares)):<10}  {numbers}"


def clock(seconds: float) -> str:
    """Return a time as minutes and seconds, ``1:04.5``, or with hours, ``1:01:04.5``."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest // 10:02d}.{rest % 10}"
    return f"{hours}:{minutes:02d}:{text}" if hours else f"{minutes}:{text}"


def as_json(prediction: Prediction) -> dict[str, Any]:
    """Return a prediction as plain values."""
    return {
        "file": str(prediction.path),
        "start": prediction.start,
        "end": prediction.end,
        "label": prediction.label,
        "probabilities": _rounded(prediction.probabilities),
        "lacking": list(prediction.lacking),
        "error": prediction.error,
        "windows": [
            {"start": w.start, "end": w.end, "probabilities": _rounded(w.probabilities)}
            for w in prediction.windows
        ],
    }


def _rounded(shares: Mapping[str, float]) -> dict[str, float]:
    return {c: round(p, 6) for c, p in shares.items()}


class PredictionCsv:
    """CSV file of predictions: a row per recording, or a row per window.

    The columns are ``file``, ``start``, ``end`` (seconds), ``label``, ``confidence`` (probability
    of the label), ``p_CLASS`` for each class, and ``error``. The file is encoded in UTF-8. Bytes of
    a file name that are not UTF-8 are written unchanged. A text that starts like a formula of a
    spreadsheet gets an apostrophe in front.

    Parameters
    ----------
    stream : binary stream
        Where the rows are written.
    classes : sequence of str
        Classes, in the order of the columns.
    windows : bool
        Whether a recording with windows gets a row per window instead of one row.
    """

    def __init__(self, stream: BinaryIO, classes: Sequence[str], *, windows: bool = False) -> None:
        self._stream = stream
        self._classes = classes
        self._windows = windows
        names = [harmless(f"p_{name}") for name in classes]
        self._row("file", "start", "end", "label", "confidence", *names, "error")

    def write(self, prediction: Prediction) -> None:
        """Write the row, or the rows, of one recording."""
        whole = Window(prediction.start, prediction.end or 0.0, prediction.probabilities)
        parts = prediction.windows if self._windows else ()
        name, error = harmless(str(prediction.path)), harmless(prediction.error or "")
        for part in parts or (whole,):
            shares = part.probabilities
            label = most_probable(shares) if shares else ""
            numbers = [f"{shares[c]:.6f}" if shares else "" for c in self._classes]
            confidence = f"{shares[label]:.6f}" if shares else ""
            unknown = part is whole and prediction.end is None
            end = "" if unknown else seconds_text(part.end)
            start = seconds_text(part.start)
            self._row(name, start, end, harmless(label), confidence, *numbers, error)

    def _row(self, *cells: str) -> None:
        line = io.StringIO()
        csv.writer(line).writerow(cells)
        self._stream.write(line.getvalue().encode("utf-8", "surrogateescape"))


def harmless(text: str) -> str:
    """Return `text` with an apostrophe in front if a spreadsheet could execute the text."""
    return f"'{text}" if text.startswith(_FORMULA) else text
