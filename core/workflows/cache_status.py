"""Reasons of cache hits and misses for the features of a recording or of a run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ...cache import FeatureCache, digest_many, digest_recording
from ...cache.upkeep.differences import Answer, Difference, Explainer, differences
from ..contracts import Clip
from ..contracts.errors import UserError
from ..data.extraction import fingerprint_of, origin_of, recording_at
from ..data.windows import find_windows, limited
from ..registry.registry import Registry
from ..runs.config import RunConfig
from ..runs.plan import check_owners, make_extractors, with_defaults
from ..runs.run import Run

_KEY = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Reason:
    """Reason of a cache hit or miss for one feature, with all recordings that have this reason.

    Attributes
    ----------
    feature : str
        Name of the feature.
    answer : Answer
        Hit or miss with its reason, taken from the first recording.
    names : tuple of str
        Names of all the recordings.
    """

    feature: str
    answer: Answer
    names: tuple[str, ...]


def why_clip(config: RunConfig, registry: Registry, clip: str) -> list[Reason]:
    """Return the reason of the cache hit or miss of each feature of a recording.

    A recording that a run would divide into windows has a reason for each group of windows.

    Parameters
    ----------
    config : RunConfig
        Configuration whose extractors define the features.
    clip : str
        Path of a recording, ``path#t=START,END`` for a part of it, or its key.

    Raises
    ------
    UserError
        If there is no such recording, or the configuration is invalid.
    """
    config = with_defaults(config, registry)
    check_owners(config, registry)
    key, origin = _key_of(clip)
    cache = FeatureCache(config.cache)
    extractors = make_extractors(config, registry)
    seconds = limited(extractors)
    windows = _windows_of(clip, seconds) if config.train.windows == "random" else {}
    reasons: list[Reason] = []
    for name, extractor in extractors.items():
        explainer = Explainer(cache, fingerprint_of(extractor))
        parts = windows if windows and name in seconds else {clip: (key, origin)}
        answers = [explainer.explain(*part) for part in parts.values()]
        reasons += _grouped(name, answers, list(parts))
    return reasons


def _windows_of(clip: str, seconds: Mapping[str, float]) -> dict[str, tuple[str, str]]:
    """Return the key and the origin of each window of a recording, by name; empty without windows.

    Parameters
    ----------
    seconds : mapping of str to float
        Result of :func:`limited` for the extractors.
    """
    place = recording_at(clip)
    example = Clip(place, clip, "", "", "")
    parts = find_windows([example], min(seconds.values(), default=None)).get(0, [])
    keys = digest_many([(part.path, part.start, part.end) for part in parts])
    return {
        f"{place.path}#t={part.start:g},{part.end:g}": (key, origin_of(part))
        for part, key in zip(parts, keys, strict=True)
    }


@dataclass(frozen=True)
class RunReasons:
    """Reasons of cache hits and misses for the features of a run.

    Attributes
    ----------
    reasons : list of Reason
        Reasons, grouped by feature. In each feature, the reason with the most clips comes first.
    changed : mapping of str to differences
        Features that would be computed differently now than when the run was made.
    absent : mapping of str to int
        Number of clips that lack each feature. `reasons` leaves out clips that lack the feature.
        Features that every clip has are left out.
    """

    reasons: list[Reason]
    changed: dict[str, tuple[Difference, ...]]
    absent: dict[str, int]


def why_run(run: Run, cache: str | None = None) -> RunReasons:
    """Return the reasons of cache hits and misses of each feature of a run, as computed today.

    Parameters
    ----------
    cache : str, optional
        Cache to search; by default the cache of the run.

    Raises
    ------
    UserError
        If a plugin of the run is missing.
    """
    config = run.config
    if cache is not None:
        config = replace(config, cache=cache)
    store = FeatureCache(config.cache)
    data = run.data
    reasons: list[Reason] = []
    changed: dict[str, tuple[Difference, ...]] = {}
    for name, extractor in make_extractors(config, run.registry).items():
        now = fingerprint_of(extractor)
        then = run.record.features[name].fingerprint(name)
        if now != then:
            changed[name] = differences(then, now)
        explainer = Explainer(store, now)
        arrays = data.arrays_of(name)
        answers = [explainer.explain(part.key, origin_of(part.recording)) for _, part in arrays]
        reasons += _grouped(name, answers, [clip.name for clip, _ in arrays])
    return RunReasons(reasons, changed, {m: int(f.sum()) for m, f in data.absent.items()})


def _grouped(feature: str, answers: Sequence[Answer], names: Sequence[str]) -> list[Reason]:
    """Group the recordings of a feature by cache answer, the largest group first.

    A recording with several windows is in a group once.
    """
    groups: dict[str, list[int]] = {}
    for number, answer in enumerate(answers):
        # Keys are texts: lists can't be dict keys, and the keys 1, 1.0 and True would be equal.
        key = repr((answer.kind, answer.differences, answer.url))
        groups.setdefault(key, []).append(number)
    return [
        Reason(feature, answers[members[0]], tuple(dict.fromkeys(names[n] for n in members)))
        for members in sorted(groups.values(), key=len, reverse=True)
    ]


def _key_of(clip: str) -> tuple[str, str]:
    recording = recording_at(clip)
    if recording.path.is_file():
        key = digest_recording(recording.path, recording.start, recording.end)
        return key, origin_of(recording)
    if _KEY.fullmatch(clip):
        return clip, ""
    if recording.path.is_dir():
        raise UserError(
            f"The folder {clip} is not a run directory: it has no run.json.",
            hint="Name a recording, its key (32 hexadecimal digits), or the folder of a run.",
        )
    raise UserError(
        f"The recording {clip} does not exist.",
        hint="Name a path, PATH#t=START,END for a part of it, a key, or a run directory.",
    )
