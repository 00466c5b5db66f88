"""Conformance suites and deliberate faults for the authors of plugins.

>>> from fusion.testing import StrategySuite
>>> class TestSum(StrategySuite):
...     plugin = Sum

Put such a class into a test file. Each check becomes a separate pytest test, whose message gives
the failure, the expected behaviour and a usual cause. ``fusion plugins check`` runs the same
checks without pytest. `faults` makes plugins that are broken on purpose. The suites are loaded at
their first use: importing this module imports neither torch nor pytest.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from .core.testing import faults
from .core.testing.suite_index import SUITES

if TYPE_CHECKING:
    from .core.testing.known_answer import KnownAnswer
    from .core.testing.suites.balancers import BalancerSuite
    from .core.testing.suites.branches import BranchSuite
    from .core.testing.suites.corpora import CorpusSuite
    from .core.testing.suites.extractors import ExtractorSuite
    from .core.testing.suites.remedies import RemedySuite
    from .core.testing.suites.strategies import StrategySuite
    from .core.testing.suites.trackers import TrackerSuite

__all__ = [
    "BalancerSuite",
    "BranchSuite",
    "CorpusSuite",
    "ExtractorSuite",
    "KnownAnswer",
    "RemedySuite",
    "StrategySuite",
    "TrackerSuite",
    "faults",
]

_HOME = {suite: f"suites.{module}" for module, suite in SUITES.values()} | {
    "KnownAnswer": "known_answer"
}

# This module is no package, but `import fusion.testing.faults` has to work.
sys.modules[f"{__name__}.faults"] = faults


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f".core.testing.{_HOME[name]}", __package__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
