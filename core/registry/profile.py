"""Profile of the calls of plugins: one row per process, phase, plugin and method."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ...cache.shards.files import unlinked
from .problems import Source

MODULE = "module"  # kind of a row about a plugin's module instead of a plugin class
IMPORT = "import"  # method of a row about the import of a plugin's module


class Key(NamedTuple):
    """Key of a row: the method that was called, and the phase of the work."""

    phase: str
    kind: str
    plugin: str  # DISTRIBUTION:NAME for a module
    version: str
    method: str


@dataclass(slots=True)
class Tally:
    """Number and duration of the calls of a method.

    Attributes
    ----------
    calls : int
        Number of calls.
    total : float
        Total time of the calls in seconds.
    own : float
        Total time in seconds, without nested calls of other plugins and other methods.
    longest : float
        Time of the longest call in seconds.
    first, last : float
        Start of the first and of the last call, in seconds since the start of the trace.
    """

    calls: int = 0
    total: float = 0.0
    own: float = 0.0
    longest: float = 0.0
    first: float = math.inf
    last: float = 0.0

    def add(self, other: Tally) -> None:
        """Add the counts of another tally, such as that of another process."""
        self.calls += other.calls
        self.total += other.total
        self.own += other.own
        self.longest = max(self.longest, other.longest)
        self.first = min(self.first, other.first)
        self.last = max(self.last, other.last)


@dataclass(slots=True)
class Trace:
    """Trace of plugin calls; complete after :func:`fusion.core.registry.trace.tracing` has ended.

    Attributes
    ----------
    rows : dict
        The :class:`Tally` of each pair of process id and :class:`Key`.
    sources : dict
        The :class:`Source` of each plugin, by kind and name of the plugin.
    brought : dict
        Packages that the import of a plugin's module was the first to load, in order, by
        ``Key.plugin`` of the module.
    seconds : float
        Duration of the trace in seconds.
    cuda : bool
        Whether any process used a GPU.
    folder : Path or None
        Run directory or other folder of the traced work, in which the trace is stored.
    """

    rows: dict[tuple[int, Key], Tally] = field(default_factory=dict)
    sources: dict[tuple[str, str], Source] = field(default_factory=dict)
    brought: dict[str, list[str]] = field(default_factory=dict)
    seconds: float = 0.0
    cuda: bool = False
    folder: Path | None = None

    @property
    def processes(self) -> int:
        """Number of processes that called plugins, including this process."""
        return len({process for process, _ in self.rows} | {os.getpid()})

    def source_of(self, key: Key) -> Source:
        """Return the source of the plugin that a row is about."""
        return self.sources.get((key.kind, key.plugin), Source(key.plugin, "", ""))

    def summed(self) -> dict[Key, Tally]:
        """Return the rows summed over all processes and phases."""
        sums: dict[Key, Tally] = {}
        for (_, key), tally in self.rows.items():
            sums.setdefault(key._replace(phase=""), Tally()).add(tally)
        return sums

    def lines(self, command: str = "") -> Iterator[str]:
        """Yield one JSON object per line: first the command, then every row."""
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
        """Append the lines to a file, so that a resumed run extends its earlier trace."""
        with open(path, "a", encoding="utf-8", opener=unlinked) as file:
            file.writelines(f"{line}\n" for line in self.lines(command))
