"""Plugin framework for multimodal emotion recognition: train, compare and repair fused models.

This module holds the public names. Each is imported when it is first used, so that
``import fusion`` is fast.

>>> from fusion import Strategy, hookimpl
>>> result = fusion.run(strategy="gated", balance=["gradscale"])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cache import FeatureCache
    from .core.api import diagnose, explain, load, repair, resume, run
    from .core.contracts import (
        API_VERSION,
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
        Panel,
        ParameterGroup,
        Pass,
        Patient,
        Plugin,
        Prescription,
        Recording,
        Remedy,
        Space,
        Stage,
        Step,
        Strategy,
        Tracker,
        Uniform,
        hookimpl,
    )
    from .core.contracts.errors import (
        FusionError,
        MissingModalityError,
        ParameterError,
        RecordingError,
        UserError,
    )
    from .core.runs.result import RunResult

__all__ = [
    "API_VERSION",
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
    "MissingModalityError",
    "Modality",
    "Panel",
    "ParameterError",
    "ParameterGroup",
    "Pass",
    "Patient",
    "Plugin",
    "Prescription",
    "Recording",
    "RecordingError",
    "Remedy",
    "RunResult",
    "Space",
    "Stage",
    "Step",
    "Strategy",
    "Tracker",
    "Uniform",
    "UserError",
    "__version__",
    "diagnose",
    "explain",
    "hookimpl",
    "load",
    "repair",
    "resume",
    "run",
]

# Public name -> its module, for names that are not in core.contracts.
_MODULES = {
    "FeatureCache": ".cache",
    "FusionError": ".core.contracts.errors",
    "MissingModalityError": ".core.contracts.errors",
    "ParameterError": ".core.contracts.errors",
    "RecordingError": ".core.contracts.errors",
    "RunResult": ".core.runs.result",
    "UserError": ".core.contracts.errors",
    "diagnose": ".core.api",
    "explain": ".core.api",
    "load": ".core.api",
    "repair": ".core.api",
    "resume": ".core.api",
    "run": ".core.api",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("modal-fusion")
    else:
        module = _MODULES.get(name, ".core.contracts")
        value = getattr(importlib.import_module(module, __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
