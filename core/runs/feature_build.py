"""Features of a request's clips: computed where the cache lacks them, and what that leaves."""

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
    """What extraction left: the clips that have every feature, and what went wrong."""

    data: RunData
    report: BuildReport


def extract(
    plan: Plan, *, jobs: int | None = None, on_progress: OnProgress | None = None
) -> Extracted:
    """Make sure that every clip has its features in the cache; leave out clips that can't.

    A clip that lacks a modality stays, unless it lacks all of them.

    Raises
    ------
    CorpusError
        If no clip is left, or one failed and the configuration is strict; if no clip has a
        modality.
    SplitError
        If what is left, or what has a modality, is too little to train and choose on.
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
    splits = [split.where(usable) for split in plan.splits]
    if not usable.all():
        for split in splits:
            _check_parts(split, plan.dataset, report)
    kept = np.flatnonzero(usable).tolist()
    data = RunData(
        tuple(clips[i] for i in kept),
        tuple(keys[i] for i in kept),
        plan.dataset.targets()[kept],
        plan.dataset.classes,
        tuple(_renumber(split, kept) for split in splits),
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
    """Precompute the features of a corpus; needs no split and no model.

    Parameters
    ----------
    jobs, executor, scheduler
        Where to compute: see :func:`fusion.cache.open_workers`.
    part : (int, int)
        The i-th of n parts of the corpus, i from 1.

    Raises
    ------
    UserError
        For anything wrong with the request.
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
    """Compute what is missing in the cache. Returns each clip's key, and the report."""
    recordings = [clip.recording for clip in clips]
    states = [FileState.of(r.path) for r in recordings]  # before they are read
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
        if failure.reason.startswith(PluginError.__name__):  # no fault of the recording
            raise PluginError(failure.reason.partition(": ")[2])
    if report.failures and len({f.key for f in report.failures}) == len(set(keys)):
        raise CorpusError(
            f"No recording could be read. The first: {failure_text(report.failures[0])}"
        )
    return keys, report


def _leave_out(keys: set[str], report: BuildReport, *, strict: bool) -> None:
    """Count clips that have none of the features among the failures: there is nothing of them."""
    items = {item.key: item for item in report.absent if item.key in keys}
    report.failures.extend(items.values())
    if items and strict:
        first = next(iter(items.values()))
        raise CorpusError(
            f"{len(items)} recordings have none of the features. The first: {failure_text(first)}",
            hint="Without --strict they are left out.",
        )


def _check_parts(split: Split, dataset: Dataset, report: BuildReport) -> None:
    """A split that was fine can lose what it needs with the recordings that can't be read."""
    try:
        check_classes(split, dataset.clips, dataset.classes)
    except SplitError as error:
        count = len({item.key for item in report.failures})
        raise SplitError(
            f"{count} recordings can't be read or have none of the features, and without them: "
            f"{error.message}",
            hint=f"The first: {failure_text(report.failures[0])}",
        ) from error


def _renumber(split: Split, kept: Sequence[int]) -> Split:
    """The split over the clips `kept` alone, by their position there."""
    number = {clip: position for position, clip in enumerate(kept)}

    def part(indices: Indices) -> Indices:
        return np.array([number[int(i)] for i in indices], dtype=np.int64)

    return replace(split, train=part(split.train), val=part(split.val), test=part(split.test))
