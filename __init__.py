"""fusion makes multimodal fusion work, and proves it.

The public names, loaded when first used: ``import fusion`` imports nothing heavy.

>>> from fusion import Strategy, hookimpl
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cache import FeatureCache
    from .core.contracts import (
        Balancer,
        Baseline,
        Branch,
        Choice,
        Clip,
        Clips,
        Context,
        Corpus,
        Extractor,
        Gradients,
        Integer,
        LogInteger,
        LogUniform,
        Modality,
        ParameterGroup,
        Pass,
        Plugin,
        Recording,
        Space,
        Stage,
        Step,
        Strategy,
        Tracker,
        Uniform,
        hookimpl,
    )
    from .core.errors import FusionError, UserError

__all__ = [
    "Balancer",
    "Baseline",
    "Branch",
    "Choice",
    "Clip",
    "Clips",
    "Context",
    "Corpus",
    "Extractor",
    "FeatureCache",
    "FusionError",
    "Gradients",
    "Integer",
    "LogInteger",
    "LogUniform",
    "Modality",
    "ParameterGroup",
    "Pass",
    "Plugin",
    "Recording",
    "Space",
    "Stage",
    "Step",
    "Strategy",
    "Tracker",
    "Uniform",
    "UserError",
    "__version__",
    "hookimpl",
]

_ELSEWHERE = {
    "FeatureCache": ".cache",
    "FusionError": ".core.errors",
    "UserError": ".core.errors",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("modal-fusion")
    else:
        home = _ELSEWHERE.get(name, ".core.contracts")
        value = getattr(importlib.import_module(home, __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
