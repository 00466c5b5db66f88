"""Index of the conformance suites by kind of plugin; suites are imported at their first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .checks.declarations import PluginSuite

# Module in the subpackage `suites`, and name of the suite class, by kind of plugin.
SUITES = {
    "balancer": ("balancers", "BalancerSuite"),
    "branch": ("branches", "BranchSuite"),
    "corpus": ("corpora", "CorpusSuite"),
    "extractor": ("extractors", "ExtractorSuite"),
    "remedy": ("remedies", "RemedySuite"),
    "strategy": ("strategies", "StrategySuite"),
    "tracker": ("trackers", "TrackerSuite"),
}


def suite_class(kind: str) -> type[PluginSuite]:
    """Return the suite class for plugins of a kind."""
    module, name = SUITES[kind]
    suite: type[PluginSuite] = getattr(
        importlib.import_module(f".suites.{module}", __package__), name
    )
    return suite
