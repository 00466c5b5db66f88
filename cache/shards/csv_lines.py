"""Lines of CSV files whose cells may hold any character."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

# The csv module quotes cells that contain a character of the line end. A file name may contain
# either character of this line end.
_CRLF = "\r\n"


class _Echo:
    """File-like object whose ``write`` returns the text that the csv module writes."""

    def write(self, text: str) -> str:
        return text


def csv_lines(rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Yield each row as a line of CSV that ends in a line feed."""
    writer = csv.writer(_Echo(), lineterminator=_CRLF)
    for row in rows:
        line: str = writer.writerow(row)  # the text that _Echo returns
        yield line.removesuffix(_CRLF) + "\n"
