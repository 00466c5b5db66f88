"""Command ``fusion predict``."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..display.plain_text import printable
from . import open_run, plugin_options
from .options import json_option
from .output import echo_failure, warn

if TYPE_CHECKING:
    from ..runs.predictor import Predictor


@click.command("predict")
@click.argument("run", metavar="RUN")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--set", "settings", multiple=True, metavar="FEATURE.NAME=VALUE",
              help="Set a parameter of an extractor, such as precomputed.table=FILE, the table "
              "with the features of the new recordings.")  # fmt: skip
@click.option("--speaker-from", metavar="DIR",
              help="For a RUN trained with --adapt speaker: unlabelled recordings of the files' "
              "speaker. [default: the files, if there are four or more]")  # fmt: skip
@json_option("Print one JSON object per file, each on its own line.")
@plugin_options
@click.pass_context
def command(
    ctx: click.Context,
    run: str,
    files: tuple[str, ...],
    settings: tuple[str, ...],
    speaker_from: str | None,
    as_json: bool,
) -> int:
    """Label recordings with the chosen model of RUN, the best on validation.

    Prints one line per file: the file's name, the most probable class, and the probability of every
    class. A file that can't be read is reported, the remaining files are labelled, and the exit
    code is 2. A recording that lacks a modality is labelled without that modality; a warning at the
    end counts such recordings.

    \b
    fusion predict runs/20260101-120000-gated new.wav --set precomputed.table=new.csv
    fusion predict runs/20260101-120000-gated new.wav --speaker-from recordings/anna
    """
    from ..registry.parameters import parse_settings
    from ..runs.predictor import Predictor

    predictor = Predictor(open_run(ctx, run), settings=parse_settings(settings))
    for warning in predictor.warnings:
        warn(warning)
    names = [Path(name) for name in files]
    adapt_and_report(predictor, names, speaker_from)
    if predictor.task and not as_json:
        click.echo(predictor.task[0])
    width = max(len(printable(name)) for name in files)
    if not as_json:
        click.echo(f"{'file':<{width}}  {'label':<10}  " + "  ".join(
            f"{printable(name):>8}" for name in predictor.classes))  # fmt: skip
    task = {"task": predictor.task[0]} if predictor.task else {}
    failures = labelled = 0
    lacking: Counter[str] = Counter()
    for prediction in predictor.predict(names):
        if prediction.error is not None:
            failures += 1
            echo_failure(prediction.error)
        else:
            labelled += 1
            lacking.update(prediction.lacking)
        if as_json:
            click.echo(json.dumps({**_plain(prediction), **task}))
        elif prediction.error is None:
            shares = "  ".join(f"{prediction.probabilities[c]:8.3f}" for c in predictor.classes)
            name, label = printable(str(prediction.path)), printable(str(prediction.label))
            click.echo(f"{name:<{width}}  {label:<10}  {shares}")
    for modality, count in lacking.items():
        warn(f"{count} of {labelled} recordings have no {modality}: labelled without it")
    return 2 if failures else 0


def adapt_and_report(predictor: Predictor, files: list[Path], speaker_from: str | None) -> None:
    """Adapt `predictor` to the speaker of the files, and print the source of the statistics."""
    notes = predictor.adapt_to(files, Path(speaker_from) if speaker_from else None)
    for number, note in enumerate(notes):
        if speaker_from and number == 0:  # the user named this source, so a warning is not needed
            click.echo(note, err=True)
        else:
            warn(note)


def _plain(prediction: Any) -> dict[str, Any]:
    return {
        "file": str(prediction.path),
        "label": prediction.label,
        "probabilities": {c: round(p, 6) for c, p in prediction.probabilities.items()},
        "lacking": list(prediction.lacking),
        "error": prediction.error,
    }
