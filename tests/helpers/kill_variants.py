"""Both ways to kill, as the parameter ``kills`` of a test: at every step, at random moments."""

from __future__ import annotations

import pytest
from kill_points import kills, kills_at_random

both_ways = pytest.mark.parametrize(
    "kills", [kills, pytest.param(kills_at_random, marks=pytest.mark.slow)]
)
