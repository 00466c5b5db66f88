"""Command line: each command parses its options, calls one function and prints the result.

``fusion --help`` imports neither torch nor any plugin. The module of a command is imported only
when the user calls the command.
"""

from __future__ import annotations

import errno
import importlib
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..contracts.errors import FusionError
from ..display.plain_text import echo, printable
from ..toolkit.torchrun import refuse_torchrun
from . import tracing
from .options import group_options, requests_of
from .options import plugin_options as plugin_options
from .output import warn

if TYPE_CHECKING:
    from ..registry.provenance import Guilt
    from ..registry.registry import Registry
    from ..runs.run import Run

# Module of each command, and the summary of the command in `fusion --help`.
COMMANDS = {
    "run": ("run", "Train baselines, fused model and ensemble, and compare them."),
    "compare": ("compare", "Compare strategies and balancers under one budget."),
    "audit": ("audit", "Measure how much speaker leakage inflates a model's scores."),
    "diagnose": ("diagnose", "Find out why fusion fails."),
    "repair": ("repair", "Improve a fused model by trying remedies, step by step."),
    "report": ("report", "Write an HTML report of a run, or compare several runs."),
    "predict": ("predict", "Label recordings with the chosen model of a run."),
    "explain": ("explain", "Measure the contribution of each modality and channel."),
    "cache": ("cache.commands", "Precompute, verify, prune and share cached features."),
    "plugins": ("plugins.commands", "List, describe, check and create plugins."),
}


_TRAINING = {"compare", "audit", "diagnose", "repair"}  # commands that train, in addition to `run`

# File system errors that the user can fix: no space left, or no permission.
_STORAGE = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}
_STORAGE_HINT = (
    "Free some space or correct the permissions. Finished trainings are kept: "
    "resume with fusion run --resume RUN."
)


