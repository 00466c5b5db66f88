"""The conformance suite, and what is prescribed."""

from __future__ import annotations

from fusion import Patient
from fusion.testing import RemedySuite

from .remedy import MyPlugin


class TestConformance(RemedySuite):
    """What it prescribes for runs with and without its faults."""

    plugin = MyPlugin


def test_the_prescription() -> None:
    """The settings change, and everything else stays."""
    patient = Patient("theirs", (), {"voice": "their_branch"}, {})
    offer = MyPlugin().prescribe(patient)
    assert offer is not None
    assert offer.settings["train"]["weight_decay"] == 0.1
    assert offer.strategy is None
    assert offer.balancers is None
