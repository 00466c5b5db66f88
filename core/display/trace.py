"""Tables of a trace of plugin calls, for a terminal of 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..registry.problems import Source
from ..registry.profile import IMPORT, MODULE, Key, Tally, Trace

_HEADER = ("calls", "total", "own", "mean", "longest", "share", "first", "last")
_NAME = 19
_WIDTHS = (8, 8, 8, 8, 8, 7, 7, 7)
_SLOWEST = 3  # number of slowest modules that the output names
_NAMED = 3  # number of packages that the output names per module
_SMALL = 1e-3  # seconds; a plugin whose creation took less and that was never called gets no row


def table(trace: Trace) -> list[str]:
    """Return lines on every called method of every plugin, the slowest plugin first."""
    rows = {key: tally for key, tally in trace.summed().items() if key.kind != MODULE}
    groups = _grouped(rows)
    used = [g for g in groups if any(key.method != "__init__" for key in g) or _own(g) >= _SMALL]
    lines = [_summary(trace, rows.values())]
    if used:
        lines += ["", " " * _NAME + _cells(_HEADER)]
    for group in used:
        lines += _plugin(trace, group)
    lines.append("")
    unused = [next(iter(group)) for group in groups if group not in used]
    if unused:
        lines += _wrapped(
            "created but not called: " + ", ".join(f"{k.kind} {k.plugin}" for k in unused)
        )
    lines += [*_loading(trace), *_phases(trace)]
    if used:
        lines += _wrapped(_MEANING)
    if trace.cuda:
        lines += _wrapped(_GPU)
    return lines


_MEANING = (
    "own: time without calls to other methods and plugins. share: own time divided by the time of "
    "the command; can exceed 100% with parallel processes. first, last: start of the first and "
    "last call, after the start of the command."
)
_GPU = "A GPU was used: the times are those of the host, which does not wait for the GPU."


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 80, break_long_words=False, break_on_hyphens=False)


def seconds_text(seconds: float) -> str:
    """Return a duration with three significant digits and unit: ``12.3 ms``."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        number = seconds / size
        if number >= 0.9995 or unit == "µs":
            digits = 0 if number >= 99.95 or unit == "µs" else 1 if number >= 9.995 else 2
            return f"{number:.{digits}f} {unit}"
    raise AssertionError


def _summary(trace: Trace, tallies: Iterable[Tally]) -> str:
    calls = own = 0.0
    for tally in tallies:
        calls, own = calls + tally.calls, own + tally.own
    processes = f" in {trace.processes} processes" if trace.processes > 1 else ""
    return (
        f"trace: {seconds_text(trace.seconds)}{processes}; "
        f"{calls:.0f} plugin calls took {seconds_text(own)}"
    )


def _grouped(rows: dict[Key, Tally]) -> list[dict[Key, Tally]]:
    """Group the rows by plugin; sort plugins, and the methods in each group, slowest first."""
    groups: dict[Key, dict[Key, Tally]] = {}
    for key, tally in rows.items():
        groups.setdefault(key._replace(method=""), {})[key] = tally
    return [
        dict(sorted(group.items(), key=lambda row: -row[1].own))
        for group in sorted(groups.values(), key=lambda group: -_own(group))
    ]


def _plugin(trace: Trace, group: dict[Key, Tally]) -> Iterator[str]:
    key = next(iter(group))
    source = trace.source_of(key)
    origin = f", from {source.origin}" if source.origin else ""
    yield f"{key.kind} {key.plugin}, version {key.version}{origin}"
    for row, tally in group.items():
        name = f"  {row.method}"
        if len(name) > _NAME:
            yield name
            name = ""
        yield f"{name:<{_NAME}}" + _cells(_figures(tally, trace.seconds))
    if len(group) > 1:
        own = _own(group)
        share = f"{100 * own / trace.seconds:.1f}%"
        yield f"{'  total':<{_NAME}}" + _cells(("", "", seconds_text(own), "", "", share))


