"""Predictions of a trained model, and their file."""

import numpy as np
import pytest
import torch
from arrays import Rows
from lacking import lacking

from fusion import Modality, Strategy
from fusion.core.contracts.errors import RunError, StorageError
from fusion.core.data.features import Features
from fusion.core.data.windows import ClipRows
from fusion.core.testing.checks.problem import (
    SmallMaps,
    SmallStrategy,
    small_baselines,
    small_features,
    small_model,
)
from fusion.core.training import inference
from fusion.core.training.inference import (
    Predictions,
    autocast,
    calibrate,
    encoded,
    outputs,
    outputs_and_weights,
    predict,
)
from fusion.plugins.strategies.gated import Gated

CPU = torch.device("cpu")
F32 = torch.float32
CLIPS = np.array([7, 3, 20, 3])  # unsorted, with a repetition


# -- the file of predictions -----------------------------------------------------------


def predictions(**changes):
    rng = np.random.default_rng(0)
    fields = {
        "probabilities": rng.random((3, 2), np.float32),
        "unimodal": {"mel": rng.random((3, 2), np.float32)},
        "weights": {"mel": rng.random(3, np.float32), "a.b": rng.random(3, np.float32)},
    }
    return Predictions(**{**fields, **changes})


def same(one, other):
    np.testing.assert_array_equal(one.probabilities, other.probabilities)
    for mine, theirs in ((one.unimodal, other.unimodal), (one.weights, other.weights)):
        assert list(mine) == list(theirs)
        for m, rows in mine.items():
            np.testing.assert_array_equal(rows, theirs[m])
    return True


@pytest.mark.parametrize("changes", [{}, {"unimodal": {}, "weights": {}}])
def test_saved_predictions_can_be_loaded_with_any_names_of_modalities(tmp_path, changes):
    path = tmp_path / "predictions"  # without an ending, which numpy would append
    created = predictions(**changes)
    created.save(path, "digest")
    assert same(Predictions.load(path, "digest"), created)
    assert [file.name for file in tmp_path.iterdir()] == ["predictions"]


def test_predictions_of_other_weights_are_not_loaded(tmp_path):
    predictions().save(tmp_path / "p.npz", "digest")
    assert Predictions.load(tmp_path / "p.npz", "another") is None


@pytest.mark.parametrize("content", [None, b"", b"no archive", "cut", "half"])
def test_a_missing_or_damaged_file_is_reported_with_a_hint(tmp_path, content):
    path = tmp_path / "p.npz"
    predictions().save(path, "digest")
    if content == "half":
        np.savez(path, weights=np.array("digest"))  # a valid archive without the predictions
    elif content == "cut":
        path.write_bytes(path.read_bytes()[:-30])
    elif content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(RunError, match=f"{path} can't be read") as error:
        Predictions.load(path, "digest")
    assert "--resume" in error.value.hint


def test_a_missing_folder_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError):
        predictions().save(tmp_path / "nowhere" / "p.npz", "digest")


# -- outputs of a model ----------------------------------------------------------------


def test_autocast_applies_to_bfloat16_only():
    x = torch.ones(2, 2)
    with autocast(CPU, F32):
        assert (x @ x).dtype is F32
    with autocast(CPU, torch.bfloat16):
        assert (x @ x).dtype is torch.bfloat16


@pytest.mark.parametrize("size", [1, 3, 64])
def test_batches_have_the_requested_order_and_keep_the_training_mode(size):
    model, features = small_model(2).train(), small_features(2)
    result = []
    for one, labels, presence in encoded(model, features, CLIPS, batch_size=size):
        assert model.training and presence is None and len(labels) <= size
        assert not any(z.requires_grad for z in one.embeddings.values())
        result += labels.tolist()
    assert result == features.targets[CLIPS].tolist()


@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
@pytest.mark.parametrize("size", [1, 3, 64])
def test_probabilities_equal_those_of_the_model_in_evaluation_mode(strategy, size):
    model, features = small_model(2, strategy=strategy).train(), small_features(2)
    result = predict(model, features, CLIPS, batch_size=size)
    assert model.training
    raw, _ = features.batch(CLIPS)
    model.eval()
    with torch.no_grad():
        expected = model(raw).softmax(1)
        probes = model.probe(model.encode(model.standardised(raw)))
    np.testing.assert_allclose(result.probabilities, expected, rtol=1e-5)
    assert set(result.unimodal) == set(model.modalities) and result.weights == {}
    for m, rows in result.unimodal.items():
        np.testing.assert_allclose(rows, probes[m].softmax(1), rtol=1e-5)


