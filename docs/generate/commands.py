"""Page docs/reference/commands.md: every command of `fusion` with its options, from click."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import click

from fusion.core.cli import cli

PAGE = Path(__file__).parents[1] / "reference/commands.md"
_HEAD = """# Commands

`fusion COMMAND --help` prints the same text. `python docs/generate` writes this page.
"""


def pages() -> dict[Path, str]:
    """Return the path and the text of the page."""
    return {PAGE: "\n".join([_HEAD, *_command(cli, _context(cli, "fusion"))])}


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    """Yield the Markdown of a command, then that of its subcommands."""
    yield f"## {context.command_path}\n"
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"```text\n{usage}\n```\n"
    yield _text(command.help or "")
    records = [r for p in command.get_params(context) if (r := p.get_help_record(context))]
    if records:
        yield "| option | meaning |\n|---|---|"
        yield "".join(f"| `{_cell(name)}` | {_cell(text)} |\n" for name, text in records)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from _command(below, _context(below, name, context))


def _context(
    command: click.Command, name: str, parent: click.Context | None = None
) -> click.Context:
    """Return the context in which a command prints its own help."""
    return command.make_context(name, [], parent=parent, resilient_parsing=True)


def _text(help_text: str) -> str:
    """Return a help text as Markdown; paragraphs that click does not wrap (\\b) become code."""
    parts = []
    for paragraph in inspect.cleandoc(help_text).split("\n\n"):
        if paragraph.startswith("\b"):
            parts.append(f"```sh\n{inspect.cleandoc(paragraph[1:].lstrip(chr(10)))}\n```")
        else:
            parts.append(paragraph)
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    """Return text for a cell of a table: no line breaks, no markup."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
