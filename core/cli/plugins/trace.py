"""``fusion plugins trace``."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from .. import plugin_options, registry_from

if TYPE_CHECKING:
    from ...registry.problems import Source
    from ...registry.profile import Trace
    from ...registry.registry import Registry


@dataclass(frozen=True)
class _Load:
    """What it took to import and register the module of one plugin, in seconds."""

    source: Source
    seconds_import: float
    seconds_hooks: float
    hooks: list[str]
    brought: list[str]
    broken: bool

    @property
    def seconds(self) -> float:
        return self.seconds_import + self.seconds_hooks


@click.command("trace", short_help="How long each plugin took to import and register.")
@click.argument("name", required=False, metavar="[NAME]")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@plugin_options
@click.pass_context
def command(ctx: click.Context, name: str | None, as_json: bool) -> None:
    """How long each plugin took to import and register, in that order.

    NAME is a plugin, or a module that holds some. Whoever is first to import a large package
    pays for all who use it; what it was the first to load stands below it. What the calls of
    plugins take while a command works is what --trace-hooks says, an option of every command.
    """
    from ...registry.trace import tracing

    contracts = _load_contracts()
    with tracing() as trace:
        registry = registry_from(ctx)
    loads = _loads(trace, registry)
    chosen = loads if name is None else _named(loads, name, registry)
    if as_json:
        click.echo(json.dumps(_as_json(chosen, loads, contracts), indent=1))
        return
    click.echo(click.style(f"{'#':>4}{'import':>10}{'hooks':>9}{'share':>8}  plugin", bold=True))
    whole = sum(load.seconds for load in loads)
    slowest = max(loads, key=lambda load: load.seconds, default=None)
    for load in chosen:
        _echo(loads.index(load) + 1, load, whole, slowest=load is slowest)
    _echo_totals(loads, contracts)


def _load_contracts() -> float:
    """Seconds that the contracts take, torch with them: no plugin's doing, so not in its time."""
    from ...registry.collecting import HOOKS, base_of

    started = time.perf_counter()
    for kind in HOOKS:
        base_of(kind)
    return time.perf_counter() - started


def _loads(trace: Trace, registry: Registry) -> list[_Load]:
    """Every module, in the order of loading."""
    from ...registry.profile import IMPORT, MODULE

    broken = {(p.source.distribution, p.source.plugin) for p in registry.problems if not p.part}
    modules = dict.fromkeys(key.plugin for key in trace.summed() if key.kind == MODULE)
    found: list[_Load] = []
    for module in modules:
        rows = {k: t for k, t in trace.summed().items() if (k.kind, k.plugin) == (MODULE, module)}
        source = trace.source_of(next(iter(rows)))
        found.append(
            _Load(
                source,
                sum(t.total for k, t in rows.items() if k.method == IMPORT),
                sum(t.total for k, t in rows.items() if k.method != IMPORT),
                [k.method for k in rows if k.method != IMPORT],
                trace.brought.get(module, []),
                (source.distribution, source.plugin) in broken,
            )
        )
    return found


def _named(loads: list[_Load], name: str, registry: Registry) -> list[_Load]:
    from ...contracts.errors import UnknownNameError

    sources = {entry.source for entry in registry.entries() if entry.name == name}
    found = [load for load in loads if load.source in sources or load.source.plugin == name]
    if not found:
        known = {load.source.plugin for load in loads} | {e.name for e in registry.entries()}
        raise UnknownNameError("plugin", name, known)
    return found


def _echo(number: int, load: _Load, whole: float, *, slowest: bool) -> None:
    from ...display.trace import seconds_text

    times = f"{seconds_text(load.seconds_import):>10}{seconds_text(load.seconds_hooks):>9}"
    marks = click.style("  <- slowest", fg="yellow") if slowest else ""
    marks += click.style("  broken", fg="red") if load.broken else ""
    share = f"{100 * load.seconds / whole:.1f}%"
    click.echo(f"{number:>4}{times}{share:>8}  {load.source.plugin}, {load.source.origin}{marks}")
    if load.brought:
        click.echo(f"{'':33}first to load {', '.join(load.brought)}")


def _echo_totals(loads: list[_Load], contracts: float) -> None:
    from ...display.trace import seconds_text

    imports = seconds_text(sum(load.seconds_import for load in loads))
    hooks = seconds_text(sum(load.seconds_hooks for load in loads))
    click.echo(f"\n{len(loads)} modules: {imports} for their imports, {hooks} for their hooks.")
    click.echo(f"Before them the contracts, with torch: {seconds_text(contracts)}.")
    if any(load.broken for load in loads):
        click.echo("What is wrong with the broken ones: fusion plugins list")


def _as_json(chosen: list[_Load], loads: list[_Load], contracts: float) -> dict[str, Any]:
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
