"""Windows of long recordings."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.core.toolkit.windows import window_starts


@pytest.mark.parametrize(
    ("length", "starts"),
    [(0, []), (5.9, []), (6, [0, 2]), (8, [0, 4]), (8.1, [0, 2.05, 4.1]), (12, [0, 4, 8])],
)
def test_starts_by_hand(length, starts):
    assert window_starts(length, 4) == starts


def test_an_extractor_that_sees_everything_has_no_windows():
    assert window_starts(3600, None) == []


@given(st.floats(0, 4000), st.floats(0.5, 30))
def test_windows_cover_the_recording_without_a_gap(length, window):
    starts = window_starts(length, window)
    if length < 1.5 * window:
        assert starts == []
    else:
        assert starts[0] == 0 and starts[-1] + window == pytest.approx(length, abs=1e-5)
        gaps = [later - earlier for earlier, later in itertools.pairwise(starts)]
        assert all(0 < gap <= window + 1e-5 for gap in gaps)
