"""Predictions of trained models, which are computed once as long as the weights do not change."""

import numpy as np
import pytest
import torch
from untrained_runs import config_of, give_weights, untrained_run, write_corpus

from fusion.core.contracts.errors import RunError
from fusion.core.runs.outcome import predictions
from fusion.core.runs.outcome.predictions import (
    class_shares,
    digest_of_weights,
    fold_features,
    validate_all,
)
from fusion.core.runs.outcome.predictions import test_all as ask_about_test
from fusion.core.runs.run import Run
from fusion.core.runs.trainings import CONTROL, FUSED, Training


@pytest.fixture
def asked(monkeypatch):
    """Indices of the clips in each call of `predict`, in order."""
    found, predict = [], predictions.predict

    def watched(model, features, indices, *given, **named):
        found.append(indices.tolist())
        return predict(model, features, indices, *given, **named)

    monkeypatch.setattr(predictions, "predict", watched)
    return found


def forget(run):
    for file in run.path.glob("fold*/*/*.npz"):
        file.unlink()


def test_every_model_predicts_each_part_of_its_fold_once(copied, asked):
    forget(copied)
    split = copied.data.splits[0]
    said = validate_all(copied, jobs=0)
    assert set(said) == {Training(0, model) for model in ("first", "second", FUSED)}
    assert asked == [split.val.tolist()] * 3
    found = ask_about_test(copied, jobs=0)
    assert asked[3:] == [split.test.tolist()] * 3
    again = ask_about_test(Run.open(copied.path, copied.registry), jobs=0)
    assert len(asked) == 6
    for training, kept in again.items():
        np.testing.assert_array_equal(kept.probabilities, found[training].probabilities)


def test_stored_predictions_are_the_models_probabilities(copied):
    said = ask_about_test(copied, jobs=0)[Training(0, "first")]
    model, features = fold_features(copied, Training(0, "first"))
    clips = copied.data.splits[0].test
    x = torch.from_numpy(features.arrays["first"].take(clips))
    with torch.no_grad():
        expected = model.eval()({"first": x}, None).softmax(dim=1)
    np.testing.assert_allclose(said.probabilities, expected, atol=1e-6)
    numbers = copied.data.clips[clips[0]].recording.path.read_text().split("|")[0].split()
    assert x[0].tolist() == [float(n) for n in numbers]


def test_other_weights_are_evaluated_again(copied, asked):
    before = ask_about_test(copied, jobs=0)
    assert asked == []
    give_weights(copied, Training(0, "first"), seed=77)
    after = ask_about_test(copied, jobs=0)
    assert len(asked) == 1
    changed = [t.model for t in before if not np.array_equal(
        before[t].probabilities, after[t].probabilities)]  # fmt: skip
    assert changed == ["first"]


def test_missing_weights_are_reported(copied):
    folder = copied.training("fold0/first")
    assert len(digest_of_weights(folder)) == 32
    assert digest_of_weights(folder) != digest_of_weights(copied.training("fold0/second"))
    (folder / "model.safetensors").unlink()
    with pytest.raises(RunError, match=r"fold0/first/model\.safetensors can't be read") as caught:
        validate_all(copied, jobs=0)
    expected = f"Delete the folder {folder}: fusion run --resume then trains again."
    assert caught.value.hint == expected


def test_an_untrained_control_is_left_out(corpus, tmp_path):
    config = config_of(corpus, {"train": {"start": "baselines"}})
    run = untrained_run(corpus, tmp_path / "run", config)
    assert Training(0, CONTROL) in validate_all(run, jobs=0)
    (run.training(f"fold0/{CONTROL}") / "training.json").unlink()
    assert set(validate_all(run, jobs=0)) == {Training(0, m) for m in ("first", "second", FUSED)}


def test_clips_that_lack_the_models_modality_get_class_shares(tmp_path):
    lacking = {f"s{s}_sad_0": f"{s} {s} |" for s in range(6)}
    write_corpus(tmp_path, **lacking)
    run = untrained_run(tmp_path, tmp_path / "run")
    data = run.data
    gone = data.absent["second"][data.splits[0].val]
    assert gone.any() and not gone.all()
    said = validate_all(run, jobs=0)
    alone = said[Training(0, "second")].probabilities
    np.testing.assert_allclose(alone[gone], [[0.5, 0.5]] * gone.sum())
    assert not np.isclose(alone[~gone], 0.5).any()
    assert not np.isclose(said[Training(0, FUSED)].probabilities, 0.5).all(axis=1).any()


def test_class_shares_are_those_of_the_training_clips(made):
    data = made.data
    train = [data.clips[i].label for i in data.splits[0].train]
    shares = class_shares(data, 0)
    assert shares.dtype == np.float32 and shares.sum() == 1
    assert shares.tolist() == [train.count(name) / len(train) for name in data.classes]