def test_predictions_of_a_baseline_have_no_probes():
    model, features = small_baselines(2)["face"].model, small_features(["face"])
    result = predict(model, features, CLIPS)
    assert result.unimodal == result.weights == {} and result.probabilities.shape == (4, 3)


def test_outputs_do_not_depend_on_the_batch_size():
    model, features = small_model(3), small_features(3)
    one = outputs(model, features, CLIPS, F32, subsets=True)
    other, weights = outputs_and_weights(model, features, CLIPS, F32, subsets=True, batch_size=2)
    assert weights is None and one.present == {}
    assert one.labels.tolist() == other.labels.tolist() == features.targets[CLIPS].tolist()
    assert len(one.subsets) == 8 and list(one.subsets) == list(other.subsets)
    for shown, scores in one.subsets.items():
        torch.testing.assert_close(scores, other.subsets[shown])
    torch.testing.assert_close(one.subsets["voice", "face", "text"], one.logits)
    assert outputs(model, features, CLIPS, F32).subsets == {}


def test_outputs_are_float32_in_any_precision():
    model, features = small_model(2), small_features(2)
    result = outputs(model, features, CLIPS, torch.bfloat16)
    exact = outputs(model, features, CLIPS, F32)
    tensors = [result.logits, *result.embeddings.values(), *result.unimodal.values()]
    assert {tensor.dtype for tensor in tensors} == {F32}
    assert not torch.equal(result.logits, exact.logits)
    torch.testing.assert_close(result.logits, exact.logits, rtol=0.05, atol=0.05)


# -- weights of modalities, and clips with a missing modality --------------------------


def test_predictions_contain_weights_that_sum_to_one():
    model, features = small_model(2, strategy=Gated), small_features(2)
    result = predict(model, features, CLIPS)
    assert list(result.weights) == ["voice", "face"]
    np.testing.assert_allclose(sum(result.weights.values()), np.ones(4), rtol=1e-5)
    np.testing.assert_allclose(result.probabilities.sum(1), 1, rtol=1e-5)


def test_weights_of_absent_modalities_are_zero():
    model, features = small_model(2, strategy=Gated), lacking()
    clips = np.arange(36, 48)
    output, weights = outputs_and_weights(model, features, clips, F32, batch_size=5)
    missing = features.absent["face"][clips]
    assert output.present["face"].tolist() == (~missing).tolist() and list(output.present) == [
        "face"
    ]
    assert weights[missing].tolist() == [[1.0, 0.0]] * int(missing.sum())
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(len(clips)))
    assert weights[~missing].min() > 0


