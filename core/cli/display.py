"""What a person sees of an experiment: progress on standard error, results on standard out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from ...cache import FeatureCache
from ...cache.builder import BuildReport
from ...cache.progress import Progress as BuildProgress
from ..experiment import Observer, RunResult
from ..extraction import failure_text
from ..prepare import Plan
from ..results import CHOSEN, SIGNIFICANT, p_text, points, smallest_p
from ..run_dir import PARTS
from ..splits import Split
from ..statistics import Comparison, Interval
from ..trainings import FUSED, Training

_FAILURES_SHOWN = 5
_EXTRACT = "extracting"


class Display(Observer):
    """Shows an experiment as it goes on. On a terminal with bars, elsewhere line by line."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.console = Console(stderr=True, highlight=False, quiet=quiet)
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
        self._epochs = 0
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
        self._upstream = FeatureCache(plan.config.cache).upstream
        data = plan.dataset
        speakers = {(clip.corpus, clip.speaker) for clip in data.clips}
        counts = Counter(clip.label for clip in data.clips)
        self._say(
            f"[bold]corpus[/]    {', '.join(data.corpora)}: {len(data.clips)} clips, "
            f"{len(speakers)} speakers; "
            + escape(", ".join(f"{name} {counts[name]}" for name in data.classes))
        )
        for corpus, dropped in data.dropped.items():
            if dropped:
                listed = ", ".join(f"{label} {n}" for label, n in dropped.items())
                self._say(f"          {corpus}: left out {sum(dropped.values())}: {escape(listed)}")
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
                where = f"{part} of some fold" if of else part
                names = escape(", ".join(lacking))
                self._say(f"[yellow]          no clip in {where}:[/] {names}")
        if not plan.splits[0].speaker_independent:
            self._say("[yellow]          speaker-dependent: speakers in several parts[/]")

    def extracting(self, progress: BuildProgress) -> None:
        if progress.total:
            failed = f"{progress.failed} failed" if progress.failed else ""
            self._bar(_EXTRACT, progress.done, progress.total, failed)

    def extracted(self, report: BuildReport) -> None:
        if _EXTRACT in self._bars:
            self._progress.remove_task(self._bars.pop(_EXTRACT))
        done = f"{report.computed} computed in {report.seconds:.1f} s, " if report.computed else ""
        done += _fetched(report, self._upstream)
        self._say(f"[bold]features[/]  {done}{report.present} found in the cache")
        for failure in report.failures[:_FAILURES_SHOWN]:
            self._say(f"[yellow]          left out:[/] {escape(failure_text(failure))}")
        more = len(report.failures) - _FAILURES_SHOWN
        if more > 0:
            self._say(f"          and {more} more, all listed in run.json")
        for line in _problems(report):
            self._say(line)

    def training(self, run: Path, trainings: Sequence[Training], epochs: int) -> None:
        self._epochs = epochs
        self._say(f"[bold]training[/]  {len(trainings)} models, {epochs} epochs each")
        self._bar("models", 0, len(trainings), "")

    def epoch(self, training: Training, record: Mapping[str, Any]) -> None:
        best = max(self._best.get(training, 0.0), record["val_uar"])
        self._best[training] = best
        note = f"val UAR {100 * record['val_uar']:.1f}, best {100 * best:.1f}"
        self._bar(training.name, record["epoch"], self._epochs, note)

    def trained(self, training: Training, summary: Mapping[str, Any]) -> None:
        if training.name in self._bars:
            self._progress.remove_task(self._bars.pop(training.name))
        if "models" in self._bars:
            self._progress.advance(self._bars["models"])
        self._say(
            f"          {training.name:<18} best validation UAR {100 * summary['best_uar']:.1f} "
            f"at epoch {summary['best_epoch']} of {summary['epoch']}, "
            f"{summary['seconds']:.0f} s, {summary['parameters']:,} parameters"
        )

    def warned(self, message: str) -> None:
        self._say(f"[yellow]warning:[/] {escape(message)}")

    def evaluating(self) -> None:
        for name in list(self._bars):
            self._progress.remove_task(self._bars.pop(name))

    def _say(self, text: str) -> None:
        # Left to the terminal to wrap: a path broken into lines can't be copied.
        self.console.print(text, soft_wrap=True)

    def _bar(self, name: str, done: int, total: int, note: str) -> None:
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(name, total=total, completed=done, note=note)
        self._progress.update(self._bars[name], completed=done, note=note)