class LazyGroup(click.Group):
    """Click group that imports the module of a command only when that command is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in the order of the help text."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command called `cmd_name`, or None if there is no such command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f".{COMMANDS[cmd_name][0]}", __name__)
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands with their summaries, without importing any command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that `args` name, or raise UnknownNameError if no command matches."""
        from ..contracts.errors import UnknownNameError

        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise UnknownNameError("command", args[0], COMMANDS, hint="fusion --help")
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@group_options
@click.version_option(package_name="modal-fusion", message="fusion %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Train, compare, diagnose and repair multimodal fusion, tested on held-out speakers.

    \b
    fusion run                              demo corpus, default methods
    fusion run --data PATH --strategy gated --balance gradscale
    """
    if ctx.invoked_subcommand in _TRAINING:
        refuse_torchrun(ctx.invoked_subcommand)
    if requests_of(ctx)["trace"] or tracing.requested_by_environment():
        tracing.start_trace(ctx)


def main(args: list[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(run_cli(args))


class _Terminated(KeyboardInterrupt):
    """Signal SIGTERM, for example from a cluster scheduler; handled in the same way as Ctrl-C."""


def _terminate(*_: object) -> None:
    raise _Terminated


def run_cli(args: list[str] | None = None) -> int:
    """Run the command line, print errors as messages, and return the exit code.

    The exit code is 0 for success, 1 for a failed run or check, and 2 for a user error.
    """
    arguments = sys.argv[1:] if args is None else args
    try:
        result = cli.main(arguments, prog_name="fusion", standalone_mode=False)
    except FusionError as error:
        from ..registry.provenance import note

        guilt = note(error)
        if "--debug" in arguments:
            raise
        _print_fusion_error(error, guilt)
        return error.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt) as error:
        return _interrupted(error)
    except click.ClickException as error:
        object.__setattr__(error, "message", printable(error.message))
        error.show()
        return error.exit_code
    except BrokenPipeError:
        # The program that reads the pipe, such as head or less, has ended. Python flushes stdout at
        # exit, which would fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        from ..registry.provenance import message_of, note

        guilt = note(error)
        stored = isinstance(error, OSError) and error.errno in _STORAGE
        if "--debug" in arguments or not (stored or guilt):
            raise
        if isinstance(error, OSError) and stored:
            _print_error(f"{error.filename or 'A file'}: {error.strerror}.", _STORAGE_HINT)
            return 2
        _print_error(message_of(error), _plugin_hint(guilt) if guilt else None)
        return 1
    return result if isinstance(result, int) else 0


def _print_error(message: str, hint: str | None, origin: str = "") -> None:
    mark = click.style("error: ", fg="red", bold=True, reset=True)
    click.echo(mark + printable(message), err=True)
    if origin:
        click.echo(click.style("from:  ", fg="cyan") + printable(origin), err=True)
    if hint:
        click.echo(click.style("hint:  ", fg="cyan") + printable(hint), err=True)


def _print_fusion_error(error: FusionError, guilt: Guilt | None) -> None:
    """Print an error of fusion, and the name of the third-party plugin that raised the error."""
    if guilt is None or guilt.source.built_in:
        _print_error(error.message, error.hint)
        return
    named = str(guilt.source) in error.message
    _print_error(error.message, error.hint or _plugin_hint(guilt), "" if named else str(guilt))


def _plugin_hint(guilt: Guilt) -> str:
    return f"Repeat the command with --debug to see the traceback. {guilt.source.remedy()}"


def _interrupted(error: BaseException) -> int:
    echo("\nInterrupted. Finished work is kept.", err=True)
    terminated = isinstance(error, _Terminated) or isinstance(error.__cause__, _Terminated)
    return 128 + (signal.SIGTERM if terminated else signal.SIGINT)


def open_run(ctx: click.Context, path: str) -> Run:
    """Open the run at `path`, with the plugins of this command's options.

    Raises
    ------
    RunError
        If the run needs a plugin that the options do not name.
    """
    from ..runs.run import Run

    run = Run.open(Path(path))
    run.registry = registry_of_stored(ctx, run.path, run.config.plugins)
    return run


def registry_of_stored(ctx: click.Context, folder: Path, stored: tuple[str, ...]) -> Registry:
    """Return a registry for the folder of a run, which requests the plugins in `stored`.

    Raises
    ------
    RunError
        If the folder requests a plugin that the options of this command do not name.
    """
    from ..runs.trust import confirmed_requests

    blocks = confirmed_requests(folder, stored, requests_of(ctx)["plugins"])
    return registry_from(ctx, blocks)


def named_plugins(ctx: click.Context) -> str:
    """Return the options that name this command's plugins, to be repeated when work is resumed."""
    return "".join(f" -p {shlex.quote(request)}" for request in requests_of(ctx)["plugins"])


def registry_from(
    ctx: click.Context, more: tuple[str, ...] = (), *, silent: bool = False
) -> Registry:
    """Return a registry built from this command's plugin options.

    Broken and deprecated plugins are reported on standard error. With `silent`, nothing is
    reported. `more` are further plugin requests.
    """
    from ..registry.registry import Registry

    options = requests_of(ctx)
    registry = Registry([*more, *options["plugins"]], strict=options["strict"])
    if silent:
        return registry
    for problem in registry.problems:
        warn(str(problem))
        click.echo(click.style("hint:    ", fg="cyan") + printable(problem.remedy), err=True)
    for deprecation in registry.deprecations:
        warn(str(deprecation))
    return registry


def refuse_with_resume(ctx: click.Context, allowed: set[str], work: str) -> None:
    """Raise UserError if an option given with --resume would change the resumed `work`.

    `work` is a noun for the message ("run", "comparison"). `allowed` are the parameter names of
    the options that may be given with --resume.
    """
    from ..contracts.errors import UserError

    refused = _options_beside(ctx, allowed)
    refused += ["--strict-plugins"] * requests_of(ctx)["strict"]
    if refused:
        raise UserError(
            f"{refused[0]} can't be given with --resume: a resumed {work} keeps its options.",
            hint=f"Leave out {refused[0]}, or start a new {work} without --resume.",
        )


def refuse_with_run(ctx: click.Context, allowed: set[str], settings: tuple[str, ...]) -> None:
    """Raise UserError if an option given with RUN would change the training settings of RUN.

    `settings` are the values of ``--set`` that would change the training. Values that the command
    uses itself, such as diagnosis thresholds, are not among them.
    """
    from ..contracts.errors import UserError

    refused = _options_beside(ctx, allowed) + ["--set"] * bool(settings)
    if refused:
        raise UserError(
            f"{refused[0]} can't be given with RUN, which has its own settings.",
            hint=f"Leave out {refused[0]}, or leave out RUN to train a new run.",
        )


def _options_beside(ctx: click.Context, allowed: set[str]) -> list[str]:
    """Return the long names of the options on the command line that are not in `allowed`."""
    command_line = click.core.ParameterSource.COMMANDLINE
    return [
        max(parameter.opts, key=len)
        for parameter in ctx.command.params
        if parameter.name in ctx.params
        and parameter.name not in allowed
        and ctx.get_parameter_source(parameter.name) is command_line
    ]
