"""Diagnosis rules on recordings: silence, constant parts, clipping, and copies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from run_by_hand import evidence

from fusion.core.analysis.diagnosis import Thresholds, judge, recording_warnings
from fusion.core.analysis.diagnosis.findings import Finding
from fusion.core.analysis.diagnosis.recording_rules import recording_findings
from fusion.core.data.dataset import RunData
from fusion.core.toolkit.signal import Signal

T = Thresholds()
SOUND = Signal(4.0, 0.3, 0.05, 0.0, 0.1)
SILENCE = Signal(4.0, 0.0, 0.0, 0.0, 1.0)
CLIPPED = replace(SOUND, clipped=0.02)
PADDED = replace(SOUND, constant=0.6)
# 240 clips of four classes in turn: 120 for training, 60 for validation, 60 for test.
DATA = evidence().data


def findings(changed: Mapping[int, Signal], data: RunData = DATA) -> list[Finding]:
    return recording_findings(data, {k: changed.get(i, SOUND) for i, k in enumerate(DATA.keys)}, T)


def test_recordings_with_sound_have_no_finding() -> None:
    assert findings({}) == [] and recording_findings(DATA, {}, T) == []


def test_half_of_the_recordings_silent_is_severe() -> None:
    (finding,) = findings(dict.fromkeys(range(120), SILENCE))
    assert (finding.fault, finding.severity) == ("silent", "severe")
    assert finding.numbers == {"recordings": 120, "measured": 240, "share": 0.5}
    assert finding.says == (
        "120 of 240 recordings (50.0%) are silent or constant (peak around the mean below 0.001 of "
        "full scale, -60 dB). "
        "By part: train 120 of 120, val 0 of 60, test 0 of 60."
    )
    assert finding.items == ("s0/0", "s0/1", "s0/2", "s0/3", "s0/4")


@pytest.mark.parametrize(
    ("count", "severity"), [(1, "mild"), (2, "mild"), (3, "moderate"), (24, "moderate"),
                            (25, "severe")],
)  # fmt: skip
def test_the_share_of_silent_recordings_decides(count: int, severity: str) -> None:
    spread = [10 * i + i % 4 for i in range(24)] + [1]  # evenly over classes and parts
    (finding,) = findings(dict.fromkeys(spread[:count], SILENCE))
    assert finding.severity == severity and finding.numbers["recordings"] == count


def test_a_class_that_is_mostly_silent_is_severe_and_named() -> None:
    sizes = Signal(4.0, 0.0009, 0.0001, 0.0, 0.0)  # hiss of a muted microphone
    data = replace(DATA, targets=DATA.targets.copy())
    data.targets[:] = 0
    data.targets[:10] = 3
    (finding,) = findings(dict.fromkeys(range(6), sizes), data)
    assert finding.severity == "severe" and finding.numbers["share"] == 0.025
    assert "By class: c0 0 of 230, c3 6 of 10." in finding.says


def test_unmeasured_recordings_do_not_count() -> None:
    (finding,) = recording_findings(DATA, {"0": SILENCE, "1": SOUND}, T)
    assert finding.says.startswith("1 of 2 recordings (50.0%) are silent or constant")


def test_constant_parts_and_clipping_are_moderate_at_most() -> None:
    padded, clipped = findings({i: PADDED if i % 2 else CLIPPED for i in range(240)})
    assert (padded.fault, padded.severity) == ("constant_parts", "moderate")
    assert padded.says.startswith(
        "120 of 240 recordings (50.0%) have equal samples for 50% of their length or more"
    )
    assert (clipped.fault, clipped.severity) == ("clipped", "moderate")
    assert clipped.says.startswith(
        "120 of 240 recordings (50.0%) are clipped: more than 0.10% of their samples are at full "
        "scale. By class: c0 60 of 60, c1 0 of 60"
    )
    (rare,) = findings({7: CLIPPED})
    assert rare.severity == "mild"


def test_silent_recordings_are_not_reported_as_constant_again() -> None:
    assert [finding.fault for finding in findings({0: SILENCE})] == ["silent"]


def test_thresholds_decide() -> None:
    signals = dict.fromkeys(DATA.keys, replace(SOUND, peak=0.01, clipped=0.0005, constant=0.4))
    assert recording_findings(DATA, signals, T) == []
    strict = Thresholds(silent_peak=0.02, clipped_part=0.0001, constant_part=0.3)
    faults = [finding.fault for finding in recording_findings(DATA, signals, strict)]
    assert faults == ["silent", "clipped"]  # a silent recording is not constant, too


# -- copies --------------------------------------------------------------------------


def copied(*pairs: tuple[int, int]) -> RunData:
    keys = [str(i) for i in range(240)]
    for original, copy in pairs:
        keys[copy] = keys[original]
    return replace(DATA, keys=tuple(keys))


def test_copies_in_one_part_with_one_label_are_mild() -> None:
    (finding,) = recording_findings(copied((0, 4)), {}, T)
    assert (finding.fault, finding.severity) == ("duplicates", "mild")
    assert finding.items == ("s0/0 = s0/4",)
    assert finding.numbers == {"copies": 1, "share": 1 / 240, "across": 0, "conflicting": 0}


def test_copies_across_the_parts_of_a_split_are_severe() -> None:
    (finding,) = recording_findings(copied((0, 4), (2, 238)), {}, T)
    assert finding.severity == "severe" and finding.numbers["across"] == 1
    assert finding.items[0] == "s0/2 = s11/18"
    assert "Recordings both in training and in validation or test: 1." in finding.says


def test_one_recording_with_two_labels_is_severe_and_shows_the_labels() -> None:
    (finding,) = recording_findings(copied((0, 4), (8, 9)), {}, T)
    assert finding.severity == "severe" and finding.numbers["conflicting"] == 1
    assert finding.items == ("s0/8 (c0) = s0/9 (c1)", "s0/0 = s0/4")
    assert "One recording, two labels: this is true of 1 of" in finding.says


def test_many_copies_are_severe() -> None:
    pairs = [(i, i + 4) for i in range(236) if i % 8 < 4]
    (finding,) = recording_findings(replace(copied(*pairs), splits=()), {}, T)
    assert finding.severity == "severe" and finding.numbers["across"] == 0


# -- before and after a run ----------------------------------------------------------


def test_warnings_before_a_run_name_clips_and_the_remedy() -> None:
    signals = {k: SILENCE if int(k) < 120 else SOUND for k in DATA.keys}
    signals["239"] = CLIPPED  # mild: no warning
    (line,) = recording_warnings(DATA, signals)
    assert line.startswith(
        "Silent or constant recordings (severe): 120 of 240 recordings (50.0%) are silent "
        "or constant"
    )
    assert "First: s0/0, s0/1, s0/2, s0/3, s0/4. Listen to these recordings" in line
    lines = recording_warnings(copied((8, 9)), signals)
    titles = [text.partition(" (")[0] for text in lines]
    assert titles == ["Silent or constant recordings", "Duplicated clips"]


def test_the_diagnosis_of_a_run_has_the_findings_and_still_explains_losses() -> None:
    e = evidence()
    e.signals = dict.fromkeys(DATA.keys, SILENCE)
    (finding,) = judge(e, T).findings
    assert (finding.fault, finding.severity) == ("silent", "severe")
