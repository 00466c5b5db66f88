"""Parametrisation of a test's ``kills``: kills at every step, and at random moments."""

from __future__ import annotations

import pytest
from kill_points import kills, kills_at_random

both_ways = pytest.mark.parametrize(
    "kills", [kills, pytest.param(kills_at_random, marks=pytest.mark.slow)]
)
