"""What checks of plugins found, on the terminal and for machines."""

from __future__ import annotations

import json
import shutil
import textwrap
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from .units import count, size

if TYPE_CHECKING:
    from ..registry.registry import Entry
    from ..testing.checks.declarations import PluginSuite
    from ..testing.costs import Cost
    from ..testing.runner import Group, Result

_MARKS = {
    "passed": click.style("✓", fg="green"),
    "failed": click.style("✗", fg="red", bold=True),
    "skipped": click.style("-", dim=True),
}
_NAME = 34  # columns of a check's name
_TITLE = 13  # columns of "what failed:"
_ERASE = "\r\x1b[2K"


def checked(suite: PluginSuite) -> tuple[list[Group], list[Cost]]:
    """All checks of a plugin, and its costs."""
    from ..testing.runner import costs_of, run

    return list(run(suite)), costs_of(suite)


# -- for people ----------------------------------------------------------------------


def show(entry: Entry, suite: PluginSuite, *, progress: bool) -> bool:
    """Check one plugin and print what is found as it is found; whether a check failed."""
    from ..testing.runner import costs_of, run

    def announce(check: str) -> None:
        if progress:
            click.echo(f"{_ERASE}  … {check}", err=True, nl=False)

    source = f"{entry.source.distribution} {entry.source.version}".strip()
    click.echo(click.style(_called(entry), bold=True) + f" · version {entry.cls.version}, {source}")
    started = time.perf_counter()
    found: Counter[str] = Counter()
    told: dict[str, str] = {}
    for group in run(suite, on_check=announce):
        if progress:
            click.echo(_ERASE, err=True, nl=False)
        found[group.outcome] += 1
        for line in _lines(group, told):
            click.echo(line)
    announce("costs")
    costs = costs_of(suite)
    if progress:
        click.echo(_ERASE, err=True, nl=False)
    for line in _cost_lines(costs):
        click.echo(line)
    seconds = time.perf_counter() - started
    click.echo(f"{_summary(entry, found)} ({seconds:.1f} s)\n")
    return bool(found["failed"])


def show_unchecked(unchecked: Sequence[Mapping[str, str]]) -> None:
    """Plugins that could not be checked, and why."""
    for each in unchecked:
        for line in (*_wrapped(f"not checked: {each['reason']}", 2), *_wrapped(each["hint"], 4)):
            click.echo(line)


def _called(entry: Entry) -> str:
    return f"{entry.kind} {entry.name!r}"


def _summary(entry: Entry, found: Counter[str]) -> str:
    words = (
        f"{count(found['passed'], 'check')} passed",
        f"{found['failed']} failed",
        f"{found['skipped']} skipped",
    )
    colour = "red" if found["failed"] else "green"
    return click.style(f"{_called(entry)}: {', '.join(words)}", fg=colour)


def _lines(group: Group, told: dict[str, str]) -> Iterator[str]:
    """One line for a check, and more where it failed; `told` is what was shown so far."""
    head = f"    {group.name:<{_NAME}}"
    first, *rest = textwrap.wrap(
        head + _aside(group, told),
        _width(),
        subsequent_indent=" " * len(head),
        break_long_words=False,
    )
    yield f"  {_MARKS[group.outcome]}{first[3:]}"
    yield from rest
    failed = group.of("failed")
    if failed:
        yield from _fault_lines(failed, group.name, told)


def _aside(group: Group, told: dict[str, str]) -> str:
    """How many cases, or why there was nothing to check."""
    if group.outcome == "skipped":
        reason = group.results[0].reason
        above = told.setdefault(reason, group.name)
        long = len(reason) > 40 and above != group.name
        return f"skipped, as {above!r} is" if long else f"skipped: {reason}"
    skipped = len(group.of("skipped"))
    cases = count(len(group.results), "case") if group.results[0].case else ""
    return f"{cases}, {skipped} skipped" if skipped else cases


def _fault_lines(failed: Sequence[Result], check: str, told: dict[str, str]) -> Iterator[str]:
    """The first of a check's failures, and which the others are."""
    result, *others = failed
    fault = result.fault
    assert fault is not None
    key = f"{result.error} {result.frames}" if result.error else fault.failed
    if key in told:
        yield from _wrapped(f"fails as {told[key]!r} does", 6)
        if result.judged and fault.cause not in told:
            told[fault.cause] = check
            yield from _wrapped(fault.cause, 8 + _TITLE, "usual cause:")
        return
    told |= {key: check, fault.cause: check}
    yield from _wrapped(fault.where, 6)
    for title, text in fault.lines().items():
        yield from _wrapped(text, 8 + _TITLE, title)
    for title, frame in zip(["in:", ""], result.frames, strict=False):
        yield from _wrapped(frame, 8 + _TITLE, title)
    if others:
        cases = "; ".join(other.case for other in others)
        yield from _wrapped(f"and {count(len(others), 'case')} more: {cases}", 6)


def _width() -> int:
    return min(shutil.get_terminal_size((80, 24)).columns, 100)


def _wrapped(text: str, indent: int, title: str = "") -> Iterator[str]:
    """`text` in lines that begin at `indent`, `title` in front of the first."""
    first = f"{'':8}{title:<{indent - 8}}" if title else " " * indent
    for part in text.splitlines():
        words = part.lstrip()
        deep = " " * (len(part) - len(words))  # an example is indented in itself
        yield from textwrap.wrap(
            words, _width(), initial_indent=first + deep, subsequent_indent=" " * indent + deep,
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
        first = " " * indent


def _cost_lines(costs: Sequence[Cost]) -> Iterator[str]:
    if not costs:
        return
    yield "  what it costs here, on the CPU (measured, not judged)"
    for cost in costs:
        taken = [_duration(cost.seconds)]
        taken += [f"{size(cost.bytes)} at most at a time"] if cost.bytes else []
        yield from _wrapped(cost.what, 6)
        yield from _wrapped("; ".join([*taken, *([cost.note] if cost.note else [])]), 8)


def _duration(seconds: float) -> str:
    return f"{1e3 * seconds:.2f} ms" if seconds >= 1e-4 else f"{1e6 * seconds:.0f} µs"


# -- for machines --------------------------------------------------------------------


def to_json(plugins: Sequence[Mapping[str, Any]], unchecked: Sequence[Mapping[str, str]]) -> str:
    return json.dumps({"plugins": plugins, "unchecked": unchecked}, indent=1)


def as_dict(entry: Entry, groups: Sequence[Group], costs: Sequence[Cost]) -> dict[str, Any]:
    """What was found of one plugin."""
    found = Counter(group.outcome for group in groups)
    return {
        "kind": entry.kind,
        "name": entry.name,
        "version": entry.cls.version,
        "distribution": entry.source.distribution,
        "distribution_version": entry.source.version,
        **{outcome: found[outcome] for outcome in ("passed", "failed", "skipped")},
        "checks": [
            {
                "check": group.name,
                "outcome": group.outcome,
                "cases": [_case(result) for result in group.results],
            }
            for group in groups
        ],
        "costs": [asdict(cost) for cost in costs],
    }


def _case(result: Result) -> dict[str, Any]:
    told: dict[str, Any] = {
        "case": result.case,
        "outcome": result.outcome,
        "seconds": round(result.seconds, 4),
    }
    if result.outcome == "skipped":
        told["reason"] = result.reason
    if result.fault is not None:
        told |= {**asdict(result.fault), "frames": list(result.frames)}
    return told
