"""``fusion plugins new``."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from .. import plugin_options, registry_from


@click.command("new")
@click.argument("kind", metavar="KIND")
@click.argument("name")
@click.option("--dir", "folder", type=click.Path(path_type=Path), metavar="FOLDER",
              help="Where to put it, a new or empty folder. [default: fusion-NAME]")  # fmt: skip
@plugin_options
@click.pass_context
def command(ctx: click.Context, kind: str, name: str, folder: Path | None) -> None:
    """Make a package for a plugin of your own.

    KIND is strategy, balancer, extractor, branch, corpus, tracker or remedy. NAME is what users
    will type: lower case letters, digits, underscores. The package holds one small plugin that
    works, tests for it, and what is needed to publish it; it installs and passes its tests as
    it is.
    """
    from ..scaffold.kinds import kind_of
    from ..scaffold.package import make_package

    kind_of(kind)  # before the plugins are loaded: a misspelling is told at once
    made = make_package(kind, name, folder=folder, registry=registry_from(ctx))
    click.echo(f"{made.names.distribution}: {kind} {name!r}, in {made.folder}\n")
    for file in made.files:
        click.echo(f"  {file}")
    click.echo("\nNext:\n")
    enter = [] if made.folder == Path() else [f"cd {shlex.quote(str(made.folder))}"]
    for line in (*enter, *made.commands):
        click.echo(f"  {line}")
