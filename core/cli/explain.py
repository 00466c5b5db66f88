"""Command ``fusion explain``."""

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
              help="Explain the label of this recording, instead of the run. May be "
              "repeated.")  # fmt: skip
@click.option("--speaker-from", metavar="DIR",
              help="With --clip, for a RUN trained with --adapt speaker: unlabelled recordings of "
              "the clips' speaker. [default: the clips, if there are four or more]")  # fmt: skip
@click.option("--model", default="fused", show_default=True, metavar="fused|MODALITY",
              help="Model to explain.")  # fmt: skip
@click.option("--part", type=click.Choice(["test", "val"]), default="test", show_default=True,
              help="Clips of each fold to explain.")  # fmt: skip
@click.option("--axis", "axes", multiple=True, metavar="MODALITY=AXIS",
              help="Divide a modality along this axis, instead of its channels.")  # fmt: skip
@click.option("--permutations", type=click.IntRange(min=1), default=10, show_default=True,
              metavar="N", help="Number of permutations per modality or channel.")  # fmt: skip
@click.option("--device", metavar="NAME",
              help="Device: auto, cpu, cuda, cuda:N or mps. [default: the device of the "
              "run]")  # fmt: skip
@click.option("--jobs", type=click.IntRange(min=1), metavar="N",
              help="Number of folds to explain in parallel. [default: one per core; up to four on "
              "a GPU]")  # fmt: skip
@click.option("--out", metavar="FILE",
              help="JSON file to write. [default: RUN/explain.json; with --clip, "
              "none]")  # fmt: skip
@json_option("Print the figures as JSON.")
@plugin_options
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> int:
    """Measure what each modality, and each of its channels, contributes to the models of RUN.

    The model of each fold is explained on the test clips of that fold, in three ways: Shapley
    values of the modalities; the drop in UAR when a modality or channel is replaced by its mean
    over the training clips, or by its values in another clip (permutation importance); and
    integrated gradients. Nothing is trained.

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
            "--speaker-from needs --clip: the speakers of the run's clips are known.",
            hint="Leave out --speaker-from, or add --clip FILE.",
        )
    return _run(options, run, axes)


def _axes(options: Sequence[str]) -> dict[str, str]:
    from ..contracts.errors import ParameterError

    axes: dict[str, str] = {}
    for text in options:
        modality, equals, axis = text.partition("=")
        if not (modality and equals and axis):
            raise ParameterError(
                f"--axis must be MODALITY=AXIS, and is {text!r}.",
                hint="For example: --axis mel=frequency",
            )
        if modality in axes:
            raise ParameterError(f"--axis names {modality} twice: one axis at a time.")
        axes[modality] = axis
    return axes


def _run(options: dict[str, Any], run: Run, axes: dict[str, str]) -> int:
    from ..analysis.explain import FILE, check_finished, explain
    from ..display.explain import print_explanation
    from ..runs.execution.scheduler import default_jobs

    check_finished(run)
    out = Path(options["out"]) if options["out"] else run.path / FILE
    _check_folder(out)
    explanation = explain(
        run,
        model=options["model"],
        part=options["part"],
        axes=axes,
        device=options["device"],
        permutations=options["permutations"],
        jobs=options["jobs"] or default_jobs(options["device"] or run.config.device),
    )
    _write(out, explanation.to_json())
    if options["as_json"]:
        echo_json(explanation.to_json())
    else:
        print_explanation(explanation, out)
    return 0


# Options that are refused with --clip: they only affect the explanation of a whole run.
_RUN_ONLY = ("model", "part", "permutations", "jobs")


def _clips(ctx: click.Context, options: dict[str, Any], run: Run, axes: dict[str, str]) -> int:
    from ..analysis.explain.clips import ClipExplainer
    from ..contracts.errors import UserError
    from ..display.explain import print_clip, print_clip_notes
    from .predict import adapt_and_report

    command_line = click.core.ParameterSource.COMMANDLINE
    for name in _RUN_ONLY:
        if ctx.get_parameter_source(name) is command_line:
            raise UserError(
                f"--{name} has no effect with --clip, which explains the chosen model of the run "
                "on single recordings.",
                hint=f"Leave out --{name}, or leave out --clip.",
            )
    out = Path(options["out"] or "")
    if options["out"]:
        _check_folder(out)
    device = options["device"] or "auto"
    explainer = ClipExplainer(run, axes=axes, device=device)
    for warning in explainer.warnings:
        warn(warning)
    names = [Path(name) for name in options["clips"]]
    adapt_and_report(explainer, names, options["speaker_from"])
    rows: list[dict[str, Any]] = []
    for explanation in explainer.explain(names):
        rows.append(explanation.to_json())
        if explanation.error is not None:
            echo_failure(explanation.error)
        elif not options["as_json"]:
            print_clip(explanation)
    plain = {"run": options["run"], "notes": explainer.notes, "clips": rows}
    if options["as_json"]:
        echo_json(plain)
    elif any(row["error"] is None for row in rows):
        print_clip_notes(explainer.notes)
    if options["out"]:
        _write(out, plain)
    return 2 if any(row["error"] is not None for row in rows) else 0


def _check_folder(out: Path) -> None:
    """Raise UserError if `out` can't be written, before the explanation is computed."""
    from ..contracts.errors import UserError

    if not out.parent.is_dir() or out.is_dir():
        raise UserError(
            f"The figures can't be written to {out}: "
            + ("it is a folder." if out.is_dir() else f"the folder {out.parent} does not exist."),
            hint="Name a file in an existing folder: --out FILE",
        )


def _write(path: Path, plain: dict[str, Any]) -> None:
    from ...cache.shards.files import written_whole

    with written_whole(path) as temporary:
        text = json.dumps(plain, indent=1, allow_nan=False) + "\n"
        temporary.write_text(text, encoding="utf-8")
