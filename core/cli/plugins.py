"""``fusion plugins``."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Any

import click

from . import plugin_options, registry_from

if TYPE_CHECKING:
    from ..registry import Entry, Registry


@click.group("plugins")
def command() -> None:
    """List plugins, show their parameters."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@plugin_options
@click.pass_context
def list_plugins(ctx: click.Context, as_json: bool) -> None:
    """Every plugin, by kind: name, version, where it came from, what it is.

    A star marks what a run uses when you name none of its kind.
    """
    registry = registry_from(ctx)
    if as_json:
        click.echo(json.dumps(_listing(registry), indent=1))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from ..reference import summary

    console = Console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("kind", "name", "version", "from", "what it is"):
        table.add_column(title, overflow="fold", no_wrap=title != "what it is")
    for entry in registry.entries():
        star = "*" if entry.cls.default else ""
        table.add_row(
            entry.kind,
            entry.name + star,
            entry.cls.version,
            _origin(entry),
            escape(summary(entry.cls)),
        )
    console.print(table)
    console.print("\n* used by default. More on one: fusion plugins show NAME", highlight=False)


@command.command("show")
@click.argument("name")
@plugin_options
@click.pass_context
def show(ctx: click.Context, name: str) -> None:
    """What a plugin does, and its parameters with types and defaults.

    NAME may also be train, the settings of every training, or diagnosis, its thresholds.
    """
    from ..config import TrainConfig
    from ..diagnosis import Thresholds
    from ..errors import UnknownNameError
    from ..reference import owner_of, sections

    registry = registry_from(ctx)
    found = [entry for entry in registry.entries() if entry.name == name]
    others = {"train": TrainConfig, "diagnosis": Thresholds}
    if name in others:
        click.echo(sections(others[name])[0][1] + "\n")
        _echo_parameters(others[name], name)
    elif not found:
        known = {entry.name for entry in registry.entries()} | set(others)
        raise UnknownNameError("plugin", name, known)
    for entry in found:
        click.echo(click.style(f"{entry.name}", bold=True) + f" · {entry.kind}, version "
                   f"{entry.cls.version}, from {_origin(entry)}\n")  # fmt: skip
        first, *rest = sections(entry.cls)
        click.echo((first[1] or "No description.") + "\n")
        _echo_parameters(entry.cls, owner_of(entry))
        for title, text in rest:
            if title not in ("Parameters", "Attributes"):
                click.echo(f"\n{title}\n{textwrap.indent(text, '  ')}")


def _echo_parameters(cls: type, owner: str) -> None:
    from ..parameters import parameters_of, space_of

    parameters, space = parameters_of(cls), space_of(cls)
    click.echo("Parameters" if parameters else "No parameters.")
    for parameter in parameters.values():
        tuned = f"  [--tune: {space[parameter.name]}]" if parameter.name in space else ""
        click.echo(
            f"  {owner}.{parameter.name}: {parameter.type_name} = {parameter.default!r}{tuned}"
        )
        if parameter.doc:
            click.echo(f"      {parameter.doc}")


def _origin(entry: Entry) -> str:
    return f"{entry.source.distribution} {entry.source.version}".strip()


def _listing(registry: Registry) -> dict[str, Any]:
    from ..reference import summary

    return {
        "plugins": [
            {
                "kind": entry.kind,
                "name": entry.name,
                "version": entry.cls.version,
                "default": entry.cls.default,
                "distribution": entry.source.distribution,
                "distribution_version": entry.source.version,
                "plugin": entry.source.plugin,
                "summary": summary(entry.cls),
            }
            for entry in registry.entries()
        ],
        "problems": [
            {
                "plugin": problem.source.plugin,
                "distribution": problem.source.distribution,
                "distribution_version": problem.source.version,
                "reason": problem.reason,
            }
            for problem in registry.problems
        ],
    }
