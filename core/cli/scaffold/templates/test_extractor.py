"""The conformance suite, and numbers computed by hand."""

from __future__ import annotations

import numpy as np
from fusion.testing import ExtractorSuite

from .extractor import MyPlugin, contours


class TestConformance(ExtractorSuite):
    """Shape, dtype, determinism, odd recordings and unreadable ones, and the fingerprint."""

    plugin = MyPlugin


def test_contours_by_hand() -> None:
    """Full scale that changes its sign each time, then a tenth of it that never does."""
    samples = np.array([1, -1, 1, -1, 0.1, 0.1, 0.1, 0.1], np.float32)
    level, crossings = contours(samples, 2)
    np.testing.assert_allclose(level, [0.0, -20.0], atol=1e-4)
    # The first sample has none before it; the fifth has another sign than the fourth.
    np.testing.assert_allclose(crossings, [0.75, 0.25])


def test_silence_and_clips_shorter_than_the_parts() -> None:
    found = contours(np.zeros(3, np.float32), 8)
    assert found.shape == (2, 8)
    assert (found[0] == -100.0).all()
    assert (found[1] == 0.0).all()
