"""Options that several commands have."""

from __future__ import annotations

import click
from click.testing import CliRunner

from fusion.core.cli.options import group_options, plugin_options, requests_of, together


def test_options_stay_in_order() -> None:
    @click.command()
    @together(click.option("--first"), click.option("--second"))
    def command(first: str, second: str) -> None: ...

    assert [parameter.name for parameter in command.params] == ["first", "second"]


def test_plugin_options_are_accepted_before_and_after_the_command() -> None:
    @click.group()
    @group_options
    def group() -> None: ...

    @group.command()
    @plugin_options
    @click.pass_context
    def command(ctx: click.Context) -> None:
        click.echo(f"{requests_of(ctx)['plugins']} {requests_of(ctx)['strict']}")

    run = CliRunner().invoke
    output = run(group, ["-p", "a", "command", "-p", "b", "-p", "c", "--strict-plugins"]).output
    assert output == "('a', 'b', 'c') True\n"
    assert run(group, ["--strict-plugins", "command"]).output == "() True\n"
    assert run(group, ["command"]).output == "() False\n"  # earlier options are not kept
