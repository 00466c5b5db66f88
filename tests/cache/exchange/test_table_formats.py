"""Formats of tables: values as the text of cells. Whole files: test_tables.py."""

import datetime
import math

import pytest

from fusion.cache.exchange.table_formats import FORMATS, RawTable, cell_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""), (math.nan, ""), (" a ", "a"), (1, "1"), (1.0, "1"), (1.5, "1.5"),
        (True, "true"), (datetime.timedelta(seconds=3.795), "3.795"), ([1, "ä"], '[1, "ä"]'),
        (2.0**60, "1.152921504606847e+18"), (datetime.date(2026, 1, 2), "2026-01-02"),
    ],
)  # fmt: skip
def test_values_as_text(value, text):
    assert cell_text(value) == text


def test_an_empty_file_has_no_columns(tmp_path):
    for suffix in (".csv", ".tsv", ".jsonl"):
        file = tmp_path / f"t{suffix}"
        file.touch()
        raw = FORMATS[suffix](file)
        assert isinstance(raw, RawTable) and list(raw.header) == [] and list(raw.rows) == []
