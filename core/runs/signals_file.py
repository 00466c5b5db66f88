"""File signals.csv of a run directory: measurements of the recordings."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..contracts.errors import RunError
from ..data.dataset import RunData
from ..toolkit.run_files import open_table
from ..toolkit.signal import Signal

SIGNALS = "signals.csv"
_FIELDS = tuple(field.name for field in fields(Signal))


def signal_rows(data: RunData, signals: Mapping[str, Signal]) -> Iterator[Sequence[Any]]:
    """Yield the header of signals.csv, then one row per clip whose recording was measured."""
    yield ["name", "corpus", "key", *_FIELDS]
    for clip, key in zip(data.clips, data.keys, strict=True):
        if key in signals:
            values = (getattr(signals[key], name) for name in _FIELDS)
            yield [clip.name, clip.corpus, key, *(f"{value:.6g}" for value in values)]


def read_signals(path: Path) -> dict[str, Signal]:
    """Return the measurements by key; an empty dict if the file does not exist.

    Raises
    ------
    RunError
        If the file is damaged.
    """
    if not path.is_file():
        return {}
    try:
        with open_table(path) as file:
            return {
                row["key"]: Signal(*(float(row[name]) for name in _FIELDS))
                for row in csv.DictReader(file)
            }
    except (OSError, KeyError, ValueError, TypeError, csv.Error) as error:
        raise RunError(
            f"{path} can't be read: {error!r}",
            hint="Without the file, the rules on silent and clipped recordings are skipped: "
            "delete it.",
        ) from error
