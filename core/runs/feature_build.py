"""Extraction of a corpus's features into the cache, and selection of the usable clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from ...cache import FeatureCache, Workers, open_workers
from ...cache.builds.builder import build
from ...cache.builds.executors import Kind
from ...cache.builds.journal import Purpose
from ...cache.builds.progress import BuildReport, Progress
from ...cache.builds.work import FileState, Item
from ...cache.fingerprint import digest_many
from ..contracts import Clip, Extractor, Recording
from ..contracts.errors import CorpusError, PluginError, SplitError
from ..data.absence import absent_of, check_absent
from ..data.corpora import Dataset
from ..data.dataset import RunData
from ..data.duplicates import items_by_place
from ..data.extraction import computation_of, failure_text, origin_of
from ..data.features import Indices
from ..data.intake import unreadable_counts
from ..data.signals import measured_signals
from ..data.splits import Split, check_classes
from ..data.windows import LongClips, Window, by_clip, find_windows, limited
from ..registry.registry import Registry
from ..registry.trace import during
from ..toolkit.signal import Signal
from .config import RunConfig
from .plan import Plan, check_owners, make_extractors, read_dataset, with_defaults

OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class Extracted:
    """Result of extraction.

    Attributes
    ----------
    data : RunData
        The usable clips.
    report : BuildReport
        Numbers of features, and failures.
    signals : mapping of str to Signal
        Measurements of the recordings, by key.
    unreadable : mapping of str to int
        Number of clips that were left out because they failed, by corpus.
    long_clips : LongClips or None
        Clips that are longer than what the features represent; None if there are none.
    """

    data: RunData
    report: BuildReport
    signals: Mapping[str, Signal] = field(default_factory=dict)
    unreadable: Mapping[str, int] = field(default_factory=dict)
    long_clips: LongClips | None = None


@dataclass(frozen=True)
class Built:
    """Result of a build: the data set as it was read, the usable clips, report and signals.

    Attributes
    ----------
    dataset : Dataset
        All clips that the corpora list.
    data : RunData
        The clips that did not fail, without a split.
    report : BuildReport
        Numbers of features, and failures.
    signals : mapping of str to Signal
        Measurements of the recordings, by key; empty for a part of a corpus.
    """

    dataset: Dataset
    data: RunData
    report: BuildReport
    signals: Mapping[str, Signal]


class BuiltFeatures(NamedTuple):
    """Features that a build computed or found.

    Attributes
    ----------
    keys : list of str
        Key of each clip.
    report : BuildReport
        Report of the build, with at most one failure per clip and feature.
    windows : dict
        Windows of each divided clip, by index of the clip.
    seconds : dict
        Longest part of a recording that one array represents, for features that have a limit.
    long : list of int
        Clips that are longer than that part, whether divided or not.
    """

    keys: list[str]
    report: BuildReport
    windows: dict[int, tuple[Window, ...]]
    seconds: dict[str, float]
    long: list[int]


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
        built = build_features(
            plan.config,
            plan.extractors,
            clips,
            on=on,
            purpose="run",
            on_progress=on_progress,
        )
    keys, report = built.keys, built.report
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
        windows := {
            number: built.windows[i]
            for number, i in enumerate(usable_indices)
            if i in built.windows
        },
        tuple(built.seconds) if windows else (),
    )
    check_absent(data.absent, data.splits, data.clips, data.classes)
    unreadable = unreadable_counts(plan.dataset, data.clips)
    long = len(set(built.long) & set(usable_indices))
    count = sum(len(own) for own in windows.values())
    long_clips = LongClips(built.seconds, long, count) if long else None
    return Extracted(data, report, _signals(plan.config, data), unreadable, long_clips)


def build_cache(
    config: RunConfig,
    registry: Registry,
    *,
    jobs: int | None = None,
    executor: Kind = "processes",
    scheduler: str | None = None,
    part: tuple[int, int] = (1, 1),
    on_progress: OnProgress | None = None,
) -> Built:
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
    dataset = read_dataset(config, registry)
    with open_workers(executor, jobs=jobs, scheduler=scheduler) as on:
        built = build_features(
            config, extractors, dataset.clips, on=on, part=part, on_progress=on_progress
        )
    keys, report = built.keys, built.report
    failed = {failure.key for failure in report.failures}
    usable = [i for i, key in enumerate(keys) if key not in failed]
    data = RunData(
        tuple(dataset.clips[i] for i in usable),
        tuple(keys[i] for i in usable),
        dataset.targets()[usable],
        dataset.classes,
        (),
    )
    whole = part == (1, 1)  # else each part would measure every recording
    return Built(dataset, data, report, _signals(config, data) if whole else {})


def _signals(config: RunConfig, data: RunData) -> dict[str, Signal]:
    """Return the measurements of the clips' recordings by key."""
    recordings = [clip.recording for clip in data.clips]
    return measured_signals(FeatureCache(config.cache), data.keys, recordings)


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
) -> BuiltFeatures:
    """Compute the features that the cache lacks.

    A clip that is longer than what an extractor's array represents is divided into windows, unless
    ``train.windows`` is "middle". Extractors without such a limit get the whole clip.

    Raises
    ------
    PluginError
        If an extractor fails for a reason other than the recording.
    CorpusError
        If no recording can be read.
    """
    seconds = limited(extractors)
    long = find_windows(clips, min(seconds.values(), default=None))
    items, windows = _items(clips, long if config.train.windows == "random" else {})
    by_window = [item for i, item in enumerate(items) for item in windows.get(i, (item,))]
    work = [
        (
            computation_of(extractor),
            by_window if name in seconds else items_by_place(extractor, clips, items),
        )
        for name, extractor in extractors.items()
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
    keys = [item.key for item in items]
    report, used = by_clip(
        report,
        keys,
        {i: [Window(item.source, item.key) for item in own] for i, own in windows.items()},
    )
    if report.failures and len({f.key for f in report.failures}) == len(set(keys)):
        raise CorpusError(
            f"No recording can be read. First failure: {failure_text(report.failures[0])}"
        )
    return BuiltFeatures(keys, report, used, seconds, list(long))


def _items(
    clips: Sequence[Clip], parts: Mapping[int, Sequence[Recording]]
) -> tuple[list[Item], dict[int, list[Item]]]:
    """Return the item of each clip, and the items of the windows of each divided clip.

    Parameters
    ----------
    parts : mapping
        Windows of each divided clip, by index of the clip.
    """
    recordings = [clip.recording for clip in clips]
    states = [FileState.of(r.path) for r in recordings]  # before any file is read
    own = [(index, part) for index, of_clip in parts.items() for part in of_clip]
    # All keys at once, so that a file with many windows is read once.
    every = [*recordings, *(part for _, part in own)]
    keys = digest_many([(r.path, r.start, r.end) for r in every])

    def item(index: int, key: str, recording: Recording) -> Item:
        clip = clips[index]
        return Item(key, recording, origin_of(recording), clip.corpus, states[index])

    items = [item(i, keys[i], recording) for i, recording in enumerate(recordings)]
    windows: dict[int, list[Item]] = {}
    for (index, part), key in zip(own, keys[len(clips) :], strict=True):
        windows.setdefault(index, []).append(item(index, key, part))
    return items, windows


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