def _own(group: Mapping[Key, Tally]) -> float:
    return sum(tally.own for tally in group.values())


def _figures(tally: Tally, seconds: float) -> tuple[str, ...]:
    mean = tally.total / max(1, tally.calls)
    return (
        str(tally.calls),
        seconds_text(tally.total),
        seconds_text(tally.own),
        seconds_text(mean),
        seconds_text(tally.longest),
        f"{100 * tally.own / seconds:.1f}%",
        f"{tally.first:.1f} s",
        f"{tally.last:.1f} s",
    )


def _cells(texts: Iterable[str]) -> str:
    # Each cell starts with a space, so that a text that fills its column stays separate.
    cells = (f" {text:>{w - 1}}" for text, w in zip(texts, _WIDTHS, strict=False))
    return "".join(cells).rstrip()


@dataclass(slots=True)
class Load:
    """Time to import the module of one plugin and to call its hooks.

    Attributes
    ----------
    source : Source
        Plugin and its distribution.
    brought : list of str
        Packages that no earlier import had loaded, in the order of loading.
    seconds_import, seconds_hooks : float
        Time of the import, and total time of the hook calls, in seconds.
    hooks : list of str
        Hooks that were called.
    broken : bool
        Whether the registry rejected the plugin; set by the caller of :func:`loads_of`.
    """

    source: Source
    brought: list[str]
    seconds_import: float = 0.0
    seconds_hooks: float = 0.0
    hooks: list[str] = field(default_factory=list)
    broken: bool = False

    @property
    def seconds(self) -> float:
        """Sum of the import time and the hook time, in seconds."""
        return self.seconds_import + self.seconds_hooks


def loads_of(trace: Trace) -> list[Load]:
    """Return one load per plugin module, in import order; times are summed over processes."""
    loads: dict[str, Load] = {}
    for key, tally in trace.summed().items():
        if key.kind == MODULE:
            brought = trace.brought.get(key.plugin, [])
            load = loads.setdefault(key.plugin, Load(trace.source_of(key), brought))
            if key.method == IMPORT:
                load.seconds_import = tally.total
            else:
                load.seconds_hooks += tally.total
                load.hooks.append(key.method)
    return list(loads.values())


def _loading(trace: Trace) -> Iterator[str]:
    """Yield lines on the time to import the plugin modules and to call their hooks."""
    loads = sorted(loads_of(trace), key=lambda load: -load.seconds_import)
    if not loads:
        return
    imports = seconds_text(sum(load.seconds_import for load in loads))
    hooks = seconds_text(sum(load.seconds_hooks for load in loads))
    shown = (
        f"{load.source.plugin} {seconds_text(load.seconds_import)}{_brought(load.brought)}"
        for load in loads[:_SLOWEST]
    )
    yield from _wrapped(
        f"loading, all processes together: {len(loads)} plugin modules, {imports} for imports and "
        f"{hooks} for hooks; slowest: {', '.join(shown)}. For every module: fusion plugins trace"
    )


def _brought(packages: Sequence[str]) -> str:
    """Return the packages that an import loaded as text; the import time includes the packages."""
    if not packages:
        return ""
    more = len(packages) - _NAMED
    shown = ", ".join(packages[:_NAMED]) + (f" and {more} more" if more > 0 else "")
    return f" (with {shown})"


def _phases(trace: Trace) -> Iterator[str]:
    """Yield lines with the plugin time in each phase of the command, the earliest phase first."""
    own: dict[str, float] = {}
    began = sorted(trace.rows.items(), key=lambda row: row[1].first)
    for (_, key), tally in began:
        if key.kind != MODULE:
            name = key.phase.partition(" ")[0] or "other"
            own[name] = own.get(name, 0.0) + tally.own
    if own:
        listed = ", ".join(f"{name} {seconds_text(s)}" for name, s in own.items())
        yield from _wrapped(f"plugin time by phase: {listed}")
