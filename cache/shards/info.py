"""Summary of the contents of a cache, and of the files that could not be used."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..fingerprint import Fingerprint

# An HDF5 message has parentheses with a text, numbers and addresses, and the system's reason.
_HDF5 = re.compile(r"\((?P<words>[^():]+): [^()]*? = [^()]*\)", re.DOTALL)
_OPENING = re.compile(
    r"(\[Errno \d+\] )?Unable to (synchronously )?open file \((?P<words>[^()]*)\)"
)
_SYSTEM = re.compile(r"error message = '(?P<words>[^']*)'")


@dataclass(frozen=True, slots=True)
class Problem:
    """File of the cache that was skipped; the items in this file count as missing.

    Attributes
    ----------
    path : Path
        The file.
    reason : str
        What is wrong with the file, and what to do.
    """

    path: Path
    reason: str

    @property
    def line(self) -> str:
        """Path and reason in one line, in which the path appears once."""
        reason = in_one_line(self.reason)
        return reason if str(self.path) in reason else f"{self.path}: {reason}"


def in_one_line(reason: str) -> str:
    """Return a reason and its hint in one line, without the addresses in HDF5 messages."""
    text_and_hint = _OPENING.sub(r"\g<words>", _HDF5.sub(_words, reason))
    text, hint, advice = text_and_hint.partition("\n  hint: ")
    stop = "" if not hint or text.endswith((".", "!", "?")) else "."
    return " ".join(f"{text}{stop} {advice}".split())


def _words(match: re.Match[str]) -> str:
    system = _SYSTEM.search(match[0])
    return f"({match['words']}: {system['words']})" if system else f"({match['words']})"


def closed_folder(folder: Path) -> Problem | None:
    """Return the reason why a folder can't be read; None for a readable or missing folder."""
    try:
        with os.scandir(folder):
            (folder / os.pardir).stat()  # entering a folder needs a separate permission
    except FileNotFoundError:
        return None
    except OSError as error:
        return Problem(folder, f"{folder} can't be read: {error.strerror or error}.")
    return None


@dataclass(frozen=True, slots=True)
class FeatureInfo:
    """Contents of the cache for one feature.

    Attributes
    ----------
    fingerprint : Fingerprint
        Name, version, parameters, shape, dtype and libraries.
    items : int
        Number of distinct keys.
    groups : mapping of str to int
        Number of distinct keys by group (for example a corpus); "" if no group was given.
    shards : int
        Number of readable shards.
    packed : int
        Number of readable shards whose arrays are compressed.
    bytes : int
        Size of the readable shards.
    seconds : float
        Computing time of all items, on one core.
    debris : int
        Temporary files and claims that killed processes left.
    """

    fingerprint: Fingerprint
    items: int
    groups: Mapping[str, int]
    shards: int
    packed: int
    bytes: int
    seconds: float
    debris: int
