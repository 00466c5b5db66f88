"""Command ``fusion predict``."""

from __future__ import annotations

import contextlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...cache.exchange.paths import is_file
from ..contracts.errors import ParameterError, StorageError
from ..display.plain_text import echo, printable
from . import open_run, plugin_options
from .options import json_option
from .output import echo_failure, warn

if TYPE_CHECKING:
    from ..contracts import Recording
    from ..runs.prediction import Prediction
    from ..runs.predictor import Predictor

Write = Callable[["Prediction"], None]
"""Function that prints or stores one prediction."""


@click.command("predict")
@click.argument("run", metavar="RUN")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--set", "settings", multiple=True, metavar="FEATURE.NAME=VALUE",
              help="Set a parameter of an extractor, such as precomputed.table=FILE, the table "
              "with the features of the new recordings.")  # fmt: skip
@click.option("--speaker-from", metavar="DIR",
              help="For a RUN trained with --adapt speaker: unlabelled recordings of the files' "
              "speaker. [default: the files, if there are four or more]")  # fmt: skip
@click.option("--windows", is_flag=True,
              help="Also print the predictions for the windows of long recordings, with times. "
              "With --csv: one row per window.")  # fmt: skip
@click.option("--csv", "csv_file", metavar="FILE|-",
              help="Write a CSV file instead of the table; - is standard output.")  # fmt: skip
@click.option("--timeline", metavar="FILE.svg|png",
              help="Draw the probabilities over time, one panel per long recording.")  # fmt: skip
@json_option("Print one JSON object per file, each on its own line.")
@plugin_options
@click.pass_context
def command(
    ctx: click.Context,
    run: str,
    files: tuple[str, ...],
    settings: tuple[str, ...],
    speaker_from: str | None,
    windows: bool,
    csv_file: str | None,
    timeline: str | None,
    as_json: bool,
) -> int:
    """Label recordings with the chosen model of RUN, the best on validation.

    FILE is a recording, a folder (all recordings below it), a quoted pattern such as '**/*.wav',
    or a table (.csv, .json, ...) with a column of paths and optional columns start and end.

    Prints one line per file: the file's name, the most probable class, and the probability of every
    class. A file that can't be read is reported, the remaining files are labelled, and the exit
    code is 2. A recording that lacks a modality is labelled without that modality; a warning at the
    end counts such recordings.

    If the model was trained on windows, a recording of at least 1.5 times the length that the
    model sees is labelled by the mean over windows.

    \b
    fusion predict runs/20260101-120000-gated new.wav --set precomputed.table=new.csv
    fusion predict runs/20260101-120000-gated new.wav --speaker-from recordings/anna
    fusion predict runs/20260101-120000-gated recordings --csv labels.csv
    fusion predict runs/20260101-120000-gated meeting.wav --windows --timeline meeting.svg
    """
    from ..registry.parameters import parse_settings
    from ..runs.prediction_files import find_recordings
    from ..runs.predictor import Predictor

    if as_json and csv_file is not None:
        raise ParameterError("--json and --csv can't be given together.")
    predictor = Predictor(open_run(ctx, run), settings=parse_settings(settings))
    if timeline is not None:
        _check_timeline(predictor, Path(timeline))
    request = find_recordings(files)
    read = [*files, *(str(recording.path) for recording in request.recordings)]
    read += [text.partition("=")[2] for text in settings]  # the table of precomputed features
    _check_output("--csv", csv_file, read)
    _check_output("--timeline", timeline, read)
    for warning in [*predictor.warnings, *filter(None, [request.note()])]:
        warn(warning)
    for name in request.empty:
        echo_failure(f"{name}: no recordings were found")
    adapt_and_report(predictor, request.recordings, speaker_from)
    drawn: list[Prediction] = []
    counts = Counter(failures=len(request.empty))
    with _output(predictor, request.recordings, windows, csv_file, as_json) as write:
        for prediction in predictor.predict(request.recordings):
            if prediction.error is None:
                counts["labelled"] += 1
                counts.update(f"no {modality}" for modality in prediction.lacking)
            else:
                counts["failures"] += 1
                echo_failure(prediction.error)
            if prediction.windows and timeline is not None:
                drawn.append(prediction)
            write(prediction)
    _report(predictor, counts)
    drawn_all = timeline is None or _draw(drawn, predictor.classes, Path(timeline))
    return 0 if drawn_all and not counts["failures"] else 2


def adapt_and_report(
    predictor: Predictor, files: Sequence[Path | Recording], speaker_from: str | None
) -> None:
    """Adapt `predictor` to the speaker of the files, and print the source of the statistics."""
    notes = predictor.adapt_to(files, Path(speaker_from) if speaker_from else None)
    for number, note in enumerate(notes):
        if speaker_from and number == 0:  # the user named this source, so a warning is not needed
            echo(note, err=True)
        else:
            warn(note)


