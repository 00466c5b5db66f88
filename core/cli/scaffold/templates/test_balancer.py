"""The conformance suite, and numbers computed by hand."""

from __future__ import annotations

from fusion.testing import BalancerSuite

from .balancer import MyPlugin, factors


class TestConformance(BalancerSuite):
    """Small trainings of one, two and three modalities; killed ones, mixed precision and more."""

    plugin = MyPlugin
    single_unchanged = True
    equal_unchanged = True


def test_factors_by_hand() -> None:
    """One is right with 0.8 and one with 0.2: a quarter of the pace, at strength 0.5 a half."""
    means = {"voice": 0.8, "face": 0.2}
    assert factors(means, 1.0) == {"voice": 0.25, "face": 1.0}
    assert factors(means, 0.5) == {"voice": 0.5, "face": 1.0}
    assert factors(means, 0.0) == {"voice": 1.0, "face": 1.0}


def test_no_clip_had_the_modality() -> None:
    assert factors({"voice": 0.5, "face": 0.0}, 1.0) == {"voice": 1.0}
