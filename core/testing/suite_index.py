"""The conformance suite of each kind of plugin, loaded when it is asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .checks.declarations import PluginSuite

# Kind -> module of this package, and the suite in it.
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
    """The suite for plugins of `kind`."""
    module, name = SUITES[kind]
    found: type[PluginSuite] = getattr(
        importlib.import_module(f".suites.{module}", __package__), name
    )
    return found