def _report(predictor: Predictor, counts: Counter[str]) -> None:
    """Print how many recordings lack a modality, and how many are longer than the model sees."""
    for text, count in counts.items():
        if text.startswith("no "):
            warn(f"{count} of {counts['labelled']} recordings have {text}: labelled without it")
    if note := predictor.length_note():
        if predictor.divides:
            echo(note, err=True)
        else:
            warn(note)


def _check_output(option: str, file: str | None, read: Sequence[str]) -> None:
    """Raise ParameterError if the output would replace a file that the command reads."""
    if file is None or not is_file(Path(file)):
        return
    for name in read:
        if is_file(Path(name)) and Path(name).samefile(file):
            raise ParameterError(
                f"{option} {file} would overwrite {name}, which is read.",
                hint="Choose another name for the output.",
            )


# -- output --------------------------------------------------------------------------------------


@contextlib.contextmanager
def _output(
    predictor: Predictor,
    recordings: Sequence[Recording],
    windows: bool,
    csv_file: str | None,
    as_json: bool,
) -> Iterator[Write]:
    """Yield the function that prints or stores a prediction in the requested form."""
    writer: contextlib.AbstractContextManager[Write]
    if csv_file is not None:
        writer = _csv_output(predictor, windows, csv_file)
    elif as_json:
        writer = contextlib.nullcontext(_json_output(predictor))
    else:
        writer = contextlib.nullcontext(_table_output(predictor, recordings, windows))
    on_terminal = csv_file in (None, "-") and sys.stdout.isatty()  # the lines show the progress
    with writer as write, contextlib.ExitStack() as stack:
        if on_terminal or len(recordings) == 1:
            yield write
            return
        from ..display.progress import bar

        advance = stack.enter_context(bar("predict", keep_stdout=True))
        completed = 0

        def write_and_advance(prediction: Prediction) -> None:
            nonlocal completed
            write(prediction)
            completed += 1
            advance(completed, len(recordings))

        yield write_and_advance


@contextlib.contextmanager
def _csv_output(predictor: Predictor, windows: bool, file: str) -> Iterator[Write]:
    from ..display.predictions import PredictionCsv

    for sentence in predictor.task:
        echo(sentence, err=True)
    if file == "-":
        sys.stdout.flush()
        yield PredictionCsv(sys.stdout.buffer, predictor.classes, windows=windows).write
        sys.stdout.buffer.flush()
        return
    with _writable(file):
        stream = Path(file).open("wb")  # noqa: SIM115  (closed below)
    with stream:
        rows = PredictionCsv(stream, predictor.classes, windows=windows)

        def write(prediction: Prediction) -> None:
            with _writable(file):
                rows.write(prediction)

        yield write
    echo(f"predictions written to {printable(file)}", err=True)


@contextlib.contextmanager
def _writable(file: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{file} can't be written: {error.strerror or error}.") from error


def _json_output(predictor: Predictor) -> Write:
    from ..display.predictions import as_json

    task = {"task": predictor.task[0]} if predictor.task else {}
    return lambda prediction: click.echo(json.dumps({**as_json(prediction), **task}))


def _table_output(predictor: Predictor, recordings: Sequence[Recording], windows: bool) -> Write:
    from ..display.predictions import header_line, table_lines

    for sentence in predictor.task:
        echo(sentence)
    width = max(len(printable(str(recording.path))) for recording in recordings)
    width = max(width, len("  0:00.0 to 0:00.0")) if windows else width
    header: str | None = header_line(predictor.classes, width)

    def write(prediction: Prediction) -> None:
        nonlocal header
        if prediction.error is None:
            if header is not None:  # a table without lines has no header either
                echo(header)
                header = None
            for line in table_lines(prediction, predictor.classes, width, windows=windows):
                echo(line)

    return write


# -- the timeline --------------------------------------------------------------------------------


def _check_timeline(predictor: Predictor, file: Path) -> None:
    """Raise ParameterError if no timeline can be drawn, before recordings are labelled."""
    from ..display.timeline import check_timeline

    check_timeline(file)
    if predictor.window is None or not predictor.divides:
        reason = "was trained on the middles of recordings"
        if predictor.window is None:
            reason = "sees recordings of any length as a whole"
        raise ParameterError(
            f"--timeline can't be drawn: the model {reason}, so there are no windows.",
        )


def _draw(predictions: Sequence[Prediction], classes: Sequence[str], file: Path) -> bool:
    """Draw the timeline, and return True; report a failure if no recording has windows."""
    from ..display.timeline import PANELS, draw_timeline

    if not predictions:
        echo_failure(
            f"--timeline {file}: nothing was drawn, because no labelled recording is at least 1.5 "
            "times as long as the model sees"
        )
        return False
    draw_timeline(predictions[:PANELS], classes, file)
    shown = min(len(predictions), PANELS)
    recordings = "1 recording" if shown == 1 else f"{shown} recordings"
    echo(f"timeline of {recordings} written to {printable(str(file))}", err=True)
    if more := len(predictions) - shown:
        warn(f"{more} more long {'recording is' if more == 1 else 'recordings are'} not drawn")
    return True