def _lacks(plan: Plan, label: str, split: Split, part: str) -> bool:
    return all(plan.dataset.clips[i].label != label for i in getattr(split, part))


def new_console() -> Console:
    """Standard output; a file or pipe gets wide tables instead of folded ones."""
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = max(console.width, 120)
    return console


def print_result(result: RunResult) -> None:
    """The table, the comparisons, the verdict, and what to do next."""
    console = new_console()
    results, info = result.results, result.info
    console.print()
    console.print(_table(result))
    console.print()
    for name in (FUSED, CHOSEN):
        comparison = results.comparisons[name]
        if name == FUSED or comparison.difference:  # often the best single is handed out itself
            console.print(f"{name} minus {results.best_single}: {escape(_comparison(comparison))}")
    if len(results.weights) > 1:
        shares = ", ".join(f"{m} {100 * w:.0f} %" for m, w in results.weights.items())
        console.print(f"fusion weights on test: {shares}")
    console.print()
    console.print(Text(results.verdict, style="bold"))
    if not info["split"]["speaker_independent"]:
        console.print("[yellow]Speaker-dependent: test speakers were heard in training.[/]")
    elif smallest_p(results.comparisons[FUSED].groups) >= SIGNIFICANT:
        console.print("[yellow]With --folds K every speaker is tested.[/]")
    if info["synthetic"]:
        console.print(
            "[yellow]Generated voices: for trying the tool. "
            "These figures are evidence of nothing.[/]"
        )
    console.print(f"\nrun directory: {escape(str(result.path))}")
    console.print(f"label new recordings: fusion predict {escape(str(result.path))} FILE...")


def _table(result: RunResult) -> Table:
    results, folds = result.results, result.info["split"]["folds"]
    title = "on speakers never heard" if result.info["split"]["speaker_independent"] else (
        "SPEAKER-DEPENDENT"
    )  # fmt: skip
    table = Table(title=f"Test, {title} (%, with 95 % intervals)", title_justify="left", box=None,
                  pad_edge=False, header_style="bold", title_style="")  # fmt: skip
    table.add_column("model")
    for column in ("UAR", "WA", "macro-F1", "validation UAR"):
        table.add_column(column, justify="right")
    if folds > 1:
        table.add_column("UAR by fold, mean ± sd", justify="right")
    top = max(m.uar.value for m in results.models if m.name != CHOSEN)
    for model in results.models:
        row = [
            model.name,
            _interval(model.uar),
            _interval(model.accuracy),
            f"{100 * model.macro_f1:.1f}",
            f"{100 * model.val_uar:.1f}",
        ]
        if folds > 1:
            row.append(_mean_sd(model.fold_uar))
        style = "bold" if model.uar.value == top else ""
        table.add_row(*row, style=style, end_section=model.name == "ensemble")
    return table


def _mean_sd(values: Sequence[float]) -> str:
    mean = sum(values) / len(values)
    spread = (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5
    return f"{100 * mean:.1f} ± {100 * spread:.1f}"


def _interval(interval: Interval) -> str:
    if interval.groups < 2:
        return f"{100 * interval.value:.1f} (one speaker)"
    return f"{100 * interval.value:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def _comparison(c: Comparison) -> str:
    return (
        f"{points(c.difference)} points of UAR, 95 % interval "
        f"[{points(c.low)}, {points(c.high)}], p = {p_text(c.p_value)}"
    )


def _fetched(report: BuildReport, upstream: object) -> str:
    return f"{report.fetched} fetched from {escape(str(upstream))}, " if report.fetched else ""


def _problems(report: BuildReport) -> list[str]:
    """Files of the cache that could not be used, for people."""
    shown = [f"[yellow]warning:[/] {escape(p.line)}" for p in report.problems[:_FAILURES_SHOWN]]
    more = len(report.problems) - len(shown)
    return [*shown, f"and {more} more: fusion cache verify"] if more > 0 else shown


def print_build(report: BuildReport, cache: FeatureCache) -> None:
    """What a build did."""
    console = new_console()
    for failure in report.failures:
        console.print(f"[yellow]left out:[/] {escape(failure_text(failure))}")
    for line in _problems(report):
        console.print(line)
    console.print(
        f"{report.computed} computed, {_fetched(report, cache.upstream)}"
        f"{report.present} present already, "
        f"{len(report.failures)} failed, in {report.seconds:.1f} s"
    )
    console.print(f"cache: {escape(str(cache.root))}")
