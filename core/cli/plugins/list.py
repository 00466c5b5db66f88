"""Command ``fusion plugins list``."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from .. import plugin_options, registry_from
from ..options import json_option
from ..output import echo_json

if TYPE_CHECKING:
    from ...registry.problems import Problem, Source
    from ...registry.registry import Entry, Registry

_LONGEST = 28  # longest cell that widens its column; a longer cell shifts the cells to its right


@click.command("list", short_help="List all plugins: status, version, origin, hooks.")
@json_option()
@plugin_options
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List all plugins by kind: status, name, version, origin, and hooks.

    A star marks the default of a kind: a run uses this plugin unless you name another. The hooks
    are the methods of its contract (docs/reference/hooks.md) that a plugin overrides.
    """
    registry = registry_from(ctx, silent=True)  # broken plugins have rows in the table
    if as_json:
        echo_json(_listing(registry))
        return
    terminal = sys.stdout.isatty()
    for line in _lines(registry, shutil.get_terminal_size().columns if terminal else 0):
        click.echo(line)


def _lines(registry: Registry, width: int) -> Iterator[str]:
    """Yield the lines of the table, wrapped to `width` columns; 0 means no wrapping."""
    from ...registry.collecting import HOOKS
    from ...registry.docstrings import summary
    from ...registry.interface import own_methods

    entries = registry.entries()
    cells = [(_star(e), e.cls.version, e.source.origin) for e in entries]
    widths = [max((len(c) for c in column if len(c) <= _LONGEST), default=0) + 2
              for column in zip(*cells, strict=True)]  # fmt: skip
    for kind, hook in HOOKS.items():
        rows = [entry for entry in entries if entry.kind == kind]
        if rows:
            yield click.style(f"{kind}", bold=True) + f"  (registered by {hook})"
        for entry in rows:
            hooks = ", ".join(own_methods(entry.cls, kind)) or "none"
            row = _row((_star(entry), entry.cls.version, entry.source.origin), widths)
            yield f"  {click.style('ok', fg='green')}  {row}".rstrip()
            yield from _wrapped(summary(entry.cls), width)
            yield from _wrapped(f"hooks: {hooks}", width)
        if rows:
            yield ""
    yield from _left_out(registry, width)
    yield "* used by default. Details of a plugin: fusion plugins show NAME"


def _left_out(registry: Registry, width: int) -> Iterator[str]:
    from ...registry.registry import Entry

    for blocked in registry.blocked:
        if isinstance(blocked, Entry):
            name, source = f"{blocked.kind} {blocked.name}", blocked.source
        else:
            name, source = blocked.plugin, blocked
        yield f"  {click.style('blocked', fg='yellow')}  {name}, from {source.origin}"
    if registry.blocked:
        yield ""
    for problem in registry.problems:
        name = problem.part or problem.source.plugin
        yield f"  {click.style('broken', fg='red')}  {name}, from {problem.source.origin}"
        yield from _wrapped(problem.reason, width)
        if problem.remedy:
            yield from _wrapped(problem.remedy, width)
        yield ""
    for deprecation in registry.deprecations:
        yield from _wrapped(f"{deprecation}", width, indent="")
        yield ""


def _row(cells: tuple[str, ...], widths: list[int]) -> str:
    return "".join(f"{cell:<{width}}" if len(cell) < width else f"{cell}  "
                   for cell, width in zip(cells, widths, strict=True))  # fmt: skip


def _wrapped(text: str, width: int, indent: str = " " * 6) -> list[str]:
    if not width:
        return [indent + text]
    return textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=indent,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _star(entry: Entry) -> str:
    return f"{entry.name} *" if entry.cls.default else entry.name


# -- JSON ----------------------------------------------------------------------------


def _listing(registry: Registry) -> dict[str, Any]:
    return {
        "plugins": [_plugin(entry, registry) for entry in registry.entries()],
        "problems": [_problem(problem) for problem in registry.problems],
        "blocked": [_blocked(blocked) for blocked in registry.blocked],
        "deprecations": [
            {**deprecation.source.to_json(), "uses": list(deprecation.uses)}
            for deprecation in registry.deprecations
        ],
    }


def _plugin(entry: Entry, registry: Registry) -> dict[str, Any]:
    from ...registry.collecting import HOOKS
    from ...registry.docstrings import summary
    from ...registry.interface import own_methods

    return {
        "status": "ok",
        "kind": entry.kind,
        "name": entry.name,
        "version": entry.cls.version,
        "default": entry.cls.default,
        **entry.source.to_json(),
        "module": entry.cls.__module__,
        "api_version": registry.api_version(entry.source),
        "registered_by": HOOKS[entry.kind],
        "hooks": own_methods(entry.cls, entry.kind),
        "summary": summary(entry.cls),
    }


def _problem(problem: Problem) -> dict[str, Any]:
    return {
        "status": "broken",
        **problem.source.to_json(),
        "part": problem.part or None,
        "hook": problem.hook or None,
        "reason": problem.reason,
        "remedy": problem.remedy or None,
    }


def _blocked(blocked: Source | Entry) -> dict[str, Any]:
    from ...registry.registry import Entry

    if isinstance(blocked, Entry):
        own = {"kind": blocked.kind, "name": blocked.name}
        return {"status": "blocked", **own, **blocked.source.to_json()}
    return {"status": "blocked", "kind": None, "name": None, **blocked.to_json()}
