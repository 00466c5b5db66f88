"""Terminal output of a build of features; a run prints the same lines."""

from __future__ import annotations

from collections import Counter

from rich.markup import escape

from ...cache import FeatureCache
from ...cache.builds.progress import BuildReport
from ..analysis.diagnosis import recording_warnings
from ..data.absence import lacking
from ..data.corpora import Dataset
from ..data.extraction import failure_text
from ..data.intake import intake_lines, intake_of
from ..data.speakers import is_unknown
from ..runs.feature_build import Built
from .console import new_console

FAILURES_SHOWN = 5  # recordings that failed, and problems of files, each


def corpora_text(data: Dataset) -> str:
    """Return the corpora with their numbers of clips, speakers and clips per class."""
    speakers = {(c.corpus, c.speaker) for c in data.clips if not is_unknown(c)}
    counts = Counter(clip.label for clip in data.clips)
    classes = ", ".join(f"{name} {counts[name]}" for name in data.classes)
    return (
        f"{', '.join(data.corpora)}: {len(data.clips)} clips, "
        f"{len(speakers) or 'unknown'} speakers; {classes}"
    )


def failed_recordings(report: BuildReport) -> list[str]:
    """Return one text for each recording that failed, with its different reasons."""
    reasons: dict[str, dict[str, None]] = {}
    for failure in report.failures:
        reasons.setdefault(failure.key, {})[failure_text(failure)] = None
    return ["; ".join(texts) for texts in reasons.values()]


def fetched_text(report: BuildReport, upstream: object) -> str:
    """Return the number of fetched features and where they came from; empty without any."""
    return f"{report.fetched} fetched from {escape(str(upstream))}, " if report.fetched else ""


def absent_lines(report: BuildReport) -> list[str]:
    """Return lines with the number of recordings that lack each feature."""
    return [f"{len(keys)} recordings have no {m}" for m, keys in lacking(report).items()]


def problem_lines(report: BuildReport) -> list[str]:
    """Return warnings of cache files that could not be used."""
    shown = [f"[yellow]warning:[/] {escape(p.line)}" for p in report.problems[:FAILURES_SHOWN]]
    more = len(report.problems) - len(shown)
    return [*shown, f"and {more} more: fusion cache verify"] if more > 0 else shown


def _failures(report: BuildReport) -> str:
    """Return the number of failed items, and of their recordings if this number differs."""
    items, recordings = len(report.failures), len(failed_recordings(report))
    of = f" (of {recordings} recordings)" if items != recordings else ""
    return f"{items} failed{of}"


def print_build(built: Built, cache: FeatureCache) -> None:
    """Print the corpora and their account, faults of recordings, and the numbers of features.

    The features were computed, fetched or found; the first recordings that failed are listed.
    """
    console = new_console()
    report = built.report
    console.print(f"corpus: {escape(corpora_text(built.dataset))}", soft_wrap=True)
    for line in intake_lines(intake_of(built.dataset, built.data.clips)):
        console.print(escape(line), soft_wrap=True)
    for line in recording_warnings(built.data, built.signals):
        console.print(f"[yellow]warning:[/] {escape(line)}", soft_wrap=True)
    failed = failed_recordings(report)
    for text in failed[:FAILURES_SHOWN]:
        console.print(f"[yellow]left out:[/] {escape(text)}", soft_wrap=True)
    if len(failed) > FAILURES_SHOWN:
        console.print(f"and {len(failed) - FAILURES_SHOWN} more")
    for line in problem_lines(report):
        console.print(line)
    for line in absent_lines(report):
        console.print(line)
    console.print(
        f"{report.computed} computed, {fetched_text(report, cache.upstream)}"
        f"{report.present} present already, "
        f"{_failures(report)}, in {report.seconds:.1f} s"
    )
    console.print(f"cache: {escape(str(cache.root))}")
