"""Lines of CSV files whose cells may hold any character."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

_CRLF = "\r\n"  # to csv: it quotes the characters of its line end, and a name may have either


class _Echo:
    """A file-like that hands back what csv writes."""

    def write(self, text: str) -> str:
        return text


def csv_lines(rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Yield each row as a line of CSV that ends in a line feed."""
    writer = csv.writer(_Echo(), lineterminator=_CRLF)
    for row in rows:
        line: str = writer.writerow(row)  # what _Echo hands back
        yield line.removesuffix(_CRLF) + "\n"
