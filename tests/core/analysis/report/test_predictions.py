"""Numbers of a report, compared with values counted by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.core.analysis.report.predictions import (
    calibration_bins,
    correct_patterns,
    oracle_uar,
    uar_by_corpus,
    uar_by_speaker,
)
from fusion.core.analysis.report.run_data import ModelPredictions
from fusion.core.runs.outcome.test_predictions import SavedPredictions
from fusion.core.toolkit.metrics import expected_calibration_error


def answers(**predicted):
    """Return predictions for six clips of two classes and two speakers of two corpora."""
    targets = np.array([0, 0, 0, 1, 1, 1])
    speakers = np.array(["x/1", "x/1", "y/1", "x/1", "y/1", "y/1"])
    output = SavedPredictions(
        np.zeros(6, dtype=np.int64),
        targets,
        speakers,
        {name: np.array(given) for name, given in predicted.items()},
        2,
        frozenset(),
    )
    return ModelPredictions(output, {})


def test_clips_by_correct_modalities_of_two():
    result = answers(a=[0, 0, 0, 0, 1, 0], b=[0, 1, 1, 1, 1, 0], fused=[0, 0, 1, 1, 0, 1])
    rows = {
        p.name: (p.clips, p.correct["fused"])
        for p in correct_patterns(result, ["a", "b"], ["fused"])
    }
    # a is right about clips 0 1 2 4, b about 0 3 4, fused about 0 1 3 5.
    assert rows == {"both": (2, 1), "only a": (2, 1), "only b": (1, 1), "none": (1, 1)}


def test_clips_by_correct_modalities_of_three():
    result = answers(a=[0, 0, 0, 0, 0, 0], b=[0, 1, 0, 1, 0, 0], c=[0, 1, 1, 1, 1, 0])
    rows = {p.name: p.clips for p in correct_patterns(result, ["a", "b", "c"], ["a"])}
    assert rows == {
        "all": 1, "only a and b": 1, "only a and c": 0, "only b and c": 1, "only a": 1,
        "only b": 0, "only c": 1, "none": 1,
    }  # fmt: skip


def test_clips_by_number_of_correct_modalities_of_four():
    result = answers(**{m: [0, 0, 0, 0, 0, 0] for m in "abc"}, d=[1, 1, 1, 1, 1, 1])
    rows = {
        p.name: (p.clips, p.correct["d"]) for p in correct_patterns(result, list("abcd"), ["d"])
    }
    assert rows == {"4 of 4": (0, 0), "3 of 4": (3, 0), "2 of 4": (0, 0), "1 of 4": (3, 3),
                    "0 of 4": (0, 0)}  # fmt: skip


def test_one_modality_is_right_or_not():
    result = answers(a=[0, 0, 0, 0, 0, 0])
    assert [(p.name, p.clips) for p in correct_patterns(result, ["a"], ["a"])] == [
        ("a", 3),
        ("none", 3),
    ]


def test_the_oracle():
    # The oracle is right if a or b is: in all clips of class 0, and in clips 3 and 4 of class 1.
    result = answers(a=[0, 0, 0, 0, 1, 0], b=[0, 1, 1, 1, 1, 0])
    assert oracle_uar(result.per_clip, ["a", "b"]) == pytest.approx((1 + 2 / 3) / 2)


def test_scores_of_speakers_and_corpora():
    result = answers(a=[0, 1, 0, 1, 1, 0])
    # x/1 has clips 0 and 1 (class 0) and 3 (class 1); y/1 has 2 (class 0), and 4 and 5 (class 1).
    assert uar_by_speaker(result.per_clip, "a").tolist() == [0.75, 0.75]
    assert uar_by_corpus(result, "a") == {"x": 0.75, "y": 0.75}


def test_bins_of_a_reliability_diagram():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.45, 0.55], [0.3, 0.7]])
    bins = calibration_bins(probabilities, np.array([0, 1, 1, 1]))
    # Three of the fifteen bins have clips: 0.55, 0.7, and 0.9 twice.
    assert bins == pytest.approx(np.array([[0.55, 1, 0.25], [0.7, 1, 0.25], [0.9, 0.5, 0.5]]))
    # ECE by hand: (0.45 + 0.3 + 2 * 0.4) / 4.
    assert expected_calibration_error(probabilities, np.array([0, 1, 1, 1])) == pytest.approx(
        0.3875
    )


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=1, max_size=40))
def test_the_bins_contain_every_clip_and_sum_to_the_calibration_error(clips):
    first = np.array([p for p, _ in clips])
    probabilities = np.stack([first, 1 - first], axis=1)
    targets = np.array([t for _, t in clips])
    confidence, right, share = calibration_bins(probabilities, targets).T
    assert share.sum() == pytest.approx(1)
    error = expected_calibration_error(probabilities, targets)
    assert (share * abs(right - confidence)).sum() == pytest.approx(error)
