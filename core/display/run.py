"""Terminal output of an experiment: progress on standard error, results on standard output."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from ...cache import FeatureCache
from ...cache.builds.progress import BuildReport
from ...cache.builds.progress import Progress as BuildProgress
from ..analysis.diagnosis import FILE as DIAGNOSIS
from ..analysis.diagnosis import Diagnosis, Finding
from ..analysis.report import REPORT, cautions
from ..contracts import Clip
from ..data.absence import absence_text
from ..data.features import Indices
from ..data.intake import Intake, intake_lines, intake_of
from ..data.labels import spellings_text
from ..data.speakers import is_unknown, merged_text
from ..data.split_modes import MODES, PARTS, Group, speaker_of
from ..data.splits import Split, divided_recordings
from ..data.task import adapted_line
from ..data.windows import LongClips
from ..runs.outcome.results import weights_text
from ..runs.outcome.selection import ENSEMBLE
from ..runs.plan import Plan
from ..runs.result_table import comparison_lines, result_table
from ..runs.trainings import CONTROL, FUSED, Training
from ..toolkit.run_files import read_json
from ..workflows.experiment import Observer, RunResult
from .build import (
    FAILURES_SHOWN,
    absent_lines,
    corpora_text,
    failed_recordings,
    fetched_text,
    problem_lines,
)
from .console import SafeConsole, new_console
from .findings import one_line
from .plain_tables import plain_table

_EXTRACT = "extracting"


class Display(Observer):
    """Progress of an experiment: bars on a terminal, plain lines elsewhere."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.console = SafeConsole(stderr=True, highlight=False, quiet=quiet)
        self._progress = Progress(
            TextColumn("{task.description:<18}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:>5.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            transient=True,
            disable=quiet or not self.console.is_terminal,
        )
        self._bars: dict[str, TaskID] = {}
        self._epochs: dict[Training, int] = {}
        self._trials = 1
        self._best: dict[Training, float] = {}
        self._upstream: object = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def planned(self, plan: Plan) -> None:
        """Print the corpora and the split."""
        self._upstream = FeatureCache(plan.config.cache).upstream
        self.say_corpora(plan)
        for name, extractor in plan.extractors.items():
            if extractor.note:
                self._say(f"[bold]{escape(name):<9}[/] {escape(extractor.note)}")
        self.say_split(plan)

    def say_corpora(self, plan: Plan) -> None:
        """Print the numbers of clips, speakers and clips per class, what is left out, and merges.

        Files and rows are left out because of their label or passed over by the corpus.
        """
        data = plan.dataset
        self._say(f"[bold]corpus[/]    {escape(corpora_text(data))}")
        for line in intake_lines(intake_of(data), "run.json"):
            self._say(f"          {escape(line)}")
        if plan.config.label_map:
            renamed = ", ".join(f"{own} -> {new}" for own, new in plan.config.label_map.items())
            self._say(f"          labels renamed: {escape(renamed)}")
        if data.spellings:
            self._say(f"          {escape(spellings_text(data.spellings))}")
        if data.merged_speakers:
            self._say(f"[yellow]          {escape(merged_text(data.merged_speakers))}[/]")

    def say_split(self, plan: Plan) -> None:
        """Print the clips and speakers of each part, missing classes, and caveats of the split."""
        data = plan.dataset
        parts = plan.splits[0].describe(data.clips)
        sizes = ", ".join(
            f"{part} {parts[part]['clips']} clips of {parts[part]['speakers']} speakers"
            for part in PARTS
        )
        of = f"{len(plan.splits)} folds; the first: " if len(plan.splits) > 1 else ""
        self._say(f"[bold]split[/]     {of}{sizes}")
        for part in ("val", "test"):
            lacking = [
                c for c in data.classes if any(_lacks(plan, c, s, part) for s in plan.splits)
            ]
            if lacking:
                part_text = f"{part} of some fold" if of else part
                names = escape(", ".join(lacking))
                self._say(f"[yellow]          no clip in {part_text}:[/] {names}")
        for line in _about_split(plan):
            self._say(f"[yellow]          {line}[/]")

    def extracting(self, progress: BuildProgress) -> None:
        """Update the bar of the extraction."""
        if progress.total:
            failed = f"{progress.failed} failed" if progress.failed else ""
            self._bar(_EXTRACT, progress.done, progress.total, failed)
        if progress.waiting:
            self._say(f"[yellow]          {escape(progress.waiting)}[/]")

    def extracted(self, report: BuildReport) -> None:
        """Print the numbers of computed, fetched and cached features, and the failed recordings."""
        if _EXTRACT in self._bars:
            self._progress.remove_task(self._bars.pop(_EXTRACT))
        computed = f"{report.computed} computed in {report.seconds:.1f} s, "
        counts = (computed if report.computed else "") + fetched_text(report, self._upstream)
        self._say(f"[bold]features[/]  {counts}{report.present} found in the cache")
        for line in absent_lines(report):
            self._say(f"[yellow]          {escape(line)}[/]")
        failed = failed_recordings(report)
        for text in failed[:FAILURES_SHOWN]:
            self._say(f"[yellow]          left out:[/] {escape(text)}")
        more = len(failed) - FAILURES_SHOWN
        if more > 0:
            self._say(f"          and {more} more, all listed in run.json")
        for line in problem_lines(report):
            self._say(line)

    def accounted(self, intakes: Sequence[Intake]) -> None:
        """Print the sums of the corpora again if some clips are unreadable."""
        for intake in intakes:
            if intake.unreadable:
                self._say(f"          {escape(intake.summary())}")

    def long_clips(self, counts: LongClips, clips: int) -> None:
        """Print how many clips are longer than what the features represent, and their use."""
        self._say(f"[bold]long clips[/]: {escape(counts.text(clips))}")

    def training(self, run: Path, epochs: Mapping[Training, int], trials: int = 1) -> None:
        """Print the number of models and their epochs, and start the bar of the models."""
        self._epochs = dict(epochs)
        self._trials = trials
        tuned = f", in {trials} trials each" if trials > 1 else ""
        self._say(f"[bold]training[/]  {len(epochs)} models{tuned}: {_budgets(epochs)}")
        self._bar("models", 0, len(epochs), "")

    def epoch(self, training: Training, record: Mapping[str, Any]) -> None:
        """Update the bar of a training."""
        best = max(self._best.get(training, 0.0), record["val_uar"])
        self._best[training] = best
        note = f"val UAR {100 * record['val_uar']:.1f}, best {100 * best:.1f}"
        trial = record.get("trial", 0)
        if self._trials > 1:
            note = f"trial {trial + 1} of {self._trials}, {note}"
        epochs = self._epochs[training]
        completed = trial * epochs + record["epoch"]
        self._bar(training.name, completed, self._trials * epochs, note)

    def trained(self, training: Training, summary: Mapping[str, Any]) -> None:
        """Print the best validation score of a training, with its epoch, time and size."""
        if training.name in self._bars:
            self._progress.remove_task(self._bars.pop(training.name))
        if "models" in self._bars:
            self._progress.advance(self._bars["models"])
        self._say(
            f"          {training.name:<18} best validation UAR {100 * summary['best_uar']:.1f} "
            f"at epoch {summary['best_epoch']} of {summary['epoch']}, "
            f"{summary['seconds']:.0f} s, {summary['parameters']:,} parameters"
            f"{escape(_tuned(summary))}"
        )

    def warned(self, message: str) -> None:
        """Print a warning."""
        self._say(f"[yellow]warning:[/] {escape(message)}")

    def evaluating(self) -> None:
        """Remove all bars."""
        for name in list(self._bars):
            self._progress.remove_task(self._bars.pop(name))

    def _say(self, text: str) -> None:
        # The terminal wraps long lines. A path that rich broke into two lines could not be copied.
        self.console.print(text, soft_wrap=True)

    def _bar(self, name: str, completed: int, total: int, note: str) -> None:
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(
                name, total=total, completed=completed, note=note
            )
        self._progress.update(self._bars[name], completed=completed, note=note)


def _budgets(epochs: Mapping[Training, int]) -> str:
    """Return epochs as text: ``"80 epochs each"``, or separate numbers for fused and control."""
    models = {training.model: count for training, count in epochs.items()}
    fused, control = models.pop(FUSED), models.pop(CONTROL, 0)
    alone = max(models.values())
    if fused == alone and not control:
        return f"{alone} epochs each"
    return f"baselines {alone} epochs, fused {fused} more, control {control}"


def _tuned(summary: Mapping[str, Any]) -> str:
    """Return the settings of the best tuning trial as text; empty without tuning."""
    if "trial" not in summary:
        return ""
    if summary["trial"] == 0:
        return f"; best of {summary['trials']} trials: the settings as given"
    chosen = ", ".join(
        f"{owner}.{name} {value:.3g}" if isinstance(value, float) else f"{owner}.{name} {value}"
        for owner, values in summary["settings"].items()
        for name, value in values.items()
    )
    return f"; best of {summary['trials']} trials: {chosen}"


def _lacks(plan: Plan, label: str, split: Split, part: str) -> bool:
    return all(plan.dataset.clips[i].label != label for i in getattr(split, part))


def _about_split(plan: Plan) -> list[str]:
    """Return caveats of the split: adaptation, tested corpora, speakers shared between parts."""
    clips, mode = plan.dataset.clips, MODES[plan.config.split]
    lines = [adapted_line(clips)] if plan.config.adapt == "speaker" else []
    if unknown := sum(is_unknown(clip) for clip in clips):
        return [*lines, f"speaker-dependent: the speakers of {unknown} clips are unknown, so test "
                "speakers may also be in training"]  # fmt: skip
    if mode.name == "corpus":
        tested = [", ".join(sorted({clips[i].corpus for i in s.test})) for s in plan.splits]
        lines.append(f"tested: {escape('; then '.join(tested))}")
    if mode.name == "published":
        return lines + _about_published(plan)
    if any(_in_both(clips, s.val, s.train, mode.group) for s in plan.splits):
        lines.append(f"validation: held-out speakers of the training {mode.units}")
    if not plan.splits[0].speaker_independent:
        shared, number = _shared_speakers(clips, plan.splits, [s.train for s in plan.splits])
        lines.append(f"speaker-dependent: {shared} of {number} test speakers are also in training")
    return lines


def _about_published(plan: Plan) -> list[str]:
    """Return the speakers and recordings that the parts of a published split share."""
    clips, splits = plan.dataset.clips, plan.splits
    earlier = [np.concatenate([s.train, s.val]) for s in splits]
    shared, number = _shared_speakers(clips, splits, earlier)
    lines = ["published split: speaker-independent, no test speaker is in training or validation"]
    if shared:
        lines = [f"published split, speaker-dependent: {shared} of {number} test speakers are also "
                 "in training or validation"]  # fmt: skip
    if any(_in_both(clips, s.val, s.train, speaker_of) for s in splits):
        lines.append("validation: training and validation share speakers")
    divided = divided_recordings(splits, plan.dataset.shared_recordings or ())
    if divided:
        names = " = ".join(f"{clips[i].corpus}/{clips[i].name}" for i in divided[0][:2])
        lines.append(
            f"recordings of which clips are in two parts: {len(divided)}; first: {escape(names)}"
        )
    return lines


def _shared_speakers(
    clips: Sequence[Clip], splits: Sequence[Split], earlier: Sequence[Indices]
) -> tuple[int, int]:
    """Return how many test speakers are in the earlier parts of their fold, and their number.

    A speaker is counted once, in whatever number of folds.
    """
    tested = {speaker_of(clips[i]) for s in splits for i in s.test}
    pairs = zip(splits, earlier, strict=True)
    shared = {person for s, one in pairs for person in _in_both(clips, s.test, one, speaker_of)}
    return len(shared), len(tested)


def _in_both(
    clips: Sequence[Clip], one: Indices, other: Indices, group: Callable[[Clip], Group]
) -> set[Group]:
    return {group(clips[i]) for i in one} & {group(clips[i]) for i in other}


def print_result(result: RunResult) -> None:
    """Print the table of results, the comparisons, the verdict, and the next commands."""
    console = new_console()
    results, record = result.results, result.run.record
    console.print()
    console.print(_table(result))
    console.print()
    for line in comparison_lines(results):
        console.print(escape(line))
    shares = weights_text(results)
    if shares:
        console.print(
            "share of each modality in the fused scores on test, mean ± sd over clips: "
            f"{escape(shares)}"
        )
    for line in absence_text(record.absent):
        console.print(line)
    console.print()
    console.print(Text(results.verdict, style="bold"))
    if record.config.tune:
        console.print(
            f"Each model was tuned on validation in {record.config.tune} trials: "
            f"{record.trainings} trainings."
        )
    for caution in cautions(record, results):
        console.print(f"[yellow]{caution}[/]")
    findings = _findings(result)
    plugins = escape(record.config.plugin_words())
    if findings:
        console.print(f"diagnosis: {one_line(findings)}")
        console.print(
            f"details of the diagnosis: fusion diagnose {escape(str(result.path))}{plugins}"
        )
    console.print(f"\nrun directory: {escape(str(result.path))}")
    speaker = " --speaker-from DIR" if record.config.adapt == "speaker" else ""
    console.print(
        f"label new recordings: fusion predict {escape(str(result.path))} FILE...{speaker}{plugins}"
    )
    if (result.path / REPORT).is_file():
        console.print(f"report: {escape(str(result.path / REPORT))}")


def _findings(result: RunResult) -> Sequence[Finding]:
    """Return the moderate and severe findings; empty if the run has no diagnosis."""
    path = result.path / DIAGNOSIS
    if not path.is_file():
        return ()
    diagnosis = Diagnosis.from_json(read_json(path), path)
    return [finding for finding in diagnosis.findings if finding.severity != "mild"]


def _table(result: RunResult) -> Table:
    content = result_table(result.results, result.run.record, result.path)
    table = plain_table(content.title, content.header)
    for number, row in enumerate(content.rows):
        style = "bold" if number in content.best else ""
        table.add_row(*row, style=style, end_section=row[0] == ENSEMBLE)
    return table
