"""The hooks: every kind of plugin is registered through one of these.

A hook returns classes; a class says its own name. A plugin is one module with at
least one function marked ``@hookimpl``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from .data import Corpus, Extractor
    from .networks import Branch, Strategy
    from .remedy import Remedy
    from .tracking import Tracker
    from .training import Balancer

PROJECT = "fusion"

# Version of the contracts: raised when a plugin written for the one before needs a change.
API_VERSION = 1
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def fusion_corpora() -> Sequence[type[Corpus]]:  # type: ignore[empty-body]
    """Return corpus classes: readers of a folder or file of labelled recordings."""


@hookspec
def fusion_extractors() -> Sequence[type[Extractor]]:  # type: ignore[empty-body]
    """Return extractor classes: recording -> one array. Each makes a modality of its name."""


@hookspec
def fusion_branches() -> Sequence[type[Branch]]:  # type: ignore[empty-body]
    """Return branch classes: the network that turns one modality into an embedding."""


@hookspec
def fusion_strategies() -> Sequence[type[Strategy]]:  # type: ignore[empty-body]
    """Return strategy classes: the network that joins the modalities into class scores."""


@hookspec
def fusion_balancers() -> Sequence[type[Balancer]]:  # type: ignore[empty-body]
    """Return balancer classes: what changes how the branches are trained together."""


@hookspec
def fusion_trackers() -> Sequence[type[Tracker]]:  # type: ignore[empty-body]
    """Return tracker classes: where the events of a run are written."""


@hookspec
def fusion_remedies() -> Sequence[type[Remedy]]:  # type: ignore[empty-body]
    """Return remedy classes: changes of a configuration that mend certain faults."""
