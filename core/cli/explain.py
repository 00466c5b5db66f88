"""``fusion explain``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import open_run, plugin_options
from .options import json_option
from .output import echo_failure, echo_json, warn

if TYPE_CHECKING:
    from ..runs.run import Run


@click.command("explain")
@click.argument("run", metavar="RUN")
@click.option("--clip", "clips", multiple=True, metavar="FILE",
              help="A recording whose label is explained; may be repeated.")  # fmt: skip
@click.option("--speaker-from", metavar="DIR",
              help="With --clip, of a run with --adapt speaker: unlabelled recordings of the "
              "clips' one speaker. [default: the clips, if there are four or more]")  # fmt: skip
@click.option("--model", default="fused", show_default=True, metavar="fused|MODALITY",
              help="Which of the run's models.")  # fmt: skip
@click.option("--part", type=click.Choice(["test", "val"]), default="test", show_default=True,
              help="Which clips of each fold.")  # fmt: skip
@click.option("--axis", "axes", multiple=True, metavar="MODALITY=AXIS",
              help="Part a modality along another axis than channel.")  # fmt: skip
@click.option("--permutations", type=click.IntRange(min=1), default=10, show_default=True,
              metavar="N", help="How often each part is taken from other clips.")  # fmt: skip
@click.option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:N, mps. [default: the run's]")
@click.option("--jobs", type=click.IntRange(min=1), metavar="N",
              help="Folds at a time. [default: one per core, or one on a GPU]")  # fmt: skip
@click.option("--out", metavar="FILE",
              help="Where the figures go, as JSON. [default: RUN/explain.json; "
              "with --clip, nowhere]")  # fmt: skip
@json_option("Print the figures as JSON.")
@plugin_options
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> int:
    """Say what each modality, and each channel of it, brings to the models of RUN.

    Each fold's model explains that fold's test clips, in three ways: Shapley values of the
    modalities; what is lost when a part is at its training mean, or another clip's; integrated
    gradients. Nothing is trained.

    \b
    fusion explain runs/mine
    fusion explain runs/mine --model mel --axis mel=frequency
    fusion explain runs/mine --clip speech.wav
    """
    from ..contracts.errors import UserError

    run = open_run(ctx, options["run"])
    axes = _axes(options["axes"])
    if options["clips"]:
        return _clips(ctx, options, run, axes)
    if options["speaker_from"]:
        raise UserError(
            "--speaker-from is for recordings given with --clip; the run's own clips have their "
            "speakers.",
            hint="Leave it out, or add --clip FILE.",
        )
    return _run(options, run, axes)


def _axes(given: Sequence[str]) -> dict[str, str]:
    from ..contracts.errors import ParameterError

    found: dict[str, str] = {}
    for text in given:
        modality, equals, axis = text.partition("=")
        if not (modality and equals and axis):
            raise ParameterError(
                f"--axis takes MODALITY=AXIS, and was given {text!r}.",
                hint="For example: --axis mel=frequency",
            )
        if modality in found:
            raise ParameterError(f"--axis names {modality} twice: one axis at a time.")
        found[modality] = axis
    return found


def _run(options: dict[str, Any], run: Run, axes: dict[str, str]) -> int:
    from ..analysis.explain import FILE, check_finished, explain
    from ..display.explain import print_explanation
    from ..runs.execution.scheduler import default_jobs

    check_finished(run)
    out = Path(options["out"]) if options["out"] else run.path / FILE
    _check_folder(out)
    found = explain(
        run,
        model=options["model"],
        part=options["part"],
        axes=axes,
        device=options["device"],
        permutations=options["permutations"],
        jobs=options["jobs"] or default_jobs(options["device"] or run.config.device),
    )
    _write(out, found.to_json())
    if options["as_json"]:
        echo_json(found.to_json())
    else:
        print_explanation(found, out)
    return 0


# What --clip leaves nothing to choose of: it is about the model handed out, and one clip.
_RUN_ONLY = ("model", "part", "permutations", "jobs")


def _clips(ctx: click.Context, options: dict[str, Any], run: Run, axes: dict[str, str]) -> int:
    from ..analysis.explain.clips import ClipExplainer
    from ..contracts.errors import UserError
    from ..display.explain import print_clip, print_clip_notes
    from .predict import adapt_aloud

    command_line = click.core.ParameterSource.COMMANDLINE
    for name in _RUN_ONLY:
        if ctx.get_parameter_source(name) is command_line:
            raise UserError(
                f"--clip explains a recording by the model that the run handed out; "
                f"--{name} says nothing there.",
                hint=f"Leave out --{name}, or --clip.",
            )
    out = Path(options["out"] or "")
    if options["out"]:
        _check_folder(out)
    device = options["device"] or "auto"
    explainer = ClipExplainer(run, axes=axes, device=device)
    for warning in explainer.warnings:
        warn(warning)
    names = [Path(name) for name in options["clips"]]
    adapt_aloud(explainer, names, options["speaker_from"])
    rows: list[dict[str, Any]] = []
    for found in explainer.explain(names):
        rows.append(found.to_json())
        if found.error is not None:
            echo_failure(found.error)
        elif not options["as_json"]:
            print_clip(found)
    plain = {"run": options["run"], "notes": explainer.notes, "clips": rows}
    if options["as_json"]:
        echo_json(plain)
    elif any(row["error"] is None for row in rows):
        print_clip_notes(explainer.notes)
    if options["out"]:
        _write(out, plain)
    return 2 if any(row["error"] is not None for row in rows) else 0


def _check_folder(out: Path) -> None:
    """Before the long work."""
    from ..contracts.errors import UserError

    if not out.parent.is_dir() or out.is_dir():
        raise UserError(
            f"The figures can't be written to {out}: "
            + ("that is a folder." if out.is_dir() else f"there is no folder {out.parent}."),
            hint="Name a file in a folder that is there: --out FILE",
        )


def _write(path: Path, plain: dict[str, Any]) -> None:
    from ...cache.shards.files import written_whole

    with written_whole(path) as temporary:
        text = json.dumps(plain, indent=1, allow_nan=False) + "\n"
        temporary.write_text(text, encoding="utf-8")
