"""Command ``fusion plugins new``."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from .. import plugin_options, registry_from


@click.command("new")
@click.argument("kind", metavar="KIND")
@click.argument("name")
@click.option("--dir", "folder", type=click.Path(path_type=Path), metavar="FOLDER",
              help="New or empty folder for the package. [default: fusion-NAME]")  # fmt: skip
@plugin_options
@click.pass_context
def command(ctx: click.Context, kind: str, name: str, folder: Path | None) -> None:
    """Create a package with a new plugin.

    KIND is strategy, balancer, extractor, branch, corpus, tracker or remedy. NAME is the name
    that users will type: lower-case letters, digits and underscores. The package holds a small
    working plugin, its tests, and everything needed to publish it. It can be installed and passes
    its tests without changes.
    """
    from ..scaffold.kinds import kind_of
    from ..scaffold.package import make_package

    kind_of(kind)  # before the plugins are loaded, so that a misspelt kind is reported early
    package = make_package(kind, name, folder=folder, registry=registry_from(ctx))
    click.echo(f"{package.names.distribution}: {kind} {name!r}, in {package.folder}\n")
    for file in package.files:
        click.echo(f"  {file}")
    click.echo("\nNext:\n")
    enter = [] if package.folder == Path() else [f"cd {shlex.quote(str(package.folder))}"]
    for line in (*enter, *package.commands):
        click.echo(f"  {line}")
