"""Public contracts of plugins: hook specifications, base classes and small data types.

Import the names from here or from ``fusion``. Each name is loaded on first use: half of the
contracts import torch, which half of the program does not need.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .data import Clip, ColumnChoice, Corpus, Extractor, Modality, Plugin, Recording
    from .gradients import Gradients, ParameterGroup, inner, norm_of
    from .hooks import API_VERSION, hookimpl, hookspec
    from .model import Baseline, Encoded, Model, Outputs, Presence
    from .networks import Branch, Strategy, equal_dims
    from .panels import Panel
    from .remedy import Fault, Patient, Prescription, Remedy
    from .space import Choice, Integer, LogInteger, LogUniform, Space, Uniform
    from .step import Clips, Context, Pass, Stage, Step, right_probability
    from .tracking import Tracker
    from .training import Balancer

_HOME = {
    "API_VERSION": "hooks",
    "Balancer": "training",
    "Baseline": "model",
    "Branch": "networks",
    "Choice": "space",
    "Clip": "data",
    "Clips": "step",
    "ColumnChoice": "data",
    "Context": "step",
    "Corpus": "data",
    "Encoded": "model",
    "Extractor": "data",
    "Fault": "remedy",
    "Gradients": "gradients",
    "Integer": "space",
    "LogInteger": "space",
    "LogUniform": "space",
    "Modality": "data",
    "Model": "model",
    "Outputs": "model",
    "Panel": "panels",
    "ParameterGroup": "gradients",
    "Pass": "step",
    "Patient": "remedy",
    "Plugin": "data",
    "Prescription": "remedy",
    "Presence": "model",
    "Recording": "data",
    "Remedy": "remedy",
    "Space": "space",
    "Stage": "step",
    "Step": "step",
    "Strategy": "networks",
    "Tracker": "tracking",
    "Uniform": "space",
    "equal_dims": "networks",
    "hookimpl": "hooks",
    "hookspec": "hooks",
    "inner": "gradients",
    "norm_of": "gradients",
    "right_probability": "step",
}

__all__ = [
    "API_VERSION",
    "Balancer",
    "Baseline",
    "Branch",
    "Choice",
    "Clip",
    "Clips",
    "ColumnChoice",
    "Context",
    "Corpus",
    "Encoded",
    "Extractor",
    "Fault",
    "Gradients",
    "Integer",
    "LogInteger",
    "LogUniform",
    "Modality",
    "Model",
    "Outputs",
    "Panel",
    "ParameterGroup",
    "Pass",
    "Patient",
    "Plugin",
    "Prescription",
    "Presence",
    "Recording",
    "Remedy",
    "Space",
    "Stage",
    "Step",
    "Strategy",
    "Tracker",
    "Uniform",
    "equal_dims",
    "hookimpl",
    "hookspec",
    "inner",
    "norm_of",
    "right_probability",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value
