"""What decides an extractor's numbers here, and was something else when a run was made."""

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
    """One field of a fingerprint that is another.

    Attributes
    ----------
    field : str
        ``"version"``, ``"shape"``, or a parameter.
    text : str
        What it was and what it is.
    then : JSON value
        What it was.
    setting : bool
        Whether it is a parameter that can be set to what it was.
    content : bool
        Whether it is a parameter that names something, such as a file, that holds something else.
    """

    field: str
    text: str
    then: Any
    setting: bool = False
    content: bool = False


def changes(
    extractor: Extractor, trained: FeatureRecord, *, skip: Collection[str] = ()
) -> list[Change]:
    """Where the extractor differs from the one whose fingerprint `trained` is, but for libraries.

    Parameters
    ----------
    trained : FeatureRecord
        Of one feature, as run.json has it.
    skip : collection of str
        Parameters that may differ.
    """
    now = fingerprint_of(extractor)
    found: list[Change] = []
    if now.version != trained.version:
        text = _was("version", trained.version, now.version)
        found.append(Change("version", text, trained.version))
    own = json.loads(json.dumps(dict(now.parameters)))  # tuples are lists there
    for name in dict.fromkeys([*trained.parameters, *own]):
        default = extractor.added_parameters.get(name)
        then, here = (given.get(name, default) for given in (trained.parameters, own))
        if then != here and name not in skip:
            found.append(_parameter(extractor, name, then, here))
    if now.shape != trained.shape and not found:  # else it follows from these
        text = _was("shape", list(trained.shape), list(now.shape))
        found.append(Change("shape", text, list(trained.shape)))
    return found


def _parameter(extractor: Extractor, name: str, then: Any, here: Any) -> Change:
    value = extractor.parameters.get(name)
    if isinstance(value, str) and value != here:
        # In the fingerprint stands the digest of what it names, which tells nobody anything.
        return Change(name, f"{name}: {value} holds something else now", then, content=True)
    return Change(name, _was(name, then, here), then, setting=name in extractor.parameters)


def _was(name: str, then: Any, here: Any) -> str:
    return f"{name}: {_short(then)} then, {_short(here)} here"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _LONG else f"{text[:_LONG]}..."


def check_unchanged(extractor: Extractor, trained: FeatureRecord, run: Path) -> None:
    """Refuse to go on with a run whose features would be made another way today.

    Parameters
    ----------
    trained : FeatureRecord
        The feature's fingerprint in run.json.
    run : Path
        The run directory, for the message.

    Raises
    ------
    RunError
        Saying what has changed. Another version of a library is no change.
    """
    found = changes(extractor, trained)
    if not found:
        return
    name = extractor.name
    told = "; ".join(change.text for change in found)
    hint = (
        "Put it back as it was, or begin a new run."
        if any(change.content for change in found)
        else f"Install the {name} that {run / 'run.json'} names, or begin a new run."
    )
    raise RunError(f"The run {run} was made with another {name}: {told}.", hint=hint)
