"""Results of plugin checks, as text for the terminal and as JSON."""

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
_NAME = 34  # width of a check's name in columns
_TITLE = 13  # width of titles such as "what failed:" in columns
_ERASE = "\r\x1b[2K"


def checked(suite: PluginSuite) -> tuple[list[Group], list[Cost]]:
    """Run all checks of a plugin, and return their results and the costs of the plugin."""
    from ..testing.runner import costs_of, run

    return list(run(suite)), costs_of(suite)


# -- text ----------------------------------------------------------------------------


def show(entry: Entry, suite: PluginSuite, *, progress: bool) -> bool:
    """Check one plugin, print each result at once, and return whether a check failed."""
    from ..testing.runner import costs_of, run

    def announce(check: str) -> None:
        if progress:
            click.echo(f"{_ERASE}  … {check}", err=True, nl=False)

    source = f"{entry.source.distribution} {entry.source.version}".strip()
    click.echo(click.style(_title(entry), bold=True) + f" · version {entry.cls.version}, {source}")
    started = time.perf_counter()
    outcomes: Counter[str] = Counter()
    shown: dict[str, str] = {}
    for group in run(suite, on_check=announce):
        if progress:
            click.echo(_ERASE, err=True, nl=False)
        outcomes[group.outcome] += 1
        for line in _lines(group, shown):
            click.echo(line)
    announce("costs")
    costs = costs_of(suite)
    if progress:
        click.echo(_ERASE, err=True, nl=False)
    for line in _cost_lines(costs):
        click.echo(line)
    seconds = time.perf_counter() - started
    click.echo(f"{_summary(entry, outcomes)} ({seconds:.1f} s)\n")
    return bool(outcomes["failed"])


def show_unchecked(unchecked: Sequence[Mapping[str, str]]) -> None:
    """Print the plugins that could not be checked, each with reason and hint."""
    for plugin in unchecked:
        reason = f"not checked: {plugin['reason']}"
        for line in (*_wrapped(reason, 2), *_wrapped(plugin["hint"], 4)):
            click.echo(line)


def _title(entry: Entry) -> str:
    return f"{entry.kind} {entry.name!r}"


def _summary(entry: Entry, outcomes: Counter[str]) -> str:
    words = (
        f"{count(outcomes['passed'], 'check')} passed",
        f"{outcomes['failed']} failed",
        f"{outcomes['skipped']} skipped",
    )
    colour = "red" if outcomes["failed"] else "green"
    return click.style(f"{_title(entry)}: {', '.join(words)}", fg=colour)


def _lines(group: Group, shown: dict[str, str]) -> Iterator[str]:
    """Yield the line of a check; if the check failed, also yield the lines of its failure.

    `shown` maps each printed text (a reason, a failure, a cause) to the check that printed the
    text. Later checks with the same text name that check and don't repeat the text.
    """
    head = f"    {group.name:<{_NAME}}"
    first, *rest = textwrap.wrap(
        head + _remark(group, shown),
        _width(),
        subsequent_indent=" " * len(head),
        break_long_words=False,
    )
    yield f"  {_MARKS[group.outcome]}{first[3:]}"
    yield from rest
    failed = group.of("failed")
    if failed:
        yield from _fault_lines(failed, group.name, shown)


def _remark(group: Group, shown: dict[str, str]) -> str:
    """Return the number of cases of a check, or the reason why the check was skipped."""
    if group.outcome == "skipped":
        reason = group.results[0].reason
        first = shown.setdefault(reason, group.name)
        repeated = len(reason) > 40 and first != group.name
        return f"skipped: see {first!r}" if repeated else f"skipped: {reason}"
    skipped = len(group.of("skipped"))
    cases = count(len(group.results), "case") if group.results[0].case else ""
    return f"{cases}, {skipped} skipped" if skipped else cases


def _fault_lines(failed: Sequence[Result], check: str, shown: dict[str, str]) -> Iterator[str]:
    """Yield the lines of a check's first failure, and the cases of its further failures."""
    result, *further = failed
    fault = result.fault
    assert fault is not None
    key = f"{result.error} {result.frames}" if result.error else fault.failed
    if key in shown:
        yield from _wrapped(f"fails in the same way as {shown[key]!r}", 6)
        if result.judged and fault.cause not in shown:
            shown[fault.cause] = check
            yield from _wrapped(fault.cause, 8 + _TITLE, "usual cause:")
        return
    shown |= {key: check, fault.cause: check}
    yield from _wrapped(fault.where, 6)
    for title, text in fault.lines().items():
        yield from _wrapped(text, 8 + _TITLE, title)
    for title, frame in zip(["in:", ""], result.frames, strict=False):
        yield from _wrapped(frame, 8 + _TITLE, title)
    if further:
        cases = "; ".join(result.case for result in further)
        yield from _wrapped(f"and {count(len(further), 'case')} more: {cases}", 6)


def _width() -> int:
    return min(shutil.get_terminal_size((80, 24)).columns, 100)


def _wrapped(text: str, indent: int, title: str = "") -> Iterator[str]:
    """Yield `text` in lines indented by `indent` columns, with `title` before the first line."""
    first = f"{'':8}{title:<{indent - 8}}" if title else " " * indent
    for part in text.splitlines():
        words = part.lstrip()
        deep = " " * (len(part) - len(words))  # keep the indentation of code examples in the text
        yield from textwrap.wrap(
            words, _width(), initial_indent=first + deep, subsequent_indent=" " * indent + deep,
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
        first = " " * indent


def _cost_lines(costs: Sequence[Cost]) -> Iterator[str]:
    if not costs:
        return
    yield "  cost on this machine, on the CPU (measured, not judged)"
    for cost in costs:
        amounts = [_duration(cost.seconds)]
        amounts += [f"{size(cost.bytes)} peak memory"] if cost.bytes else []
        yield from _wrapped(cost.what, 6)
        yield from _wrapped("; ".join([*amounts, *([cost.note] if cost.note else [])]), 8)


def _duration(seconds: float) -> str:
    return f"{1e3 * seconds:.2f} ms" if seconds >= 1e-4 else f"{1e6 * seconds:.0f} µs"


# -- JSON ----------------------------------------------------------------------------


def to_json(plugins: Sequence[Mapping[str, Any]], unchecked: Sequence[Mapping[str, str]]) -> str:
    """Return the results of checked plugins (:func:`as_dict`) and the unchecked plugins as JSON."""
    return json.dumps({"plugins": plugins, "unchecked": unchecked}, indent=1)


def as_dict(entry: Entry, groups: Sequence[Group], costs: Sequence[Cost]) -> dict[str, Any]:
    """Return the results and costs of one plugin as plain values."""
    outcomes = Counter(group.outcome for group in groups)
    return {
        "kind": entry.kind,
        "name": entry.name,
        "version": entry.cls.version,
        "distribution": entry.source.distribution,
        "distribution_version": entry.source.version,
        **{outcome: outcomes[outcome] for outcome in ("passed", "failed", "skipped")},
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
    case: dict[str, Any] = {
        "case": result.case,
        "outcome": result.outcome,
        "seconds": round(result.seconds, 4),
    }
    if result.outcome == "skipped":
        case["reason"] = result.reason
    if result.fault is not None:
        case |= {**asdict(result.fault), "frames": list(result.frames)}
    return case
