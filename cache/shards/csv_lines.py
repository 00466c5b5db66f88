"""Lines of CSV files whose cells may hold any character."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

# csv quotes cells that contain a character of its line end, and a name may contain either one.
_CRLF = "\r\n"


class _Echo:
    """File-like object whose write returns the text of csv."""

    def write(self, text: str) -> str:
        return text


def csv_lines(rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Yield each row as a line of CSV that ends in a line feed."""
    writer = csv.writer(_Echo(), lineterminator=_CRLF)
    for row in rows:
        line: str = writer.writerow(row)  # the text that _Echo returns
        yield line.removesuffix(_CRLF) + "\n"
