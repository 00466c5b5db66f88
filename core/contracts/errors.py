"""Exception classes that fusion raises on purpose.

::

    FusionError                exit 1, "a run failed"
    ├── TrainingError          a loss became NaN, a step could not be taken
    └── UserError              exit 2, the user can fix it; never a traceback
        ├── UnknownNameError   no such plugin, parameter, option ("did you mean ...")
        ├── ParameterError     a value of the wrong type or out of range
        ├── CorpusError        a corpus that is empty, unreadable or not of the stated kind
        ├── RecordingError     one recording that can't be read
        │   └── MissingModalityError  a recording that lacks one modality
        ├── SplitError         too few speakers or classes, or a speaker in two parts
        ├── PluginError        a plugin broke its contract
        ├── RunError           a run directory that exists, is missing or is damaged
        └── CacheError         see fusion.cache.errors
            ├── ShardError
            └── StorageError

A message states the problem, the value given, the values accepted and what to do
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
    """A training that can't continue: a loss became NaN, or a step can't be taken."""


class UnknownNameError(UserError):
    """Name of a plugin, parameter or option that does not exist.

    Parameters
    ----------
    kind : str
        Kind of object that the name should refer to, e.g. ``"strategy"``.
    name : str
        The name given.
    known : iterable of str
        The names that exist.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str | None = None) -> None:
        options = sorted(known)
        close = difflib.get_close_matches(name, options, n=2, cutoff=0.6)
        suggestion = f" Did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
        listed = ", ".join(options) if options else "none"
        super().__init__(f"There is no {kind} {name!r}.{suggestion} Known: {listed}.", hint=hint)


class ParameterError(UserError):
    """A value of a parameter that has the wrong type or is out of range."""


class CorpusError(UserError):
    """A corpus that is empty, unreadable or not of the stated kind."""


class RecordingError(UserError):
    """A recording that can't be read or is empty."""


class MissingModalityError(RecordingError, Absent):
    """A recording that lacks the modality of an extractor.

    The missing modality is not a fault: a run uses the clip with its other modalities.
    """


class SplitError(UserError):
    """A split with too few speakers or classes, or with one speaker in two parts."""


class PluginError(UserError):
    """A plugin that can't be loaded or broke its contract."""


class RunError(UserError):
    """A run directory that exists already, is missing or is damaged."""
