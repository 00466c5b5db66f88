"""The ground floor of core: hook specifications, base classes, small data types.

Import the names from here or from ``fusion``. Loading is lazy, because half of the
contracts need torch and half of the program does not.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..ensemble import ensemble_weights
    from .data import Clip, Corpus, Extractor, Modality, Panel, Plugin, Recording
    from .gradients import Gradients, ParameterGroup, inner, norm_of
    from .hooks import API_VERSION, hookimpl, hookspec
    from .networks import Branch, Strategy, equal_dims
    from .remedy import Fault, Patient, Prescription, Remedy
    from .space import Choice, Integer, LogInteger, LogUniform, Space, Uniform
    from .step import Clips, Pass, Stage, Step, right_probability
    from .tracking import Tracker
    from .training import Balancer, Baseline, Context, Outputs

_HOME = {
    "API_VERSION": "hooks",
    "Balancer": "training",
    "Baseline": "training",
    "Branch": "networks",
    "Choice": "space",
    "Clip": "data",
    "Clips": "step",
    "Context": "training",
    "Corpus": "data",
    "Extractor": "data",
    "Fault": "remedy",
    "Gradients": "gradients",
    "Integer": "space",
    "LogInteger": "space",
    "LogUniform": "space",
    "Modality": "data",
    "Outputs": "training",
    "Panel": "data",
    "ParameterGroup": "gradients",
    "Pass": "step",
    "Patient": "remedy",
    "Plugin": "data",
    "Prescription": "remedy",
    "Recording": "data",
    "Remedy": "remedy",
    "Space": "space",
    "Stage": "step",
    "Step": "step",
    "Strategy": "networks",
    "Tracker": "tracking",
    "Uniform": "space",
    "ensemble_weights": ".ensemble",  # of core: loaded when used, as all here
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
    "Context",
    "Corpus",
    "Extractor",
    "Fault",
    "Gradients",
    "Integer",
    "LogInteger",
    "LogUniform",
    "Modality",
    "Outputs",
    "Panel",
    "ParameterGroup",
    "Pass",
    "Patient",
    "Plugin",
    "Prescription",
    "Recording",
    "Remedy",
    "Space",
    "Stage",
    "Step",
    "Strategy",
    "Tracker",
    "Uniform",
    "ensemble_weights",
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
