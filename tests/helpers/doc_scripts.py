"""Access to the modules that generate pages of the documentation."""

from __future__ import annotations

import importlib.util
from types import ModuleType

from places import ROOT


def doc_script(name: str) -> ModuleType:
    """Return the module docs/generate/NAME.py."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs/generate" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
