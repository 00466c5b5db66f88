"""Bundles of chosen models, and run directories of the previous format."""

import json
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from small_runs import SMALL

from fusion.core.cli import run_cli
from fusion.core.runs import bundle as bundle_module
from fusion.core.runs.bundle import Bundle, Part, log_probabilities, members_of
from fusion.core.runs.outcome.predictions import fold_features
from fusion.core.runs.outcome.selection import ENSEMBLE, Selection
from fusion.core.runs.record import FORMAT
from fusion.core.runs.result import RunResult
from fusion.core.runs.run import Run
from fusion.core.runs.trainings import CONTROL, Training
from fusion.core.toolkit.ensemble import mix, pool
from fusion.core.training.inference import predict


def logs(*rows):
    return torch.tensor(rows, dtype=torch.float64).log()


def test_pools_in_groups_and_the_mean_over_groups_by_hand():
    output = [logs([0.8, 0.2]), logs([0.5, 0.5]), logs([0.3, 0.7])]
    parts = [Part(None, 0.5, 2.0, 0), Part(None, 0.5, 1.0, 0), Part(None, 0.5, 1.0, 1)]
    matches = log_probabilities(parts, output, [None] * 3).exp()
    # 0.8^2 * 0.5 : 0.2^2 * 0.5 is 16 : 1.
    assert matches[0].tolist() == pytest.approx([(16 / 17 + 0.3) / 2, (1 / 17 + 0.7) / 2])


def test_models_without_information_on_a_clip_are_left_out_and_so_are_their_groups():
    output = [logs([0.8, 0.2], [0.8, 0.2]), logs([0.4, 0.6], [0.4, 0.6]), logs(*[[0.3, 0.7]] * 2)]
    parts = [Part(None, 0.25, 1.0, 0), Part(None, 0.25, 1.0, 0), Part(None, 0.75, 1.0, 1)]
    knows = [torch.tensor([False, False]), torch.tensor([True, False]), None]
    matches = log_probabilities(parts, output, knows).exp()
    assert matches[0].tolist() == pytest.approx([0.25 * 0.4 + 0.75 * 0.3, 0.25 * 0.6 + 0.75 * 0.7])
    assert matches[1].tolist() == pytest.approx([0.3, 0.7])


def test_groups_of_one_member_give_the_weighted_mean_of_probabilities():
    rng = np.random.default_rng(0)
    members = [rng.dirichlet(np.ones(3), 5) for _ in range(3)]
    weights = np.array([0.2, 0.5, 0.3])
    parts = [Part(None, float(w), 1.0, k) for k, w in enumerate(weights)]
    matches = log_probabilities(parts, [torch.tensor(p).log() for p in members], [None] * 3).exp()
    np.testing.assert_allclose(matches.numpy(), mix(members, weights), atol=1e-12)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    code = run_cli([
        "run", "--data", "demo", "--set", "demo.speakers=6", "--set", "demo.clips=2",
        "--cache", str(folder / "cache"), "--out", str(folder / "run"), "--epochs", "2",
        "--quiet", "--no-report", *SMALL,
    ])  # fmt: skip
    assert code == 0
    return Run(folder / "run")


def said_by(run, training, indices):
    """Return one trained model, its features, and its probabilities."""
    model, features = fold_features(run, training)
    return model, features, predict(model, features, indices).probabilities


def test_a_bundle_gives_the_probabilities_of_the_ensemble(finished):
    """The chosen model is set to the ensemble, with powers that do not sum to one."""
    selection = Selection.read(finished)
    powers = {"mel": 1.7, "persistence": 0.4}
    (fold,) = selection.folds
    changed = replace(selection, folds=(replace(fold, chosen=ENSEMBLE, weights=powers),))
    stored = finished.record
    members = bundle_module.write_bundle(finished, changed)
    assert [(m.power, m.weight, m.group) for m in members] == [(1.7, 1.0, 0), (0.4, 1.0, 0)]
    finished.finish(members, 1.0)
    try:
        bundle = Bundle(finished)
        indices = finished.data.splits[0].test[:6]
        singles, rows = [], {}
        for m in powers:
            _, features, probabilities = said_by(finished, Training(0, m), indices)
            singles.append(probabilities)
            rows[m] = list(features.arrays[m].take(indices))
        expected = pool(singles, np.array(list(powers.values())))
        matches = bundle.probabilities(rows)
        np.testing.assert_allclose(matches, expected, atol=1e-5)
        np.testing.assert_allclose(matches.sum(axis=1), 1)
        # Without a modality, only the power of the other counts.
        lacking = bundle.probabilities({**rows, "persistence": [None] * len(indices)})
        np.testing.assert_allclose(lacking, pool(singles[:1], np.array([1.7])), atol=1e-5)
    finally:
        finished.finish(stored.handed_out, stored.seconds["training"])


