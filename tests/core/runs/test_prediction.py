"""Predictions for recordings: mean over windows, the label and its confidence."""

from pathlib import Path

import pytest

from fusion.core.runs.prediction import Prediction, mean_of, most_probable


def test_the_mean_over_windows():
    windows = [{"low": 0.9, "high": 0.1}, {"low": 0.2, "high": 0.8}, {"low": 0.1, "high": 0.9}]
    assert mean_of(windows) == pytest.approx({"low": 0.4, "high": 0.6})
    assert mean_of(windows[:1]) == windows[0]


def test_the_most_probable_class_is_the_first_of_several():
    assert most_probable({"b": 0.4, "a": 0.4, "c": 0.2}) == "b"


def test_confidence_is_the_probability_of_the_label():
    assert Prediction(Path("a"), "low", {"low": 0.75, "high": 0.25}).confidence == 0.75
    assert Prediction(Path("a"), None, {}, "no sound").confidence is None
