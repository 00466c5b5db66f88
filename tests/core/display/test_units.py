from __future__ import annotations

from datetime import timedelta

import pytest

from fusion.core.contracts.errors import ParameterError
from fusion.core.display.units import count, parse_duration, parse_size, shortened, size


@pytest.mark.parametrize(
    ("text", "hours"),
    [("0", 0), ("12h", 12), ("30d", 720), ("2w", 336), ("1.5 h", 1.5), ("90min", 1.5), ("0s", 0)],
)
def test_durations(text: str, hours: float) -> None:
    assert parse_duration(text, "--older-than") == timedelta(hours=hours)


@pytest.mark.parametrize(
    "text", ["", "30", "d", "-1d", "1m", "1 month", "1e3d", "inf", "9" * 30 + "w"]
)
def test_invalid_durations_are_refused(text: str) -> None:
    with pytest.raises(ParameterError, match="--older-than must be a time, and is") as caught:
        parse_duration(text, "--older-than")
    assert repr(text) in caught.value.message
    assert "--older-than 30d" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [("0", 0), ("500MB", 5 * 10**8), ("10GB", 10**10), ("10GiB", 10 * 2**30), ("1.5 kb", 1500),
     ("7B", 7), ("2TiB", 2**41)],
)  # fmt: skip
def test_sizes(text: str, bytes_: int) -> None:
    assert parse_size(text, "--max-size") == bytes_


@pytest.mark.parametrize("text", ["", "10", "GB", "-1GB", "1iB", "10 giga", "1,5GB", "1e3MB"])
def test_invalid_sizes_are_refused(text: str) -> None:
    with pytest.raises(ParameterError, match="with a unit") as caught:
        parse_size(text, "--max-size")
    assert repr(text) in caught.value.message
    assert "--max-size 10GB" in str(caught.value)


def test_sizes_and_counts_are_formatted() -> None:
    assert [size(n) for n in (0, 999, 1000, 104_857_600, 2.5e12)] == [
        "0 B", "999 B", "1.0 kB", "104.9 MB", "2.5 TB",
    ]  # fmt: skip
    assert (count(1, "item"), count(0, "item"), count(2, "index", "indices")) == (
        "1 item", "0 items", "2 indices",
    )  # fmt: skip


def test_long_texts_are_cut() -> None:
    assert shortened("k" * 40) == "k" * 40
    assert shortened("k" * 500) == "k" * 40 + "... (460 more)"