def test_a_model_with_power_zero_is_not_bundled(finished):
    selection = Selection.read(finished)
    (fold,) = selection.folds
    powers = {"mel": 1.2, "persistence": 0.0}
    changed = replace(selection, folds=(replace(fold, chosen=ENSEMBLE, weights=powers),))
    assert [m.training for m in members_of(finished, changed)] == ["fold0/mel"]


def test_a_run_stores_its_start_its_control_and_their_epochs(finished):
    record = finished.record
    assert record.format == FORMAT == 3 and record.control == 3  # 2 epochs and 1
    fused = finished.read_json("fold0/fused/training.json")
    assert (fused["epoch"], fused["start"]["epoch"]) == (1, 0)
    control = finished.read_json(f"fold0/{CONTROL}/training.json")
    assert control["epoch"] == 3 and "start" not in control
    selection = finished.read_json("selection.json")
    assert control["modality"] == selection["control"] == selection["best_single"]
    result = RunResult.read(finished)
    assert result.results.control == control["modality"]
    assert result.results.model(CONTROL).uar.groups > 0
    assert record.trainings == 4
    single = finished.read_json(f"fold0/{control['modality']}/training.json")
    assert single["parameters"] == control["parameters"]


def test_a_run_of_format_1_keeps_its_meaning(finished, tmp_path):
    """A format 1 run has a linear ensemble and no control, and trains from scratch.

    It is made from a current run by removing the new fields.
    """
    old = Run(tmp_path / "old")
    shutil.copytree(finished.path, old.path)
    shutil.rmtree(old.path / f"fold0/{CONTROL}")
    info = json.loads((old.path / "run.json").read_text())
    info["format"] = 1
    del info["control"]
    for name in ("start", "finetune", "branch_rate"):
        info["config"]["settings"].get("train", {}).pop(name, None)
        info["training"].pop(name, None)
    powers = {"mel": 0.25, "persistence": 0.75}
    info["handed_out"] = [
        {k: v for k, v in asdict(member).items() if k not in ("power", "group")}
        | {"weight": powers[member.spec.branches[0].modality.name]}
        for member in bundle_module.write_bundle(
            old, _choosing_the_ensemble(old.read_json("selection.json"), powers)
        )
    ]
    old.write_json("run.json", info)
    selection = old.read_json("selection.json")
    for name in ("rule", "control", "control_val_uar"):
        del selection[name]
    old.write_json("selection.json", selection)
    results = old.read_json("results.json")
    del results["control"]
    results["models"] = [m for m in results["models"] if m["name"] != CONTROL]
    results["comparisons"] = {k: v for k, v in results["comparisons"].items() if CONTROL not in k}
    old.write_json("results.json", results)

    old = Run.open(old.path)
    assert old.config.settings["train"]["start"] == "scratch"
    read = Selection.read(old)
    assert (read.rule, read.control, read.control_val_uar) == ("linear", "", ())
    result = RunResult.read(old)
    assert result.results.control == "" and result.results.reference == read.best_single
    assert CONTROL not in str(result)
    # Its chosen model was the weighted mean of probabilities.
    bundle = Bundle(old)
    indices = old.data.splits[0].test[:6]
    singles, rows = [], {}
    for m in powers:
        _, features, probabilities = said_by(old, Training(0, m), indices)
        singles.append(probabilities)
        rows[m] = list(features.arrays[m].take(indices))
    np.testing.assert_allclose(
        bundle.probabilities(rows), mix(singles, np.array(list(powers.values()))), atol=1e-5
    )
    for command in (["report", str(old.path)], ["explain", str(old.path)]):
        assert run_cli(command) == 0


def _choosing_the_ensemble(selection, powers):
    chosen = Selection.from_json(selection)
    (fold,) = chosen.folds
    return replace(chosen, folds=(replace(fold, chosen=ENSEMBLE, weights=powers),))
