"""Predictions as lines, JSON objects and rows of a CSV file."""

import csv
import io
import os
from pathlib import Path

import pytest

from fusion.core.display.predictions import (
    PredictionCsv,
    as_json,
    clock,
    harmless,
    header_line,
    table_lines,
)
from fusion.core.runs.prediction import Prediction, Window

SHORT = Prediction(Path("a.wav"), "low", {"low": 0.75, "=high": 0.25}, end=1.5)
LONG = Prediction(
    Path("long.wav"), "=high", {"low": 0.4, "=high": 0.6}, None, ("text",),
    (Window(0, 4, {"low": 0.7, "=high": 0.3}), Window(60, 64.06, {"low": 0.1, "=high": 0.9})),
    end=64.06,
)  # fmt: skip
FAILED = Prediction(Path("b.wav"), None, {}, "b.wav: no sound")
CLASSES = ("low", "=high")


def rows_of(*predictions, windows=False):
    stream = io.BytesIO()
    writer = PredictionCsv(stream, CLASSES, windows=windows)
    for prediction in predictions:
        writer.write(prediction)
    return stream.getvalue()


def test_a_recording_is_a_row():
    assert rows_of(SHORT, LONG, FAILED).decode().splitlines() == [
        "file,start,end,label,confidence,p_low,p_=high,error",
        "a.wav,0,1.5,low,0.750000,0.750000,0.250000,",
        "long.wav,0,64.06,'=high,0.600000,0.400000,0.600000,",
        "b.wav,0,,,,,,b.wav: no sound",
    ]


def test_a_window_is_a_row_on_request():
    assert rows_of(SHORT, LONG, FAILED, windows=True).decode().splitlines()[1:] == [
        "a.wav,0,1.5,low,0.750000,0.750000,0.250000,",
        "long.wav,0,4,low,0.700000,0.700000,0.300000,",
        "long.wav,60,64.06,'=high,0.900000,0.100000,0.900000,",
        "b.wav,0,,,,,,b.wav: no sound",
    ]


def test_times_of_hours_are_exact():
    shares = {"low": 1.0, "=high": 0.0}
    windows = (Window(12345.678901, 12349.75, shares), Window(1200000.0, 1200004.1, shares))
    rows = rows_of(Prediction(Path("a"), "low", shares, windows=windows), windows=True)
    assert [line.split(",")[1:3] for line in rows.decode().splitlines()[1:]] == [
        ["12345.678901", "12349.75"], ["1200000", "1200004.1"]]  # fmt: skip


@pytest.mark.parametrize("sign", list("=+-@\t\r"))
def test_texts_that_a_spreadsheet_would_execute_get_an_apostrophe(sign):
    name = f"{sign}HYPERLINK(1)"
    assert harmless(name) == f"'{name}" and harmless("a" + sign) == "a" + sign
    data = rows_of(Prediction(Path(name), "low", {"low": 1.0, "=high": 0.0}, end=1)).decode()
    (row,) = csv.DictReader(io.StringIO(data, newline=""))
    assert row["file"] == f"'{name}"
    (row,) = csv.DictReader(
        io.StringIO(rows_of(Prediction(Path("a"), None, {}, name)).decode(), newline="")
    )
    assert row["error"] == f"'{name}"


def test_bytes_of_names_that_are_not_utf8_are_kept():
    name = os.fsdecode(b"caf\xe9, 1.wav")
    data = rows_of(Prediction(Path(name), "low", {"low": 1.0, "=high": 0.0}))
    assert b'"caf\xe9, 1.wav",0,,low,' in data


def test_the_table_has_lines_for_windows_on_request():
    assert header_line(CLASSES, 20) == f"{'file':<20}  label            low     =high"
    assert list(table_lines(LONG, CLASSES, 20)) == [
        f"{'long.wav':<20}  =high          0.400     0.600"
    ]
    assert list(table_lines(LONG, CLASSES, 20, windows=True))[1:] == [
        "  0:00.0 to 0:04.0    low            0.700     0.300",
        "  1:00.0 to 1:04.1    =high          0.100     0.900",
    ]


def test_times_on_a_clock():
    times = [0, 59.94, 59.96, 64.06, 3599.96, 3661.2]
    assert list(map(clock, times)) == [
        "0:00.0", "0:59.9", "1:00.0", "1:04.1", "1:00:00.0", "1:01:01.2"]  # fmt: skip


def test_json_has_the_windows():
    plain = as_json(LONG)
    assert plain["windows"][1] == {
        "start": 60, "end": 64.06, "probabilities": {"low": 0.1, "=high": 0.9}}  # fmt: skip
    assert (plain["file"], plain["start"], plain["end"]) == ("long.wav", 0, 64.06)
    assert (plain["lacking"], plain["error"]) == (["text"], None)
    assert as_json(FAILED) == {"file": "b.wav", "start": 0, "end": None, "label": None,
                               "probabilities": {}, "lacking": [], "error": "b.wav: no sound",
                               "windows": []}  # fmt: skip
