"""Explanations on a terminal: of a run, and of one recording."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from fusion.core.analysis.explain.clips import ClipExplanation, ClipPart
from fusion.core.analysis.explain.groups import Group
from fusion.core.analysis.explain.summary import Contribution, Explanation, Shares, Spread
from fusion.core.display.explain import print_clip, print_clip_notes, print_explanation
from fusion.core.toolkit.intervals import Comparison, Interval

MEL, FAST, BOTH = Group("mel"), Group("mel", "fast", 0, (0,)), Group("mel", "H0", 0, (0, 1), True)


def contribution(group, share=0.75):
    return Contribution(
        group,
        Comparison(0.123, 0.05, 0.2, 0.01, 8, 0.95),
        0.5,
        Spread(-0.0001, 0.02),
        Spread(0.25, math.nan),
        1.5,
        2.0,
        share,
    )


def explanation(classes=("calm", "loud"), **changes):
    values = {"mel": 0.1, "text": -0.02}
    shares = Shares(0.7, 0.5, values, {classes[0]: values})
    passed = {
        "run": "r", "model": "fused", "part": "val", "folds": 2, "speakers": 8, "permutations": 10,
        "classes": classes, "modalities": ("mel", "text"),
        "uar": Interval(0.6, 0.5, 0.7, 0.95, 8), "log_probability": -0.5,
        "uar_shapley": {"mel": 0.12, "text": math.nan}, "true": shares, "predicted": shares,
        "contributions": (contribution(MEL), contribution(FAST), contribution(BOTH, math.nan)),
        "difference": 0.3, "gap": 0.001, "worst_gap": 0.02, "notes": (), "clips": (None, None),
    }  # fmt: skip
    return Explanation(**{**passed, **changes})


def row(lines, name):
    (line,) = (line for line in lines if line.strip().startswith(name))
    return line.split(name, 1)[1].split()


# -- a run ---------------------------------------------------------------------------


def test_the_head_names_model_clips_and_scores(printed):
    lines = printed(print_explanation, explanation(), Path("runs/x/explain.json"))
    assert lines[1] == (
        "fused on 2 validation clips of 8 speakers, 2 folds: UAR 60.0 [50.0, 70.0], "
        "log-probability of the true class -0.50"
    )
    assert lines[-1] == "all figures, and every clip's: runs/x/explain.json"


def test_shapley_values_are_in_points_and_undefined_ones_are_shown(printed):
    lines = printed(print_explanation, explanation(), Path("x"))
    assert row(lines, "UAR  p(") == ["predicted)", "p(true)", "p(calm)"]  # no clip is loud
    shapley = [line.split() for line in lines if line.split()[:1] in (["mel"], ["text"])]
    assert shapley[0] == ["mel", "+12.0", "+10.0", "+10.0", "+10.0"]
    assert shapley[1] == ["text", "n/a", "-2.0", "-2.0", "-2.0"]
    assert any("UAR above chance (50.0)" in line for line in lines)


def test_each_group_has_a_row_and_zero_has_no_sign(printed):
    lines = printed(print_explanation, explanation(), Path("x"))
    assert row(lines, "fast")[:5] == ["+12.3", "[+5.0,", "+20.0]", "+0.50", "0.0"]
    assert row(lines, "fast")[-1] == "%" and row(lines, "all H0")[-1] == "n/a"
    assert any(line.startswith("If parts carry the same information") for line in lines)


def test_one_modality_has_no_shapley_values_and_no_hint_on_parts(printed):
    result = explanation(modalities=("mel",), contributions=(contribution(MEL),), folds=1)
    lines = printed(print_explanation, result, Path("x"))
    assert not any("Shapley" in line or "If parts carry" in line for line in lines)
    assert ", 2 folds" not in lines[1]


def test_a_single_speaker_gives_no_interval(printed):
    lonely = replace(contribution(MEL), uar_drop=Comparison(0.1, 0.1, 0.1, 1.0, 1, 0.95))
    lines = printed(print_explanation, explanation(contributions=(lonely,)), Path("x"))
    assert sum(line.split()[:3] == ["mel", "+10.0", "+0.50"] for line in lines) == 1


def test_markup_and_control_characters_of_a_run_are_plain_text(printed, nasty):
    name, shown = nasty
    part = contribution(replace(FAST, name=name))
    result = explanation(classes=(name, "loud"), notes=(name,), contributions=(part,))
    lines = printed(print_explanation, result, Path(name))
    assert sum(shown in line for line in lines) == 4  # class, part, note, file
    assert any(f"p({shown})" in line for line in lines)


# -- a recording ---------------------------------------------------------------------


def clip(label="loud", path="a.wav", modalities=("mel",)):
    parts = (
        ClipPart(MEL, 1.0, 0.4),
        ClipPart(FAST, 0.2, 0.6),
        ClipPart(BOTH, 3.0, 0.5),
        ClipPart(replace(FAST, name="slow"), -0.8, 0.7),
    )
    shapley = dict.fromkeys(modalities, 0.3)
    probabilities = {"calm": 0.25, label: 0.75}
    return ClipExplanation(Path(path), label, probabilities, shapley, 0.5, parts, 1.0, -0.004)


def test_a_recording_starts_with_the_most_probable_class_and_the_strongest_parts(printed):
    lines = printed(print_clip, clip())
    assert lines[1] == "a.wav: loud 0.750, calm 0.250"
    assert "Contributions to the label loud" in " ".join(lines)
    names = [line.split()[0] for line in lines if line.split()[-1:] and line.strip()[:4] in
             ("mel ", "slow", "fast", "all ")]  # fmt: skip
    assert names == ["mel", "slow", "fast", "all"]
    assert row(lines, "slow") == ["0.700", "-0.80"]
    assert not any("Shapley" in line for line in lines)
    assert "numerical error -0.004" in lines[-1]


def test_several_modalities_have_shapley_values(printed):
    lines = printed(print_clip, clip(modalities=("mel", "text")))
    assert row(lines, "mel") == ["+0.300", "0.400", "+1.00"]
    assert row(lines, "slow") == ["0.700", "-0.80"]  # a modality has one, its parts do not
    assert any("is 0.500 without any modality" in line for line in lines)


def test_markup_and_control_characters_of_a_recording_are_plain_text(printed, nasty):
    name, shown = nasty
    text = "\n".join(printed(print_clip, clip(name, f"{name}.wav")))
    assert f"{shown}.wav: {shown} 0.750, calm 0.250" in text
    assert f"probability of {shown} if the values" in text
    assert text.count(shown) == 4  # includes the title


def test_a_name_that_is_not_valid_utf8_is_printed(printed):
    assert printed(print_clip, clip(path="b\udcff.wav"))[1].startswith("b?.wav: ")


@pytest.mark.parametrize("notes", [[], ["It knows no absence.", "[n/a]"]])
def test_notes_and_the_limits_of_one_recording(printed, notes):
    lines = printed(print_clip_notes, notes)
    assert lines[1:-1] == notes
    assert lines[-1].startswith("These values explain one model on one recording;")
