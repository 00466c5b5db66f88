"""What was counted of plugins' calls: rows by process, phase, plugin and method."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from .problems import Source

MODULE = "module"  # the kind of a row about a plugin's module, not one of its classes
IMPORT = "import"  # the method of a row about its import


class Key(NamedTuple):
    """What was called, in which part of the work."""

    phase: str
    kind: str
    plugin: str  # of a module: DISTRIBUTION:NAME
    version: str
    method: str


@dataclass(slots=True)
class Tally:
    """How often something was called, and how long that took.

    Attributes
    ----------
    calls : int
        Number of calls.
    total : float
        Seconds in them.
    own : float
        The same without the calls of other plugins, and other methods, that they made.
    longest : float
        Seconds of the longest call.
    first, last : float
        When the first and the last one began, in seconds since the trace began.
    """

    calls: int = 0
    total: float = 0.0
    own: float = 0.0
    longest: float = 0.0
    first: float = math.inf
    last: float = 0.0

    def add(self, other: Tally) -> None:
        """Take in what was counted elsewhere, or at another time."""
        self.calls += other.calls
        self.total += other.total
        self.own += other.own
        self.longest = max(self.longest, other.longest)
        self.first = min(self.first, other.first)
        self.last = max(self.last, other.last)


@dataclass(slots=True)
class Trace:
    """What was traced; complete when :func:`fusion.core.registry.trace.tracing` has ended.

    Attributes
    ----------
    rows : dict
        (process, :class:`Key`) -> :class:`Tally`.
    sources : dict
        (kind, plugin) -> where it came from.
    brought : dict
        Key.plugin of a module -> packages that its import was the first to load, in order.
    seconds : float
        From the first to the last.
    cuda : bool
        Whether a process used a GPU.
    folder : Path or None
        The folder that the work was about: where its trace belongs.
    """

    rows: dict[tuple[int, Key], Tally] = field(default_factory=dict)
    sources: dict[tuple[str, str], Source] = field(default_factory=dict)
    brought: dict[str, list[str]] = field(default_factory=dict)
    seconds: float = 0.0
    cuda: bool = False
    folder: Path | None = None

    @property
    def processes(self) -> int:
        """How many processes called plugins, this one included."""
        return len({process for process, _ in self.rows} | {os.getpid()})

    def source_of(self, key: Key) -> Source:
        """Where the plugin of a row came from."""
        return self.sources.get((key.kind, key.plugin), Source(key.plugin, "", ""))

    def summed(self) -> dict[Key, Tally]:
        """The rows of all processes and phases as one."""
        found: dict[Key, Tally] = {}
        for (_, key), tally in self.rows.items():
            found.setdefault(key._replace(phase=""), Tally()).add(tally)
        return found

    def lines(self, command: str = "") -> Iterator[str]:
        """JSON, one object a line: the command, then every row."""
        whole = {"seconds": round(self.seconds, 6), "processes": self.processes, "cuda": self.cuda}
        yield json.dumps({"command": command, **whole})
        for (process, key), tally in self.rows.items():
            row: dict[str, Any] = {"process": process, **key._asdict()}
            row |= self.source_of(key).to_json()
            if key.kind != MODULE:
                row["plugin"] = key.plugin
            row |= {name: round(value, 6) for name, value in asdict(tally).items()}
            if key.method == IMPORT:
                row["brought"] = self.brought.get(key.plugin, [])
            yield json.dumps(row)

    def write(self, path: Path, command: str = "") -> None:
        """Append the lines to a file: of a run that was gone on with, all parts are there."""
        with path.open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in self.lines(command))
