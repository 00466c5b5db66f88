"""What there is to say of a cache's contents."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..fingerprint import Fingerprint

# What HDF5 adds to its words in parentheses: numbers and addresses, and the system's reason.
_HDF5 = re.compile(r"\((?P<words>[^():]+): [^()]*? = [^()]*\)", re.DOTALL)
_OPENING = re.compile(
    r"(\[Errno \d+\] )?Unable to (synchronously )?open file \((?P<words>[^()]*)\)"
)
_SYSTEM = re.compile(r"error message = '(?P<words>[^']*)'")


@dataclass(frozen=True, slots=True)
class Problem:
    """A file of the cache that was left aside; what it held counts as missing.

    Attributes
    ----------
    path : Path
        The file.
    reason : str
        What is wrong with it, and what to do.
    """

    path: Path
    reason: str

    @property
    def line(self) -> str:
        """Path and reason, the path once, in one line."""
        reason = in_one_line(self.reason)
        return reason if str(self.path) in reason else f"{self.path}: {reason}"


def in_one_line(reason: str) -> str:
    """A reason with its hint in one line, without the addresses that HDF5 tells."""
    cut = _OPENING.sub(r"\g<words>", _HDF5.sub(_words, reason))
    text, hint, what = cut.partition("\n  hint: ")
    stop = "" if not hint or text.endswith((".", "!", "?")) else "."
    return " ".join(f"{text}{stop} {what}".split())


def _words(match: re.Match[str]) -> str:
    system = _SYSTEM.search(match[0])
    return f"({match['words']}: {system['words']})" if system else f"({match['words']})"


def closed_folder(folder: Path) -> Problem | None:
    """Why one can't look into a folder; None if one can, or there is none."""
    try:
        with os.scandir(folder):
            (folder / os.pardir).stat()  # to enter is a right of its own
    except FileNotFoundError:
        return None
    except OSError as error:
        return Problem(folder, f"{folder} can't be read: {error.strerror or error}.")
    return None


@dataclass(frozen=True, slots=True)
class FeatureInfo:
    """What the cache holds of one feature.

    Attributes
    ----------
    fingerprint : Fingerprint
        Name, version, parameters, shape, dtype and libraries.
    items : int
        Different keys.
    groups : mapping of str to int
        Different keys by what they belong to (corpora, say); "" where nothing was said.
    shards : int
        Readable files.
    packed : int
        Those of them whose arrays are compressed.
    bytes : int
        Of these files.
    seconds : float
        What computing the items took, on one core.
    debris : int
        Temporary files and claims that a killed process left.
    """

    fingerprint: Fingerprint
    items: int
    groups: Mapping[str, int]
    shards: int
    packed: int
    bytes: int
    seconds: float
    debris: int
