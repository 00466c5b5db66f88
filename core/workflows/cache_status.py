"""Why the features of a recording, or of a run, are in the cache or not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...cache import FeatureCache, digest_recording
from ...cache.upkeep.differences import Answer, Difference, Explainer, differences
from ..contracts.errors import UserError
from ..data.extraction import fingerprint_of, origin_of, recording_at
from ..registry.registry import Registry
from ..runs.config import RunConfig
from ..runs.plan import check_owners, make_extractors, with_defaults
from ..runs.run import Run

_KEY = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Reason:
    """What is true of one feature of some recordings.

    Attributes
    ----------
    feature : str
        Its name.
    answer : Answer
        Why, told of the first of them.
    names : tuple of str
        Of all of them.
    """

    feature: str
    answer: Answer
    names: tuple[str, ...]


def why_clip(config: RunConfig, registry: Registry, clip: str) -> list[Reason]:
    """For each feature: why it is there or not.

    Parameters
    ----------
    config : RunConfig
        What a run would ask for.
    clip : str
        A recording's path, ``path#t=START,END`` for a part of it, or its key.

    Raises
    ------
    UserError
        If there is no such recording, or something is wrong with the request.
    """
    config = with_defaults(config, registry)
    check_owners(config, registry)
    key, origin = _key_of(clip)
    cache = FeatureCache(config.cache)
    return [
        Reason(name, Explainer(cache, fingerprint_of(extractor)).explain(key, origin), (clip,))
        for name, extractor in make_extractors(config, registry).items()
    ]


@dataclass(frozen=True)
class RunReasons:
    """What is true of the features of a run.

    Attributes
    ----------
    reasons : list of Reason
        By feature, what is true of most clips first.
    changed : mapping of str to differences
        Features that would be made another way today than when the run was made.
    absent : mapping of str to int
        How many clips lack a feature, and are asked about it no more; only of features that some
        clip lacks.
    """

    reasons: list[Reason]
    changed: dict[str, tuple[Difference, ...]]
    absent: dict[str, int]


def why_run(run: Run, cache: str | None = None) -> RunReasons:
    """For each feature of a run, as it would be made today: what is there and what is not.

    Parameters
    ----------
    cache : str, optional
        Where to look; by default where the run did.

    Raises
    ------
    UserError
        If the run's plugins are not there.
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
        gone = data.absent.get(name)
        clips = [c for i, c in enumerate(data.clips) if gone is None or not gone[i]]
        answers = [
            explainer.explain(key, origin_of(clip.recording))
            for key, clip in zip(data.keys_of(name), clips, strict=True)
        ]
        reasons += _grouped(name, answers, [clip.name for clip in clips])
    return RunReasons(reasons, changed, {m: int(f.sum()) for m, f in data.absent.items()})


def _grouped(feature: str, answers: Sequence[Answer], names: Sequence[str]) -> list[Reason]:
    """Equal answers together, the most frequent first."""
    groups: dict[str, list[int]] = {}
    for number, answer in enumerate(answers):
        # As text: values may be lists, and 1, 1.0 and true are three of them.
        same = repr((answer.kind, answer.differences, answer.url))
        groups.setdefault(same, []).append(number)
    return [
        Reason(feature, answers[members[0]], tuple(names[n] for n in members))
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
            f"{clip} is a folder, but no run directory: it holds no run.json.",
            hint="Give a recording, its key (32 hexadecimal digits), or the folder of a run.",
        )
    raise UserError(
        f"There is no recording {clip}.",
        hint="Give a path, PATH#t=START,END for a part of it, a key, or a run directory.",
    )
