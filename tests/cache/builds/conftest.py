"""Fixtures: builds in this process, and in two worker processes shared by all tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace

import pytest

from fusion.cache import Workers, open_workers


@pytest.fixture(scope="session")
def two_workers() -> Iterator[Workers]:
    """Two processes that are started once; a test that kills workers opens its own."""
    with open_workers(jobs=2) as two, two.open() as pool:
        yield replace(two, open=lambda: nullcontext(pool))


@pytest.fixture(params=[1, 2])
def on(request: pytest.FixtureRequest) -> Iterator[Workers]:
    """Workers: this process, or two other processes."""
    if request.param == 2:
        yield request.getfixturevalue("two_workers")
    else:
        with open_workers(jobs=1) as one:
            yield one
