"""Diagnosis rules on the recordings: silence, constant parts, clipping and copies.

The rules need clips, keys and measured signals, but no training. A run therefore applies them
before its trainings, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ...data.dataset import RunData
from ...data.split_modes import PARTS
from ...data.splits import Split
from ...toolkit.signal import STRETCH, Signal
from .findings import Finding, Severity
from .remedies import by_hand
from .thresholds import Thresholds

_SHOWN = 5  # maximum number of clips that a finding names
_FEWEST = 5  # minimum number of clips for figures by class and by part

Signals = Mapping[str, Signal]


def recording_findings(data: RunData, signals: Signals, t: Thresholds) -> list[Finding]:
    """Return the findings on the recordings of a data set, without remedies.

    Parameters
    ----------
    data : RunData
        Clips and keys; without splits, the parts are not compared.
    signals : mapping of str to Signal
        Measurements by key; clips without a measurement do not count.
    """
    rules = (silent, constant, clipped)
    findings = [finding for rule in rules for finding in rule(data, signals, t)]
    return [*findings, *duplicates(data, t)]


def recording_warnings(
    data: RunData, signals: Signals, thresholds: Thresholds | None = None
) -> list[str]:
    """Return one line for each moderate and severe finding, most important first."""
    findings = recording_findings(data, signals, thresholds or Thresholds())
    shown = sorted((f for f in findings if f.severity != "mild"), key=lambda f: f.rank)
    return [
        f"{f.title} ({f.severity}): {f.says} First: {', '.join(f.items)}. {by_hand(f.fault)}"
        for f in shown
    ]


# -- signals -------------------------------------------------------------------------


def silent(data: RunData, signals: Signals, t: Thresholds) -> Iterable[Finding]:
    """Report recordings without sound: silent, or with one value in all samples."""
    decibels = 20 * np.log10(t.silent_peak)
    yield from _affected(
        "silent",
        data,
        {key: signal.peak < t.silent_peak for key, signal in signals.items()},
        f"are silent or constant (peak around the mean below {t.silent_peak:g} of full scale, "
        f"{decibels:.0f} dB).",
        f"peak around the mean below silent_peak = {t.silent_peak:g} of full scale",
        t,
    )


def constant(data: RunData, signals: Signals, t: Thresholds) -> Iterable[Finding]:
    """Report recordings with sound that are constant for a large part of their length."""
    constants = {
        key: signal.constant >= t.constant_part and signal.peak >= t.silent_peak
        for key, signal in signals.items()
    }
    findings = _affected(
        "constant_parts",
        data,
        constants,
        f"have equal samples for {t.constant_part:.0%} of their length or more (zeros, padding "
        "or lost packets).",
        f"stretches of {1000 * STRETCH:.0f} ms or more of equal samples take constant_part = "
        f"{t.constant_part:g} of the length",
        t,
    )
    yield from (_at_most_moderate(finding) for finding in findings)


def clipped(data: RunData, signals: Signals, t: Thresholds) -> Iterable[Finding]:
    """Report recordings whose loud samples are cut off."""
    findings = _affected(
        "clipped",
        data,
        {key: signal.clipped > t.clipped_part for key, signal in signals.items()},
        f"are clipped: more than {t.clipped_part:.2%} of their samples are at full scale.",
        f"more than clipped_part = {t.clipped_part:g} of the samples at full scale",
        t,
    )
    yield from (_at_most_moderate(finding) for finding in findings)


def _at_most_moderate(finding: Finding) -> Finding:
    # The rest of such a recording can still be used.
    return replace(finding, severity="moderate") if finding.severity == "severe" else finding


def _affected(
    fault: str,
    data: RunData,
    flags: Mapping[str, bool],
    says: str,
    rule: str,
    t: Thresholds,
) -> Iterable[Finding]:
    """Yield a finding on the clips whose key has a true flag; clips without a flag don't count."""
    measured = np.array([key in flags for key in data.keys], dtype=np.bool_)
    has_fault = np.array([flags.get(key, False) for key in data.keys], dtype=np.bool_)
    count, total = int(has_fault.sum()), int(measured.sum())
    if not count:
        return
    classes = _by_class(data, has_fault, measured)
    parts = _by_part(data.splits, has_fault, measured)
    share = count / total
    uneven = _uneven_text("class", classes) + _uneven_text("part", parts)
    yield Finding(
        fault,
        _severity(share, [n / of for n, of in (*classes.values(), *parts.values())], t),
        f"{count} of {total} recordings ({share:.1%}) {says}{uneven if count >= _FEWEST else ''}",
        f"{rule}; severe above signal_share = {t.signal_share:g} of the recordings or half of a "
        f"class or part, moderate above {t.signal_share / 10:g} of the recordings or "
        f"{t.signal_share:g} of a class or part",
        None,
        {"recordings": count, "measured": total, "share": share},
        tuple(data.clips[i].name for i in np.flatnonzero(has_fault)[:_SHOWN]),
    )


