"""CSV lines that contain any text and can be read back unchanged."""

from __future__ import annotations

import csv
import io

from hypothesis import example, given
from hypothesis import strategies as st

from fusion.cache.shards.csv_lines import csv_lines

CELLS = st.lists(st.text(st.characters(exclude_characters="\0")), min_size=2, max_size=4)


def test_a_line_by_hand() -> None:
    assert list(csv_lines([["a,b", 'say "x"', "a\rb"], [1, None, 0.5]])) == [
        '"a,b","say ""x""","a\rb"\n',
        "1,,0.5\n",
    ]


@given(st.lists(CELLS, max_size=4))
@example([["\r\n", "x"], ["x", "\r\n"]])
def test_written_lines_can_be_read_back(rows: list[list[str]]) -> None:
    text = "".join(csv_lines(rows))
    assert list(csv.reader(io.StringIO(text, newline=""))) == rows
