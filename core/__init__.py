"""Core of the framework: layers of packages; all methods and modalities are plugins.

Each layer imports only the layers above it in this list::

    contracts                  base classes, hooks, settings and errors that plugins use
    toolkit | registry         tools for plugins; discovery, checks and calls of plugins
    data                       recordings, splits, features, batches
    training                   training of a single model
    runs                       run directories: many trainings and their results
    analysis                   diagnosis, explanations, reports
    workflows | testing        the work of each command; conformance suites and injected faults
    display                    terminal output of the workflows
    api                        the Python API
    cli                        the command line

Authors of plugins import only `contracts` and `toolkit`, or ``fusion`` itself.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

# Name in version 0.1 -> current name, for modules that plugins may still import.
_FORMER = {
    "errors": "contracts.errors",
    **{name: f"toolkit.{name}" for name in (
        "audio", "device", "emotions", "ensemble", "filenames", "metrics", "optional", "patterns",
        "shapley", "tracking",
    )},
}  # fmt: skip


class _Former:
    """Import finder and loader for modules under the names that they had in version 0.1.

    The class implements both protocols without the base classes in ``importlib.abc``: importing
    those would take a fifth of the time of ``fusion --help``.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the specification of a renamed module, or None for any other module."""
        package, _, name = fullname.rpartition(".")
        if package != __name__ or name not in _FORMER:
            return None
        return ModuleSpec(fullname, self)  # type: ignore[arg-type]  # has the methods of a loader

    def create_module(self, spec: ModuleSpec) -> None:
        """Return None: the import system then creates an empty module."""

    def exec_module(self, module: ModuleType) -> None:
        """Copy the names of the renamed module into `module`, with a DeprecationWarning."""
        new = f"{__name__}.{_FORMER[module.__name__.rpartition('.')[2]]}"
        warnings.warn(f"{module.__name__} is now {new}.", DeprecationWarning, stacklevel=2)
        names = vars(importlib.import_module(new))
        vars(module).update({k: v for k, v in names.items() if not k.startswith("__")})


sys.meta_path.append(_Former())
