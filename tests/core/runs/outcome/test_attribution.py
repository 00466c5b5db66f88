"""Shapley values: the contribution of each modality to the fused model's UAR on test, by hand."""

import json

import numpy as np
import pytest
from made_results import make_data
from run_records import model_of, record_of, split_of

from fusion.core.runs.outcome import attribution, predictions
from fusion.core.runs.outcome.attribution import write_contributions
from fusion.core.runs.outcome.results import Results
from fusion.core.runs.run import Run
from fusion.core.runs.trainings import FUSED, Training


def certain(targets, wrong):
    answers = targets.copy()
    answers[list(wrong)] = 1 - answers[list(wrong)]
    return np.eye(2)[answers]


@pytest.mark.parametrize("folds", [1, 3])
def test_shapley_values_of_two_modalities_by_hand(tmp_path, monkeypatch, folds):
    """Each fold has 16 clips: 4 are wrong with only a, 6 with only b and 2 with both."""
    data = make_data(folds)
    run = Run(tmp_path)
    run.begin(record_of(model=model_of(), split=split_of(data.splits, data.clips)), data)
    asked = []

    def by_subset(given, training, indices):
        asked.append((training, indices.tolist()))
        wrong = {("a",): 4, ("b",): 6, ("a", "b"): 2}
        return {frozenset(m): certain(data.targets[indices], range(n)) for m, n in wrong.items()}

    monkeypatch.setattr(attribution, "_by_subset", by_subset)
    values = write_contributions(run)
    # v(a) = 12/16, v(b) = 10/16, v(ab) = 14/16, v() = 1/2; the mean over two orders of joining.
    assert values == {"a": pytest.approx((4 + 4) / 32), "b": pytest.approx((2 + 2) / 32)}
    assert asked == [(Training(k, FUSED), s.test.tolist()) for k, s in enumerate(data.splits)]
    assert json.loads((tmp_path / "contributions.json").read_text()) == values


def test_shapley_values_sum_to_the_fused_models_uar_above_chance(copied):
    values = write_contributions(copied)
    assert list(values) == ["first", "second"]
    fused = Results.read(copied).model(FUSED).uar.value
    assert sum(values.values()) == pytest.approx(fused - 0.5, abs=1e-5)


def test_the_set_of_all_modalities_gives_the_fused_models_probabilities(made):
    training, test = Training(0, FUSED), made.data.splits[0].test
    said = attribution._by_subset(made, training, test)
    assert set(said) == {frozenset(m) for m in ((), ("first",), ("second",), ("first", "second"))}
    whole = predictions.test_all(made, jobs=0)[training].probabilities
    np.testing.assert_allclose(said[frozenset(("first", "second"))], whole, atol=1e-6)
    for rows in said.values():
        np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-6)
