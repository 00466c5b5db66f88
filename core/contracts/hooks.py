"""The hooks: every kind of plugin is registered through one of these.

A hook returns classes; a class says its own name. A plugin is one module with at
least one function marked ``@hookimpl``.

How the contract changes without breaking the plugins that are there:

- A hook gets an argument: it is added to the specification here, and its value to
  :data:`fusion.core.registry.registry.ARGUMENTS`. pluggy gives a plugin those that it names (and
  gives no default of its own), so that one without it goes on as it was.
- An argument of a hook goes: its specification says so for a while,
  ``@hookspec(warn_on_impl_args={"old": DeprecationWarning("...")})``.
- A method gets an argument: whoever calls it does so by
  :func:`fusion.core.registry.compat.call`, the new one by keyword:
  ``call(tracker.epoch, event, seconds=seconds)``. It must have a default in the base class.
- A method or attribute gets a new name: ``old = renamed("new", gone_in=2)`` stays in its place
  (:class:`fusion.core.contracts.renamed.renamed`); a hook: a specification of the old name
  marked :func:`renamed_hook`.
- Anything else that a plugin for the version before has to follow raises `API_VERSION`. A
  module that says a later one (``api_version = 2``) is not loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

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

Specification = TypeVar("Specification", bound=Callable[..., object])


def renamed_hook(new: str, *, gone_in: int) -> Callable[[Specification], Specification]:
    """Marks the specification of a hook that is called `new` now, and goes in a later version.

    A plugin that implements the old one is used, and its user is told.
    """

    def mark(specification: Specification) -> Specification:
        old = specification.__name__
        text = f"the hook {old} is now called {new}, and {old} goes in version {gone_in}"
        specification.__dict__[_RENAMED] = new
        warning = DeprecationWarning(f"{text} of the contract")
        return hookspec(warn_on_impl=warning)(specification)

    return mark


_RENAMED = "_fusion_renamed"


def new_name(hook: str) -> str:
    """What a hook is called now."""
    return str(getattr(globals().get(hook), _RENAMED, hook))


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
