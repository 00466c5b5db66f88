"""Command group ``fusion plugins``."""

from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING

import click

from .. import plugin_options, registry_from
from .check import command as check
from .list import command as list_plugins
from .new import command as new
from .trace import command as trace

if TYPE_CHECKING:
    from ...registry.registry import Entry, Registry


@click.group("plugins")
def command() -> None:
    """List, describe, check and create plugins."""


command.add_command(list_plugins)
command.add_command(new)
command.add_command(check)
command.add_command(trace)


@command.command("show")
@click.argument("name")
@plugin_options
@click.pass_context
def show(ctx: click.Context, name: str) -> None:
    """Describe a plugin and its parameters, with types and defaults.

    NAME is a plugin; or train, for the settings of every training; or diagnosis, for the
    thresholds of fusion diagnose; or audio, for the formats of recordings that can be read.
    """
    from ...analysis.diagnosis import Thresholds
    from ...contracts.errors import UnknownNameError
    from ...contracts.train_config import TrainConfig
    from ...registry.docstrings import sections

    registry = registry_from(ctx)
    entries = [entry for entry in registry.entries() if entry.name == name]
    owners = {"train": TrainConfig, "diagnosis": Thresholds}  # parameters that no plugin owns
    if name in owners:
        click.echo(sections(owners[name])[0][1] + "\n")
        _echo_parameters(owners[name], name)
    elif name == "audio":
        _echo_audio()
    elif not entries:
        names = {entry.name for entry in registry.entries()} | {*owners, "audio"}
        reasons = [str(p) for p in registry.problems if p.source.plugin == name]
        raise UnknownNameError("plugin", name, names, hint=next(iter(reasons), None))
    for entry in entries:
        _echo_origin(entry, registry)
        first, *rest = sections(entry.cls)
        click.echo((first[1] or "No description.") + "\n")
        _echo_parameters(entry.cls, entry.owner)
        for title, text in rest:
            if title not in ("Parameters", "Attributes"):
                click.echo(f"\n{title}\n{textwrap.indent(text, '  ')}")


def _echo_audio() -> None:
    """Print the audio formats by the library that reads them, and whether PyAV is installed."""
    from ...toolkit.audio_formats import EXTRA, FORMATS, pyav_version

    version = pyav_version()
    pyav = f"installed, version {version}" if version else "not installed"
    click.echo("Formats of recordings, in the order of preference if a corpus has several formats")
    rows = {"libsndfile": "included", "PyAV": f"FFmpeg, the extra {EXTRA}; {pyav}"}
    for library, note in rows.items():
        click.echo(f"\n{click.style(library, bold=True)} ({note})")
        names = dict.fromkeys(f.name for f in FORMATS if f.library == library)
        for name in names:
            suffixes = " ".join(f.suffix for f in FORMATS if f.name == name)
            click.echo(f"  {suffixes:<28}{name}")
    if version is None:
        click.echo(f"\nTo read all formats: pip install 'modal-fusion[{EXTRA}]'")
    click.echo(
        "\nThe suffix decides which files of a folder are recordings. The content of a file "
        "decides how it is read."
    )


def _echo_origin(entry: Entry, registry: Registry) -> None:
    """Print where a plugin comes from, and which hooks of its contract the plugin overrides."""
    from ...registry.collecting import HOOKS
    from ...registry.interface import own_methods

    click.echo(
        click.style(entry.name, bold=True)
        + f" · {entry.kind}, version {entry.cls.version}, from {entry.source.origin}\n"
    )
    module = entry.cls.__module__
    rows = {
        "module": module,
        "file": getattr(sys.modules[module], "__file__", None) or "none",
        "contract": f"version {registry.api_version(entry.source)}",
        "registered by": f"{HOOKS[entry.kind]}, in the plugin {entry.source.plugin!r}",
        "hooks used": ", ".join(own_methods(entry.cls, entry.kind)) or "none",
    }
    for title, text in rows.items():
        click.echo(f"{title:<15}{text}")
    click.echo()


def _echo_parameters(cls: type, owner: str) -> None:
    from ...registry.parameters import parameters_of, space_of

    parameters, space = parameters_of(cls), space_of(cls)
    click.echo("Parameters" if parameters else "No parameters.")
    for parameter in parameters.values():
        tuned = f"  [--tune: {space[parameter.name]}]" if parameter.name in space else ""
        click.echo(
            f"  {owner}.{parameter.name}: {parameter.type_name} = {parameter.default!r}{tuned}"
        )
        if parameter.doc:
            click.echo(f"      {parameter.doc}")
