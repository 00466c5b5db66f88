"""``fusion plugins check``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .. import plugin_options, registry_from
from ..options import json_option

if TYPE_CHECKING:
    from ...registry.registry import Entry, Registry
    from ...testing.checks.declarations import PluginSuite

    Pair = tuple[Entry, PluginSuite]


@click.command("check")
@click.argument("names", nargs=-1, metavar="[NAME | FILE]...")
@click.option(
    "--data", type=click.Path(path_type=Path), metavar="PATH",
    help="A small corpus to read, or recordings (a file, a folder) to extract from.",
)  # fmt: skip
@click.option(
    "--set", "settings", multiple=True, metavar="NAME.PARAMETER=VALUE",
    help="Check a plugin with other parameters than its defaults. May be repeated.",
)  # fmt: skip
@json_option()
@plugin_options
@click.pass_context
def command(
    ctx: click.Context,
    names: tuple[str, ...],
    data: Path | None,
    settings: tuple[str, ...],
    as_json: bool,
) -> int:
    """Check plugins against their contracts.

    Runs the conformance suite of each plugin's kind: what its author runs with pytest, without
    pytest. Says of each check that fails what failed, what was expected and what usually causes
    it; then what the plugin costs. Exit code 0 where all passed, 1 where a check failed or a
    plugin could not be checked.

    NAME is a plugin, the module or package that it comes in; FILE is a file as -p takes it.
    Without either, every plugin is checked that is none of fusion's own.

    \b
    fusion plugins check ./my_strategy.py
    fusion plugins check my_corpus --data /data/a_few_clips
    """
    from ...registry.parameters import parse_settings
    from ...testing.selection import chosen, suites_of, third_party

    registry = registry_from(
        ctx, tuple(name for name in names if name.endswith(".py")), silent=not names
    )
    for deprecation in () if names else registry.deprecations:
        click.echo(f"{deprecation}", err=True)
    entries = chosen(registry, _as_loaded(names)) if names else third_party(registry)
    pairs = suites_of(entries, parse_settings(settings), data)
    refused = _refused(pairs, named=bool(names))
    pairs = [pair for pair in pairs if pair[0].name not in {each["plugin"] for each in refused}]
    # What was not named and can't be checked has to show, too.
    unchecked = refused + ([] if names else _broken(registry))
    if as_json:
        from ...display.plugin_checks import as_dict, checked, to_json

        found = [as_dict(entry, *checked(suite)) for entry, suite in pairs]
        click.echo(to_json(found, unchecked))
        return int(bool(unchecked) or any(plugin["failed"] for plugin in found))
    return int(_show(pairs, unchecked) or bool(unchecked))


def _show(pairs: list[Pair], unchecked: list[dict[str, str]]) -> bool:
    """Check and print; whether anything failed."""
    from ...display.plugin_checks import show, show_unchecked

    if not pairs and not unchecked:
        click.echo(
            "There are no plugins here but fusion's own. Name one of those, or a file:\n"
            "  fusion plugins check NAME\n"
            "  fusion plugins check ./my_plugin.py"
        )
    failed = [show(entry, suite, progress=sys.stderr.isatty()) for entry, suite in pairs]
    show_unchecked(unchecked)
    return any(failed)


def _as_loaded(names: tuple[str, ...]) -> list[str]:
    """Files by their whole path, as the registry calls them."""
    return [str(Path(n).expanduser().resolve()) if n.endswith(".py") else n for n in names]


def _refused(pairs: list[Pair], *, named: bool) -> list[dict[str, str]]:
    """Plugins that want parameters; the first is an error where it was asked for by name."""
    from ...contracts.errors import ParameterError
    from ...testing.runner import refusal

    found: list[dict[str, str]] = []
    for entry, suite in pairs:
        error = refusal(suite)
        if error is None:
            continue
        hint = f"Give it what it needs: --set {entry.name}.PARAMETER=VALUE"
        reason = f"{entry.kind} {entry.name!r} can't be made with its defaults: {error.message}"
        if named:
            raise ParameterError(reason, hint=hint)
        found.append({"plugin": entry.name, "reason": reason, "hint": hint})
    return found


def _broken(registry: Registry) -> list[dict[str, str]]:
    """Plugins that could not be loaded."""
    return [
        {"plugin": p.source.plugin, "reason": str(p), "hint": p.remedy} for p in registry.problems
    ]
