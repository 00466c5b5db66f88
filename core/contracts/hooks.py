"""Hook specifications: every kind of plugin is registered through one of these hooks.

A hook returns classes, and a class has its own name. A plugin is one module with at
least one function marked ``@hookimpl``.

Ways to change the contract without breaking existing plugins:

- Add an argument to a hook: add it to the specification here, and its value to
  :data:`fusion.core.registry.registry.ARGUMENTS`. pluggy passes only the arguments that the
  plugin names without a default, so a plugin without the new argument keeps working.
- Remove an argument of a hook: first deprecate it in the specification,
  ``@hookspec(warn_on_impl_args={"old": DeprecationWarning("...")})``.
- Add an argument to a method: give it a default in the base class, and call the method with
  :func:`fusion.core.registry.compat.call`, which gets the new argument by keyword:
  ``call(tracker.epoch, event, seconds=seconds)``.
- Rename a method or attribute: keep ``old = renamed("new", gone_in=2)`` in the class
  (:class:`fusion.core.contracts.renamed.renamed`). Rename a hook: keep a specification of the old
  name, marked :func:`renamed_hook`.
- Any other change that requires a change of existing plugins raises `API_VERSION`. A module
  that declares a later version (``api_version = 2``) is not loaded.
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

# Version of the contracts: raised when plugins written for the previous version need a change.
API_VERSION = 1
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

Specification = TypeVar("Specification", bound=Callable[..., object])


def renamed_hook(new: str, *, gone_in: int) -> Callable[[Specification], Specification]:
    """Return a decorator for the specification of a hook that has been renamed to `new`.

    Plugins that implement the old hook still work until version `gone_in` of the contract, with
    a DeprecationWarning.
    """

    def mark(specification: Specification) -> Specification:
        old = specification.__name__
        text = f"the hook {old} is now called {new}; {old} will be removed in version {gone_in}"
        specification.__dict__[_RENAMED] = new
        warning = DeprecationWarning(f"{text} of the contract")
        return hookspec(warn_on_impl=warning)(specification)

    return mark


_RENAMED = "_fusion_renamed"


def new_name(hook: str) -> str:
    """Return the new name of a renamed hook, or the name itself of any other hook."""
    return str(getattr(globals().get(hook), _RENAMED, hook))


@hookspec
def fusion_corpora() -> Sequence[type[Corpus]]:  # type: ignore[empty-body]
    """Return corpus classes: readers of a folder or file of labelled recordings."""


@hookspec
def fusion_extractors() -> Sequence[type[Extractor]]:  # type: ignore[empty-body]
    """Return extractor classes, each of which computes one modality: one array per recording."""


@hookspec
def fusion_branches() -> Sequence[type[Branch]]:  # type: ignore[empty-body]
    """Return branch classes: networks that turn one modality into an embedding."""


@hookspec
def fusion_strategies() -> Sequence[type[Strategy]]:  # type: ignore[empty-body]
    """Return strategy classes: networks that fuse the modalities into class scores."""


@hookspec
def fusion_balancers() -> Sequence[type[Balancer]]:  # type: ignore[empty-body]
    """Return balancer classes: changes to the joint training of the branches."""


@hookspec
def fusion_trackers() -> Sequence[type[Tracker]]:  # type: ignore[empty-body]
    """Return tracker classes: destinations for the events of a run."""


@hookspec
def fusion_remedies() -> Sequence[type[Remedy]]:  # type: ignore[empty-body]
    """Return remedy classes: changes of a configuration that repair certain faults."""
