"""The framework, without any method or modality of its own: rooms, each built on those before it.

::

    contracts                  what a plugin is and sees: base classes, hooks, settings, errors
    toolkit | registry         tools for plugins; how plugins are found, checked and called
    data                       recordings, splits, features, batches
    training                   one model trained once
    runs                       many trainings in a run directory, and what came of them
    analysis                   diagnosis, explanations, reports
    workflows | testing        what a command carries out; conformance suites and faults on purpose
    display                    what a person sees of a workflow
    api                        the Python API
    cli                        the command line

Authors of plugins import `contracts` and `toolkit`, or ``fusion`` itself, and nothing else.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

# Modules that plugins imported before there were rooms.
_FORMER = {
    "errors": "contracts.errors",
    **{name: f"toolkit.{name}" for name in (
        "audio", "device", "emotions", "ensemble", "filenames", "metrics", "optional", "patterns",
        "shapley", "tracking",
    )},
}  # fmt: skip


class _Former:
    """Finds a module under the name that it had in version 0.1.

    A finder and a loader as the import system asks for; their base classes in ``importlib.abc``
    would take a fifth of the time of ``fusion --help`` to import.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, name = fullname.rpartition(".")
        if package != __name__ or name not in _FORMER:
            return None
        return ModuleSpec(fullname, self)  # type: ignore[arg-type]  # a loader by what it does

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave it to the import system, which makes an empty module."""

    def exec_module(self, module: ModuleType) -> None:
        new = f"{__name__}.{_FORMER[module.__name__.rpartition('.')[2]]}"
        warnings.warn(f"{module.__name__} is now {new}.", DeprecationWarning, stacklevel=2)
        found = vars(importlib.import_module(new))
        vars(module).update({k: v for k, v in found.items() if not k.startswith("__")})


sys.meta_path.append(_Former())
