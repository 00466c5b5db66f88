"""Command ``fusion plugins trace``."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from .. import plugin_options, registry_from
from ..options import json_option

if TYPE_CHECKING:
    from ...display.trace import Load
    from ...registry.registry import Registry


@click.command("trace", short_help="Measure how long each plugin takes to load.")
@click.argument("name", required=False, metavar="[NAME]")
@json_option()
@plugin_options
@click.pass_context
def command(ctx: click.Context, name: str | None, as_json: bool) -> None:
    """Measure how long each plugin takes to import and to register, in loading order.

    NAME is a plugin, or a module that holds plugins. The first plugin that imports a large
    package is charged the import time of the package; such packages are listed below the plugin.
    To measure the time that plugins take while a command runs, add --trace-hooks to that command.
    """
    from ...display.trace import loads_of
    from ...registry.trace import tracing

    contracts = _load_contracts()
    with tracing() as trace:
        registry = registry_from(ctx)
    loads = loads_of(trace)
    broken = {(p.source.distribution, p.source.plugin) for p in registry.problems if not p.part}
    for load in loads:
        load.broken = (load.source.distribution, load.source.plugin) in broken
    chosen = loads if name is None else _named(loads, name, registry)
    if as_json:
        click.echo(json.dumps(_as_json(chosen, loads, contracts), indent=1))
        return
    click.echo(click.style(f"{'#':>4}{'import':>10}{'hooks':>9}{'share':>8}  plugin", bold=True))
    total = sum(load.seconds for load in loads)
    slowest = max(loads, key=lambda load: load.seconds, default=None)
    for load in chosen:
        _echo(loads.index(load) + 1, load, total, slowest=load is slowest)
    _echo_totals(loads, contracts)


def _load_contracts() -> float:
    """Import the contracts, which import torch, and return the duration in seconds.

    Without this step, the import time of torch would count as time of the first plugin.
    """
    from ...registry.collecting import HOOKS, base_of

    started = time.perf_counter()
    for kind in HOOKS:
        base_of(kind)
    return time.perf_counter() - started


def _named(loads: list[Load], name: str, registry: Registry) -> list[Load]:
    from ...contracts.errors import UnknownNameError

    sources = {entry.source for entry in registry.entries() if entry.name == name}
    matches = [load for load in loads if load.source in sources or load.source.plugin == name]
    if not matches:
        names = {load.source.plugin for load in loads} | {e.name for e in registry.entries()}
        raise UnknownNameError("plugin", name, names)
    return matches


def _echo(number: int, load: Load, total: float, *, slowest: bool) -> None:
    from ...display.trace import seconds_text

    times = f"{seconds_text(load.seconds_import):>10}{seconds_text(load.seconds_hooks):>9}"
    marks = click.style("  <- slowest", fg="yellow") if slowest else ""
    marks += click.style("  broken", fg="red") if load.broken else ""
    share = f"{100 * load.seconds / total:.1f}%"
    click.echo(f"{number:>4}{times}{share:>8}  {load.source.plugin}, {load.source.origin}{marks}")
    if load.brought:
        click.echo(f"{'':33}first to load {', '.join(load.brought)}")


def _echo_totals(loads: list[Load], contracts: float) -> None:
    from ...display.trace import seconds_text

    imports = seconds_text(sum(load.seconds_import for load in loads))
    hooks = seconds_text(sum(load.seconds_hooks for load in loads))
    click.echo(f"\n{len(loads)} modules: {imports} for imports, {hooks} for hooks.")
    click.echo(f"Contracts, with torch, loaded before the plugins: {seconds_text(contracts)}.")
    if any(load.broken for load in loads):
        click.echo("Why plugins are broken: fusion plugins list")


def _as_json(chosen: list[Load], loads: list[Load], contracts: float) -> dict[str, Any]:
    return {
        "modules": [
            {
                **load.source.to_json(),
                "seconds_import": round(load.seconds_import, 6),
                "seconds_hooks": round(load.seconds_hooks, 6),
                "hooks": load.hooks,
                "brought": load.brought,
                "broken": load.broken,
            }
            for load in chosen
        ],
        "all_modules": len(loads),
        "seconds_all_imports": round(sum(load.seconds_import for load in loads), 6),
        "seconds_all_hooks": round(sum(load.seconds_hooks for load in loads), 6),
        "seconds_contracts": round(contracts, 6),
    }
