"""Command ``fusion plugins check``."""

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
    help="Data for the checks: a small corpus for a corpus plugin, or a recording (a file, or a "
    "folder of files) for an extractor.",
)  # fmt: skip
@click.option(
    "--set", "settings", multiple=True, metavar="NAME.PARAMETER=VALUE",
    help="Check a plugin with this parameter value instead of the default. May be repeated.",
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

    Runs the conformance suite for each plugin's kind, the same suite that plugin authors run with
    pytest. For each failed check, prints what failed, what was expected, and the usual cause.
    Then prints the time and memory that the plugin takes. Exits with 0 if all checks passed, and
    with 1 if a check failed or a plugin could not be checked.

    NAME is a plugin, or the module or package that holds plugins; FILE is a Python file, as for
    -p. Without NAME and FILE, every installed third-party plugin is checked.

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
    # Without names, the plugins that could not be loaded are reported as unchecked.
    unchecked = refused + ([] if names else _broken(registry))
    if as_json:
        from ...display.plugin_checks import as_dict, checked, to_json

        plugins = [as_dict(entry, *checked(suite)) for entry, suite in pairs]
        click.echo(to_json(plugins, unchecked))
        return int(bool(unchecked) or any(plugin["failed"] for plugin in plugins))
    return int(_show(pairs, unchecked) or bool(unchecked))


def _show(pairs: list[Pair], unchecked: list[dict[str, str]]) -> bool:
    """Check the plugins, print the results, and return whether any check failed."""
    from ...display.plugin_checks import show, show_unchecked

    if not pairs and not unchecked:
        click.echo(
            "No third-party plugin is installed. Name a plugin of fusion, or a file:\n"
            "  fusion plugins check NAME\n"
            "  fusion plugins check ./my_plugin.py"
        )
    failed = [show(entry, suite, progress=sys.stderr.isatty()) for entry, suite in pairs]
    show_unchecked(unchecked)
    return any(failed)


def _as_loaded(names: tuple[str, ...]) -> list[str]:
    """Return the names, with each file replaced by its absolute path, as in the registry."""
    return [str(Path(n).expanduser().resolve()) if n.endswith(".py") else n for n in names]


def _refused(pairs: list[Pair], *, named: bool) -> list[dict[str, str]]:
    """Return the plugins that can't be created with their defaults, each with reason and hint.

    Raises
    ------
    ParameterError
        If the user `named` the plugins and one of them can't be created.
    """
    from ...contracts.errors import ParameterError
    from ...testing.runner import refusal

    refused: list[dict[str, str]] = []
    for entry, suite in pairs:
        error = refusal(suite)
        if error is None:
            continue
        hint = f"Set its parameters: --set {entry.name}.PARAMETER=VALUE"
        reason = f"{entry.kind} {entry.name!r} can't be created with its defaults: {error.message}"
        if named:
            raise ParameterError(reason, hint=hint)
        refused.append({"plugin": entry.name, "reason": reason, "hint": hint})
    return refused


def _broken(registry: Registry) -> list[dict[str, str]]:
    """Return the plugins that could not be loaded, each with reason and hint."""
    return [
        {"plugin": p.source.plugin, "reason": str(p), "hint": p.remedy} for p in registry.problems
    ]
