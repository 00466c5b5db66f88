"""Every error that fusion raises on purpose.

::

    FusionError                exit 1, "a run failed"
    ├── TrainingError          a loss became NaN, a step could not be taken
    └── UserError              exit 2, the user can mend it; never a traceback
        ├── UnknownNameError   no such plugin, parameter, option ("did you mean ...")
        ├── ParameterError     a value of the wrong type or out of range
        ├── CorpusError        a corpus that is empty, unreadable or not what it was said to be
        ├── RecordingError     one recording that can't be read
        │   └── MissingModalityError  a recording that lacks one modality
        ├── SplitError         too few speakers or classes, or a speaker in two parts
        ├── PluginError        a plugin broke its contract
        ├── RunError           a run directory that exists, is missing or is damaged
        └── CacheError         see fusion.cache.errors
            ├── ShardError
            └── StorageError

A message says what was wrong, what was given, what was possible and what to do
next, and names the file, clip, plugin or option.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from ...cache.errors import Absent, CacheError, FusionError, ShardError, StorageError, UserError

__all__ = [
    "CacheError",
    "CorpusError",
    "FusionError",
    "MissingModalityError",
    "ParameterError",
    "PluginError",
    "RecordingError",
    "RunError",
    "ShardError",
    "SplitError",
    "StorageError",
    "TrainingError",
    "UnknownNameError",
    "UserError",
]


class TrainingError(FusionError):
    """Training can't go on: a loss became NaN, a gradient infinite."""


class UnknownNameError(UserError):
    """A name that nothing here answers to.

    Parameters
    ----------
    kind : str
        What the name was meant to be, e.g. ``"strategy"``.
    name : str
        What was given.
    known : iterable of str
        What was possible.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str | None = None) -> None:
        options = sorted(known)
        close = difflib.get_close_matches(name, options, n=2, cutoff=0.6)
        meant = f" Did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
        listed = ", ".join(options) if options else "none"
        super().__init__(f"There is no {kind} {name!r}.{meant} Known: {listed}.", hint=hint)


class ParameterError(UserError):
    """A parameter's value has the wrong type or is out of range."""


class CorpusError(UserError):
    """A corpus that is empty, unreadable or not what it was said to be."""


class RecordingError(UserError):
    """One recording that can't be read or has nothing in it."""


class MissingModalityError(RecordingError, Absent):
    """Raised by an extractor for a recording that lacks this one modality, and is no fault.

    The clip takes part in a run with its other modalities.
    """


class SplitError(UserError):
    """Too few speakers or classes for the split, or a speaker in two parts."""


class PluginError(UserError):
    """A plugin that can't be loaded or broke its contract."""


class RunError(UserError):
    """A run directory that exists already, is missing or is damaged."""