def _severity(share: float, groups: Sequence[float], t: Thresholds) -> Severity:
    """Return the severity for a share of all clips, and the shares of the classes and parts."""
    worst = max(groups, default=0.0)
    if share > t.signal_share or worst > 0.5:
        return "severe"
    return "moderate" if share > t.signal_share / 10 or worst > t.signal_share else "mild"


Counts = dict[str, tuple[int, int]]  # affected and measured clips, by name


def _by_class(
    data: RunData, has_fault: npt.NDArray[np.bool_], measured: npt.NDArray[np.bool_]
) -> Counts:
    of_class = {name: data.targets == number for number, name in enumerate(data.classes)}
    return _counts(of_class, has_fault, measured)


def _by_part(
    splits: Sequence[Split], has_fault: npt.NDArray[np.bool_], measured: npt.NDArray[np.bool_]
) -> Counts:
    """Return the counts of the parts of a single split; the parts of folds overlap."""
    if len(splits) != 1:
        return {}
    number = np.arange(len(has_fault))
    of_part = {part: np.isin(number, getattr(splits[0], part)) for part in PARTS}
    return _counts(of_part, has_fault, measured)


def _counts(
    groups: Mapping[str, npt.NDArray[np.bool_]],
    has_fault: npt.NDArray[np.bool_],
    measured: npt.NDArray[np.bool_],
) -> Counts:
    counts = {
        name: (int((inside & has_fault).sum()), int((inside & measured).sum()))
        for name, inside in groups.items()
    }
    return {name: (affected, of) for name, (affected, of) in counts.items() if of >= _FEWEST}


def _uneven_text(group: str, counts: Counts) -> str:
    """Return the counts as a sentence if one group has twice the share of another, else ``""``."""
    shares = [affected / of for affected, of in counts.values()]
    if len(shares) < 2 or max(shares) < 2 * min(shares):
        return ""
    listed = ", ".join(f"{name} {affected} of {of}" for name, (affected, of) in counts.items())
    return f" By {group}: {listed}."


# -- copies --------------------------------------------------------------------------


def duplicates(data: RunData, t: Thresholds) -> Iterable[Finding]:
    """Report recordings that occur more than once."""
    by_key: dict[tuple[str, float, float | None], list[int]] = {}
    for i, (clip, key) in enumerate(zip(data.clips, data.keys, strict=True)):
        by_key.setdefault((key, clip.recording.start, clip.recording.end), []).append(i)
    groups = [tuple(group) for group in by_key.values() if len(group) > 1]
    if not groups:
        return
    more = sum(len(group) - 1 for group in groups)
    share = more / len(data.clips)
    labels = {group for group in groups if len({int(data.targets[i]) for i in group}) > 1}
    apart = {group for group in groups if any(_apart(group, split) for split in data.splits)}
    worst = bool(labels or apart) or share > t.duplicate_share
    # The names of the finding show the worst groups first.
    ordered = sorted(groups, key=lambda group: (group not in labels, group not in apart))
    says = [f"{more} clips ({share:.1%}) are byte-identical copies of other clips."]
    if labels:
        says.append(f"One recording, two labels: this is true of {len(labels)} of the recordings.")
    if apart:
        says.append(f"Recordings both in training and in validation or test: {len(apart)}.")
    yield Finding(
        "duplicates",
        "severe" if worst else "mild",
        " ".join(says),
        f"equal content digests; severe above {t.duplicate_share:.0%} of the clips, or if copies "
        "are on both sides of a split or have different labels",
        None,
        {"copies": more, "share": share, "across": len(apart), "conflicting": len(labels)},
        tuple(
            " = ".join(_named(data, i, with_label=group in labels) for i in group)
            for group in ordered[:_SHOWN]
        ),
    )


def _named(data: RunData, index: int, *, with_label: bool) -> str:
    clip = data.clips[index]
    return f"{clip.name} ({clip.label})" if with_label else clip.name


def _apart(group: tuple[int, ...], split: Split) -> bool:
    """Return True if copies of a clip are in the training part and another part of a split."""
    trained = np.isin(group, split.train)
    judged = np.isin(group, split.val) | np.isin(group, split.test)
    return bool(trained.any() and judged.any())