def test_renormalised_weights_by_hand():
    weights = torch.tensor([[0.2, 0.3, 0.5], [0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
    present = torch.tensor([[True, True, True], [True, True, False], [False, True, True]])
    result = inference._renormalised(weights, present)
    torch.testing.assert_close(result[:2], torch.tensor([[0.2, 0.3, 0.5], [0.4, 0.6, 0.0]]))
    assert result[2].tolist() == [0, 0, 0]  # a clip without any present weight has zeros, not NaN
    assert inference._renormalised(weights, None) is weights


def only_face():
    features = lacking()  # every third clip has no face
    return Features(
        {"face": Modality("face", (4,))}, {"face": features.arrays["face"]},
        features.targets.numpy(), CPU, resident_bytes=0, absent=features.absent,
    )  # fmt: skip


def test_a_baseline_predicts_the_prior_for_clips_without_its_modality():
    model = small_model(["face"])
    prior = np.array([0.5, 0.3, 0.2], np.float32)
    output = predict(model, only_face(), np.arange(6), prior=prior).probabilities
    assert np.allclose(output[[0, 3]], prior) and not np.allclose(output[[1, 2, 4, 5]], prior)
    without = predict(model, only_face(), np.arange(6)).probabilities
    np.testing.assert_array_equal(without[[1, 2, 4, 5]], output[[1, 2, 4, 5]])
    assert not np.allclose(without[[0, 3]], prior)


# -- fitting to held-out clips ---------------------------------------------------------


class Fits(SmallStrategy):
    """Records the clips that it is fitted to."""

    name = "fits"

    def calibrate(self, inputs, labels):
        self.seen = {m: len(x) for m, x in inputs.items()}, labels.tolist(), self.training


def test_a_strategy_is_fitted_to_complete_clips_in_evaluation_mode():
    features, model = lacking(), small_model(2, strategy=Fits).train()
    calibrate(model, features, np.arange(6), F32)
    labels = features.targets[[1, 2, 4, 5]].tolist()
    assert model.strategy.seen == ({"voice": 4, "face": 4}, labels, False)
    assert model.training


def test_without_complete_clips_a_strategy_is_fitted_to_all():
    features, model = lacking(every=1), small_model(2, strategy=Fits)
    calibrate(model, features, np.arange(6), F32)
    assert model.strategy.seen[0] == {"voice": 6, "face": 6}


def test_a_strategy_without_calibrate_is_not_fitted(monkeypatch):
    monkeypatch.setattr(inference, "encoded", lambda *_: pytest.fail("clips were encoded"))
    model = small_model(2)
    assert type(model.strategy).calibrate is Strategy.calibrate
    calibrate(model, small_features(2), np.arange(6), F32)


# -- windows of long clips -------------------------------------------------------------

FIRST = np.array([0, 1, 4, 6, 7])  # 1, 3, 2 and 1 windows


def windowed(names=("voice", "face")):
    """Return features of four clips, and the same windows as clips of their own."""
    rng = np.random.default_rng(0)
    arrays = {m: Rows(rng.normal(size=(7, 4)).astype(np.float32)) for m in names}
    modalities = {m: Modality(m, (4,)) for m in names}
    targets = np.array([0, 1, 2, 1])
    clips = Features(modalities, arrays, targets, CPU, resident_bytes=0,
                     rows=ClipRows(FIRST, names))  # fmt: skip
    alone = Features(modalities, arrays, targets[[0, 1, 1, 1, 2, 2, 3]], CPU, resident_bytes=0)
    return clips, alone


@pytest.mark.parametrize("size", [1, 3, 64])
def test_probabilities_of_a_clip_are_the_mean_over_its_windows(size):
    model, (clips, alone) = small_model(2, strategy=Gated), windowed()
    each = predict(model, alone, np.arange(7))
    result = predict(model, clips, np.array([2, 0, 1]), batch_size=size)
    for of_clips, of_windows in (
        (result.probabilities, each.probabilities),
        *((result.unimodal[m], each.unimodal[m]) for m in ("voice", "face")),
        *((result.weights[m], each.weights[m]) for m in ("voice", "face")),
    ):
        expected = [of_windows[4:6].mean(0), of_windows[0], of_windows[1:4].mean(0)]
        np.testing.assert_allclose(of_clips, expected, rtol=1e-5)


def test_outputs_of_a_clip_are_means_over_its_windows():
    model, (clips, alone) = small_model(2), windowed()
    each = outputs(model, alone, np.arange(7), F32, subsets=True)
    result = outputs(model, clips, np.arange(4), F32, subsets=True)
    assert result.labels.tolist() == [0, 1, 2, 1] and len(result.subsets) == 4
    for shown, scores in result.subsets.items():
        probabilities = each.subsets[shown].softmax(1)
        torch.testing.assert_close(scores.softmax(1)[1], probabilities[1:4].mean(0))
    for m, z in result.embeddings.items():
        torch.testing.assert_close(z[2], each.embeddings[m][4:6].mean(0))
    # A clip with one window keeps its class scores to the bit.
    assert torch.equal(result.logits[[0, 3]], each.logits[[0, 6]])


def test_mean_probabilities_by_hand():
    means = inference._WindowMeans(np.array([0, 0, 1]), 2, CPU)
    scores = torch.tensor([[0.0, 0.0], [1000.0, 0.0], [3.0, 1.0]])
    result = means.of("", scores)
    torch.testing.assert_close(result.softmax(1)[0], torch.tensor([0.75, 0.25]))
    assert result[1].tolist() == [3.0, 1.0]
    certain = inference._WindowMeans(np.array([0, 0]), 1, CPU)
    certainly = certain.of("", torch.tensor([[1000.0, 0.0], [1000.0, 0.0]]))
    assert torch.isfinite(certainly).all()
    torch.testing.assert_close(certainly.softmax(1)[0], torch.tensor([1.0, 0.0]))


def test_a_strategy_is_fitted_to_one_window_of_each_clip():
    features, model = windowed()[0], small_model(2, strategy=Fits)
    calibrate(model, features, np.array([1, 2, 0]), F32)
    assert model.strategy.seen == ({"voice": 3, "face": 3}, [1, 2, 0], False)
