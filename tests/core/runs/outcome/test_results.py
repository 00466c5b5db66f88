"""Test figures and the verdict, on predictions made by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
from made_results import SPEAKERS, everything, make_data

from fusion.core.data.speakers import with_unknown_speakers
from fusion.core.runs.outcome.results import CHOSEN, Results, evaluate
from fusion.core.runs.outcome.selection import select
from fusion.core.runs.trainings import FUSED


def test_figures_by_hand():
    data = make_data(folds=3)
    modalities = ["a", "b"]
    val = everything(data, "val", {"a": [0], "b": [0, 1, 2], FUSED: [0, 1]})
    test = everything(data, "test", {"a": range(4), "b": range(8), FUSED: range(2)})
    selection = select(data, modalities, val)
    results, scores = evaluate(data, selection, test, "gated")
    assert results.model("a").uar.value == pytest.approx(1 - 4 / 16)
    assert results.model(FUSED).accuracy.value == pytest.approx(1 - 2 / 16)
    assert results.model("a").uar.groups == SPEAKERS
    assert results.model("b").fold_uar == (0.5, 0.5, 0.5)
    assert results.model(CHOSEN).uar.value == results.model("a").uar.value
    assert results.comparisons[FUSED].difference == pytest.approx(2 / 16)
    assert np.array(results.confusions["a"]).sum() == len(data.clips)
    assert results.weights == {"a": 0.75, "b": 0.25}
    assert len(scores[FUSED]) == 3
    # a is always wrong for one speaker in four: 3 of 12 groups differ, so p = 2 * 2^-3.
    assert results.comparisons[FUSED].p_value == pytest.approx(0.25)
    assert "No reliable difference" in results.verdict
    assert "one per fold" in results.verdict
    again = Results.from_json(json.loads(json.dumps(results.to_json())))
    assert again.to_json() == results.to_json()
    assert again.model("a").uar.low == pytest.approx(results.model("a").uar.low, abs=1e-6)


@pytest.mark.parametrize(
    ("fused", "word"), [(range(16), "is worse than"), (range(0), "beats"), ([0, 3], "No reliable")]
)
def test_the_verdict_claims_only_what_the_figures_support(fused, word):
    data = make_data(folds=3)
    val = everything(data, "val", {"a": [0], "b": [1, 2], FUSED: [0, 1]})
    a = [0, 3, 4, 7, 8, 11, 12, 15] if word == "beats" else [0, 3]
    test = everything(data, "test", {"a": a, "b": range(8), FUSED: fused})
    results, _ = evaluate(data, select(data, ["a", "b"], val), test, "gated + gradscale")
    assert word in results.verdict
    assert "gated + gradscale" in results.verdict


def test_the_verdict_says_that_few_speakers_can_prove_nothing():
    data = make_data()  # 4 test speakers
    val = everything(data, "val", {"a": [0], "b": [1, 2], FUSED: [0, 1]})
    test = everything(data, "test", {"a": [], "b": range(8), FUSED: range(16)})
    results, _ = evaluate(data, select(data, ["a", "b"], val), test, "gated")
    assert results.comparisons[FUSED].difference == -1
    assert results.verdict.startswith("Too few test speakers to prove a difference")
    assert "which allow no p-value below 0.12" in results.verdict


@pytest.mark.parametrize(
    ("known", "words"),
    [("", "over 16 test clips"), ("0", "over 13 test speakers and clips of unknown speakers")],
)
def test_the_verdict_speaks_of_clips_where_speakers_are_unknown(known, words):
    data = make_data()  # 16 test clips, of which 4 are of speaker 0
    clips = [c if c.speaker == known else replace(c, speaker="") for c in data.clips]
    data = replace(data, clips=tuple(with_unknown_speakers(clips)))
    val = everything(data, "val", {"a": [0], "b": [1, 2], FUSED: [0, 1]})
    test = everything(data, "test", {"a": [], "b": range(8), FUSED: range(16)})
    results, _ = evaluate(data, select(data, ["a", "b"], val), test, "gated")
    assert f"{words}." in results.verdict
