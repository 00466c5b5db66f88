"""Extraction of a corpus's features into the cache, and selection of the usable clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...cache import FeatureCache, Workers, open_workers
from ...cache.builds.builder import build
from ...cache.builds.executors import Kind
from ...cache.builds.journal import Purpose
from ...cache.builds.progress import BuildReport, Progress
from ...cache.builds.work import FileState, Item
from ...cache.fingerprint import digest_many
from ..contracts import Clip, Extractor
from ..contracts.errors import CorpusError, PluginError, SplitError
from ..data.absence import absent_of, check_absent
from ..data.corpora import Dataset
from ..data.dataset import RunData
from ..data.duplicates import items_by_place
from ..data.extraction import computation_of, failure_text, origin_of
from ..data.features import Indices
from ..data.splits import Split, check_classes
from ..registry.registry import Registry
from ..registry.trace import during
from .config import RunConfig
from .plan import Plan, check_owners, make_extractors, read_dataset, with_defaults

OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class Extracted:
    """Result of extraction: the usable clips and the build's report."""

    data: RunData
    report: BuildReport


def extract(
    plan: Plan, *, jobs: int | None = None, on_progress: OnProgress | None = None
) -> Extracted:
    """Compute the features that the cache lacks, and leave out the clips that fail.

    A clip that lacks some modalities is kept; a clip that lacks all modalities is left out.

    Raises
    ------
    CorpusError
        If no clip can be read, if a clip fails and the configuration is strict, or if no clip
        has a certain modality.
    SplitError
        If the remaining clips, or the clips that have a modality, lack classes in a part of the
        split.
    """
    clips = plan.dataset.clips
    with open_workers(jobs=jobs) as on:
        keys, report = build_features(
            plan.config,
            plan.extractors,
            clips,
            on=on,
            purpose="run",
            on_progress=on_progress,
        )
    absent = absent_of(report, keys)
    failed = {failure.key for failure in report.failures}
    usable = np.array([key not in failed for key in keys])
    if len(absent) == len(plan.extractors):
        without = np.logical_and.reduce(list(absent.values()))
        _leave_out({keys[i] for i in np.flatnonzero(without)}, report, strict=plan.config.strict)
        usable &= ~without
    splits = [split.restricted_to(usable) for split in plan.splits]
    if not usable.all():
        for split in splits:
            _check_parts(split, plan.dataset, report)
    usable_indices = np.flatnonzero(usable).tolist()
    data = RunData(
        tuple(clips[i] for i in usable_indices),
        tuple(keys[i] for i in usable_indices),
        plan.dataset.targets()[usable_indices],
        plan.dataset.classes,
        tuple(_renumber(split, usable_indices) for split in splits),
        {m: flags[usable] for m, flags in absent.items() if flags[usable].any()},
    )
    check_absent(data.absent, data.splits, data.clips, data.classes)
    return Extracted(data, report)


def build_cache(
    config: RunConfig,
    registry: Registry,
    *,
    jobs: int | None = None,
    executor: Kind = "processes",
    scheduler: str | None = None,
    part: tuple[int, int] = (1, 1),
    on_progress: OnProgress | None = None,
) -> BuildReport:
    """Compute the features of a corpus that the cache lacks, without a split or a model.

    Parameters
    ----------
    jobs, executor, scheduler
        Arguments of :func:`fusion.cache.open_workers`, which opens the workers.
    part : (int, int)
        (i, n): compute the i-th of n parts of the corpus, i from 1.

    Raises
    ------
    UserError
        If an option of the request is wrong.
    """
    config = with_defaults(config, registry)
    check_owners(config, registry)
    extractors = make_extractors(config, registry)
    clips = read_dataset(config, registry).clips
    with open_workers(executor, jobs=jobs, scheduler=scheduler) as on:
        return build_features(config, extractors, clips, on=on, part=part, on_progress=on_progress)[
            1
        ]


@during("extract")
def build_features(
    config: RunConfig,
    extractors: Mapping[str, Extractor],
    clips: Sequence[Clip],
    *,
    on: Workers,
    part: tuple[int, int] = (1, 1),
    purpose: Purpose = "build",
    on_progress: OnProgress | None,
) -> tuple[list[str], BuildReport]:
    """Compute the features that the cache lacks; return each clip's key and the report.

    Raises
    ------
    PluginError
        If an extractor fails for a reason other than the recording.
    CorpusError
        If no recording can be read.
    """
    recordings = [clip.recording for clip in clips]
    states = [FileState.of(r.path) for r in recordings]  # before any file is read
    keys = digest_many([(r.path, r.start, r.end) for r in recordings])
    items = [
        Item(key, clip.recording, origin_of(clip.recording), clip.corpus, state)
        for key, clip, state in zip(keys, clips, states, strict=True)
    ]
    work = [
        (computation_of(extractor), items_by_place(extractor, clips, items))
        for extractor in extractors.values()
    ]
    cache = FeatureCache(config.cache)
    report = build(
        cache,
        work,
        on=on,
        part=part,
        purpose=purpose,
        on_progress=on_progress,
        strict=config.strict,
    )
    for failure in report.failures:
        if failure.reason.startswith(PluginError.__name__):  # the plugin is wrong, not the file
            raise PluginError(failure.reason.partition(": ")[2])
    if report.failures and len({f.key for f in report.failures}) == len(set(keys)):
        raise CorpusError(
            f"No recording can be read. First failure: {failure_text(report.failures[0])}"
        )
    return keys, report


def _leave_out(keys: set[str], report: BuildReport, *, strict: bool) -> None:
    """Add the clips `keys`, which have none of the features, to the report's failures.

    Raises
    ------
    CorpusError
        If `keys` is not empty and the configuration is strict.
    """
    items = {item.key: item for item in report.absent if item.key in keys}
    report.failures.extend(items.values())
    if items and strict:
        first = next(iter(items.values()))
        raise CorpusError(
            f"{len(items)} recordings have none of the features. "
            f"First failure: {failure_text(first)}",
            hint="Without --strict these recordings are left out.",
        )


def _check_parts(split: Split, dataset: Dataset, report: BuildReport) -> None:
    """Raise SplitError if a split lacks classes because recordings were left out."""
    try:
        check_classes(split, dataset.clips, dataset.classes)
    except SplitError as error:
        count = len({item.key for item in report.failures})
        raise SplitError(
            f"{count} recordings can't be read or have none of the features. Without them: "
            f"{error.message}",
            hint=f"First of these recordings: {failure_text(report.failures[0])}",
        ) from error


def _renumber(split: Split, clips: Sequence[int]) -> Split:
    """Return the split with each clip's index replaced by its position in `clips`."""
    number = {clip: position for position, clip in enumerate(clips)}

    def part(indices: Indices) -> Indices:
        return np.array([number[int(i)] for i in indices], dtype=np.int64)

    return replace(split, train=part(split.train), val=part(split.val), test=part(split.test))
