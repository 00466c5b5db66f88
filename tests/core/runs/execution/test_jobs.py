"""Trainings of a run: the features that each reads, its model, and the files that it writes."""

import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from run_records import record_of
from untrained_runs import config_of, untrained_run

from fusion.cache import FeatureCache
from fusion.core.contracts.errors import RunError
from fusion.core.data.extraction import fingerprint_of
from fusion.core.runs.config import RunConfig
from fusion.core.runs.execution import jobs
from fusion.core.runs.execution.jobs import (
    _write_line,
    epochs_of,
    features_of,
    in_worker,
    populations_of,
    stored_arrays,
    train_one,
    trained_model,
)
from fusion.core.runs.plan import make_extractors
from fusion.core.runs.run import Run
from fusion.core.runs.trainings import FUSED, Training, spec_of
from fusion.core.toolkit.weights import load_weights


def test_undefined_figures_are_written_as_null():
    file = io.StringIO()
    _write_line(file, {"a": float("nan"), "b": float("inf"), "c": -float("inf"), "d": 0.5, "e": 1})

    def refuse(constant):
        raise AssertionError(constant)

    line = file.getvalue()
    assert line.endswith("\n")
    assert json.loads(line, parse_constant=refuse) == {"a": None, "b": None, "c": None,
                                                       "d": 0.5, "e": 1}  # fmt: skip


# -- what a training reads -----------------------------------------------------------------


def test_a_worker_opens_a_run_only_once(made):
    jobs.opened.cache_clear()
    first = in_worker(lambda run, *given: (run, given), made.location, 1, "x")
    again = in_worker(lambda run: run, made.location)
    assert first == (again, (1, "x")) and again.record == made.record
    jobs.opened.cache_clear()


def test_features_are_those_of_the_models_modalities(made):
    run = made
    single = spec_of(run, Training(0, "second"))
    features = features_of(run, single, resident_bytes=10**9, fold=0)
    assert list(features.modalities) == ["second"] and features.absent == {}
    np.testing.assert_array_equal(features.targets.numpy(), run.data.targets)
    for i in (0, 7, 23):
        text = run.data.clips[i].recording.path.read_text().split("|")[1]
        assert features.arrays["second"].take(np.array([i])).tolist() == [
            [float(x) for x in text.split()]
        ]
    both = features_of(run, run.record.model, resident_bytes=0, fold=0, device="cpu")
    assert list(both.arrays) == ["first", "second"]


def test_features_that_are_now_computed_differently_are_refused(copied):
    feature = replace(copied.record.features["first"], version="0")
    features = {**copied.record.features, "first": feature}
    copied.write_json("run.json", replace(copied.record, features=features).to_json())
    run = Run.open(copied.path, copied.registry)
    with pytest.raises(
        RunError, match='feature first has changed since .*: version was "0" and is now "1"'
    ):
        features_of(run, run.record.model, resident_bytes=0, fold=0)
    features_of(run, spec_of(run, Training(0, "second")), resident_bytes=0, fold=0)


def test_absent_clips_have_zeros(made):
    data = made.data
    gone = np.arange(len(data.clips)) % 5 == 0
    extractors = make_extractors(made.config, made.registry)
    fingerprint = fingerprint_of(extractors["first"])
    cache = FeatureCache(made.config.cache)
    whole = stored_arrays(cache, fingerprint, "first", data, made.config)
    gapped = replace(data, absent={"first": gone})
    found = stored_arrays(cache, fingerprint, "first", gapped, made.config)
    everybody = np.arange(len(data.clips))
    expected = np.where(gone[:, None], 0, whole.take(everybody))
    np.testing.assert_array_equal(found.take(everybody), expected)
    assert stored_arrays(cache, fingerprint, "second", gapped, made.config) is not None


def test_features_of_an_adapted_run_are_standardised_by_speaker(corpus, tmp_path):
    run = untrained_run(corpus, tmp_path / "run", config_of(corpus, adapt="speaker"))
    features = features_of(run, run.record.model, resident_bytes=0, fold=0)
    own = np.array([i for i, clip in enumerate(run.data.clips) if clip.speaker == "s2"])
    rows = features.arrays["first"].take(own)
    # With four clips and one pseudo-clip of the training population, 4/5 of the mean is removed.
    raw = np.array([[6, 4 - 10], [7, 4 - 11], [6, 10 - 6], [7, 10 - 7]])
    assert len(rows) == len(raw) and np.abs(rows.mean(axis=0)).max() < np.abs(raw).mean()
    population = populations_of(run, run.record.model, 0)
    assert set(population) == {"first", "second"}
    train = {run.data.clips[i].speaker for i in run.data.splits[0].train}
    means = [np.mean([3 * int(s[1]) + k for k in (0, 1)]) for s in train]  # of the first number
    assert population["first"].mean[0] == pytest.approx(np.mean(means))


# -- the models ----------------------------------------------------------------------------


def test_a_trained_model_has_its_stored_weights(made):
    training = Training(0, FUSED)
    stored = load_weights(made.training(training.name) / "model.safetensors")
    found = trained_model(made, training).state_dict()
    assert found.keys() == stored.keys()
    assert all(torch.equal(found[name], stored[name]) for name in stored)


def test_the_weights_of_another_model_are_refused(copied):
    one, other = copied.training("fold0/first"), copied.training("fold0/second")
    (other / "model.safetensors").replace(one / "model.safetensors")
    with pytest.raises(RunError, match=r"fold0/first/model\.safetensors holds the weights of ano"):
        trained_model(copied, Training(0, "first"))


@pytest.mark.parametrize(
    ("train", "epochs"),
    [
        ({"epochs": 8, "start": "scratch"}, {"mel": 8, "fused": 8}),
        ({"epochs": 8, "finetune": 0.25}, {"mel": 8, "fused": 2, "control": 10}),
    ],
)
def test_epochs_of_each_kind_of_training(tmp_path, train, epochs):
    config = RunConfig(("x",), features=("mel",), strategy="concat", settings={"train": train})
    run = Run(tmp_path)
    run.write_json("run.json", record_of(config=config).to_json())
    assert {model: epochs_of(run, Training(0, model)) for model in epochs} == epochs


# -- one training ----------------------------------------------------------------------------


def test_a_training_writes_its_weights_epochs_and_summary(copied):
    before = copied.training("fold0/first") / "model.safetensors"
    drawn = before.read_bytes()
    shutil.rmtree(copied.training("fold0/first"))
    train_one(copied, Training(0, "first"), 1)
    folder = copied.training("fold0/first")
    assert {file.name for file in folder.iterdir()} == {
        "epochs.jsonl", "model.safetensors", "training.json"}  # fmt: skip
    lines = [json.loads(line) for line in (folder / "epochs.jsonl").read_text().splitlines()]
    summary = copied.summary("fold0/first")
    assert [line["epoch"] for line in lines] == [1, 2] and summary["epoch"] == 2
    assert summary["best_uar"] == max(line["val_uar"] for line in lines)
    assert summary["precision"] == "float32" and "start" not in summary and "inputs" not in summary
    assert (folder / "model.safetensors").read_bytes() != drawn
    again = trained_model(copied, Training(0, "first")).state_dict()
    shutil.rmtree(folder)
    train_one(copied, Training(0, "first"), 1)  # the same seed
    assert all(torch.equal(v, again[k]) for k, v in
               trained_model(copied, Training(0, "first")).state_dict().items())  # fmt: skip
