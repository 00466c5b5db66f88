"""Differences between an installed extractor and the extractor that computed a run's features."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..contracts import Extractor
from ..contracts.errors import RunError
from ..data.extraction import fingerprint_of
from .record import FeatureRecord

_LONG = 60  # characters of a value in a message


@dataclass(frozen=True, slots=True)
class Change:
    """Field of a fingerprint whose value differs from the value stored with a run.

    Attributes
    ----------
    field : str
        ``"version"``, ``"shape"``, or a parameter.
    text : str
        The old and the new value, for a message.
    stored : JSON value
        The old value.
    setting : bool
        Whether the field is a parameter that can be set to its old value.
    content : bool
        Whether the field is a parameter that names external content, such as a file, and the
        content changed.
    """

    field: str
    text: str
    stored: Any
    setting: bool = False
    content: bool = False


def changes(
    extractor: Extractor, trained: FeatureRecord, *, skip: Collection[str] = ()
) -> list[Change]:
    """Return the differences between an extractor and a stored fingerprint, except libraries.

    Parameters
    ----------
    trained : FeatureRecord
        The feature's fingerprint in run.json.
    skip : collection of str
        Parameters that may differ.
    """
    now = fingerprint_of(extractor)
    differences: list[Change] = []
    if now.version != trained.version:
        text = _difference("version", trained.version, now.version)
        differences.append(Change("version", text, trained.version))
    own = json.loads(json.dumps(dict(now.parameters)))  # turns tuples into lists
    for name in dict.fromkeys([*trained.parameters, *own]):
        default = extractor.added_parameters.get(name)
        old, current = (parameters.get(name, default) for parameters in (trained.parameters, own))
        if old != current and name not in skip:
            differences.append(_parameter(extractor, name, old, current))
    if (
        now.shape != trained.shape and not differences
    ):  # any other change already explains a new shape
        text = _difference("shape", list(trained.shape), list(now.shape))
        differences.append(Change("shape", text, list(trained.shape)))
    return differences


def _parameter(extractor: Extractor, name: str, old: Any, current: Any) -> Change:
    value = extractor.parameters.get(name)
    if isinstance(value, str) and value != current:
        # The fingerprint holds a digest of the named content, which means nothing to a reader.
        return Change(name, f"the content of {name} ({value}) has changed", old, content=True)
    return Change(name, _difference(name, old, current), old, setting=name in extractor.parameters)


def _difference(name: str, old: Any, current: Any) -> str:
    return f"{name} was {_short(old)} and is now {_short(current)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _LONG else f"{text[:_LONG]}..."


def check_unchanged(extractor: Extractor, trained: FeatureRecord, run: Path) -> None:
    """Raise RunError if the installed extractor computes features that differ from the run's.

    Parameters
    ----------
    trained : FeatureRecord
        The feature's fingerprint in run.json.
    run : Path
        The run directory, for the message.

    Raises
    ------
    RunError
        If anything but the version of a library has changed; the message lists the changes.
    """
    differences = changes(extractor, trained)
    if not differences:
        return
    name = extractor.name
    text = "; ".join(change.text for change in differences)
    hint = (
        "Restore the old content, or begin a new run."
        if any(change.content for change in differences)
        else f"Use the version and parameters of {name} in {run / 'run.json'}, or begin a new run."
    )
    raise RunError(
        f"The feature {name} has changed since the run {run} was made: {text}.", hint=hint
    )
