"""The command line: thin commands that parse, call one function and print.

``fusion --help`` imports neither torch nor any plugin: each command's module is loaded when
the command is named.
"""

from __future__ import annotations

import errno
import importlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..contracts.errors import FusionError
from ..display.plain_text import printable
from ..toolkit.torchrun import refuse_torchrun
from . import tracing
from .options import group_options, requests_of
from .options import plugin_options as plugin_options
from .output import warn

if TYPE_CHECKING:
    from ..registry.provenance import Guilt
    from ..runs.run import Run

# Command -> module and its line in `fusion --help`.
COMMANDS = {
    "run": ("run", "Train baselines, fused model and ensemble; say which is best."),
    "compare": ("compare", "Compare strategies and balancers on equal terms."),
    "audit": ("audit", "The same model under several splits: what a leak is worth."),
    "diagnose": ("diagnose", "Find out why a fusion fails."),
    "repair": ("repair", "Mend a fusion, step by step."),
    "report": ("report", "A run on one page, or several runs side by side."),
    "predict": ("predict", "Label recordings with the model that a run handed out."),
    "explain": ("explain", "What each modality and channel brings to a run's models."),
    "cache": ("cache.commands", "Precompute features, keep them sound and in bounds, share them."),
    "plugins": ("plugins.commands", "List plugins, show what they are, and what they take."),
}


_TRAINING = {"compare", "audit", "diagnose", "repair"}  # besides run

# What the machine refuses, which the user can mend.
_STORAGE = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}
_STORAGE_HINT = (
    "Free some space or mend the permissions. What was finished is kept: "
    "go on with fusion run --resume RUN."
)


class LazyGroup(click.Group):
    """A group that imports a command when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f".{COMMANDS[cmd_name][0]}", __name__)
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from ..contracts.errors import UnknownNameError

        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise UnknownNameError("command", args[0], COMMANDS, hint="fusion --help")
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@group_options
@click.version_option(package_name="modal-fusion", message="fusion %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Multimodal fusion that works, and proves it on held-out speakers.

    \b
    fusion run                              the demo corpus, default methods
    fusion run --data PATH --strategy gated --balance gradscale
    """
    if ctx.invoked_subcommand in _TRAINING:
        refuse_torchrun(ctx.invoked_subcommand)
    if requests_of(ctx)["trace"] or tracing.asked_for():
        tracing.start_trace(ctx)


def main(args: list[str] | None = None) -> None:
    """Entry point: turns errors into messages and exit codes."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(run_cli(args))


class _Terminated(KeyboardInterrupt):
    """A scheduler ends us (scancel, a time limit): as orderly as Ctrl-C."""


def _terminate(*_: object) -> None:
    raise _Terminated


def run_cli(args: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 fine, 1 a run failed, 2 user mistake."""
    given = sys.argv[1:] if args is None else args
    try:
        result = cli.main(given, prog_name="fusion", standalone_mode=False)
    except FusionError as error:
        from ..registry.provenance import note

        guilt = note(error)
        if "--debug" in given:
            raise
        _say_fusion_error(error, guilt)
        return error.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt) as error:
        return _interrupted(error)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:
        # The reader (head, less) has gone; writing to it again at exit would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        from ..registry.provenance import message_of, note

        guilt = note(error)
        stored = isinstance(error, OSError) and error.errno in _STORAGE
        if "--debug" in given or not (stored or guilt):
            raise
        if isinstance(error, OSError) and stored:
            _say_error(f"{error.filename or 'A file'}: {error.strerror}.", _STORAGE_HINT)
            return 2
        _say_error(message_of(error), _where(guilt) if guilt else None)
        return 1
    return result if isinstance(result, int) else 0


def _say_error(message: str, hint: str | None, origin: str = "") -> None:
    mark = click.style("error: ", fg="red", bold=True, reset=True)
    click.echo(mark + printable(message), err=True)
    if origin:
        click.echo(click.style("from:  ", fg="cyan") + origin, err=True)
    if hint:
        click.echo(click.style("hint:  ", fg="cyan") + printable(hint), err=True)


def _say_fusion_error(error: FusionError, guilt: Guilt | None) -> None:
    """What was raised on purpose, and by whom where that is somebody else's plugin."""
    if guilt is None or guilt.source.built_in:
        _say_error(error.message, error.hint)
        return
    said = str(guilt.source) in error.message
    _say_error(error.message, error.hint or _where(guilt), "" if said else str(guilt))


def _where(guilt: Guilt) -> str:
    return f"The same with --debug shows the traceback. {guilt.source.remedy()}"


def _interrupted(error: BaseException) -> int:
    click.echo("\nInterrupted. What was finished is kept.", err=True)
    terminated = isinstance(error, _Terminated) or isinstance(error.__cause__, _Terminated)
    return 128 + (signal.SIGTERM if terminated else signal.SIGINT)


def open_run(ctx: click.Context, path: str) -> Run:
    """The run at `path`, with its own plugins and those of this command's options."""
    from ..runs.run import Run

    run = Run.open(Path(path))
    run.registry = registry_from(ctx, run.config.plugins)
    return run


def registry_from(ctx: click.Context, more: tuple[str, ...] = (), *, silent: bool = False) -> Any:
    """The registry for this command's plugin options; problems go to standard error.

    `more` are requests that a run was made with. `silent` leaves the problems to the caller.
    """
    from ..registry.registry import Registry

    options = requests_of(ctx)
    registry = Registry([*more, *options["plugins"]], strict=options["strict"])
    if silent:
        return registry
    for problem in registry.problems:
        warn(str(problem))
        click.echo(click.style("hint:    ", fg="cyan") + problem.remedy, err=True)
    for deprecation in registry.deprecations:
        warn(str(deprecation))
    return registry


def refuse_with_resume(ctx: click.Context, allowed: set[str], what: str) -> None:
    """Raise for an option beside --resume that would change the `what` that is gone on with."""
    from ..contracts.errors import UserError

    given = _given(ctx, allowed)
    options = requests_of(ctx)
    given += ["-p"] * bool(options["plugins"]) + ["--strict-plugins"] * options["strict"]
    if given:
        raise UserError(
            f"--resume goes on with a {what} as it was asked for; {given[0]} would change it.",
            hint=f"Leave it out, or start a new {what} without --resume.",
        )


def refuse_with_run(ctx: click.Context, allowed: set[str], settings: tuple[str, ...]) -> None:
    """Raise for an option beside RUN that says what to train: the run has its own.

    `settings` are those of ``--set`` that are none of the command's own.
    """
    from ..contracts.errors import UserError

    given = _given(ctx, allowed) + ["--set"] * bool(settings)
    if given:
        raise UserError(
            f"RUN has settings of its own; {given[0]} is for a new run.",
            hint="Leave it out, or leave RUN out and give the options of fusion run.",
        )


def _given(ctx: click.Context, allowed: set[str]) -> list[str]:
    """Options of the command line that are not in `allowed`, as they are typed."""
    command_line = click.core.ParameterSource.COMMANDLINE
    return [
        max(parameter.opts, key=len)
        for parameter in ctx.command.params
        if parameter.name in ctx.params
        and parameter.name not in allowed
        and ctx.get_parameter_source(parameter.name) is command_line
    ]
