"""Times in tables."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.cache.exchange.times import parse_seconds, seconds_text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3.795", 3.795), (" 4 ", 4.0), ("1e-1", 0.1), ("00:00:03.795", 3.795), ("1:02", 62.0),
        ("00:16:16,059", 976.059), ("0 days 00:00:03.795", 3.795), ("1 day, 0:00:01", 86401.0),
        ("3795ms", 3.795), ("1.5 s", 1.5), ("2 min", 120.0), ("P0DT0H0M3.795S", 3.795),
        ("", None), ("NaT", None), ("-1.5", -1.5),
    ],
)  # fmt: skip
def test_times_by_hand(text, seconds):
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["soon", "1,5", "nan", "inf", "1:2:3:4", "-1:00", "3.5 furlongs"])
def test_other_text_is_refused(text):
    with pytest.raises(ValueError):
        parse_seconds(text)


@given(st.timedeltas(datetime.timedelta(0), datetime.timedelta(days=3)))
def test_pandas_and_python_time_deltas(delta):
    clock = str(delta)  # "1 day, 0:00:01.500000"
    assert parse_seconds(clock) == pytest.approx(delta.total_seconds(), abs=1e-6)
    days, rest = divmod(delta, datetime.timedelta(days=1))
    assert parse_seconds(f"{days} days {rest}") == pytest.approx(delta.total_seconds(), abs=1e-6)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3.795, "3.795"), (4.0, "4"), (0.0, "0"), (100.0, "100"), (0.1 + 0.2, "0.3"), (1e-7, "0")],
)
def test_seconds_as_text(seconds, text):
    assert seconds_text(seconds) == text


@given(st.integers(0, 10**12))
def test_the_text_of_seconds_is_exact_to_a_microsecond(microseconds):
    assert parse_seconds(seconds_text(microseconds / 1e6)) == microseconds / 1e6
