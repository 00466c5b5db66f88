"""Trainings of a run and their settings; the equal-steps control and comparisons with it."""

import json

import numpy as np
import pytest
from made_results import everything, make_data
from run_records import record_of

from fusion import Modality
from fusion.core.runs.config import RunConfig
from fusion.core.runs.execution import jobs
from fusion.core.runs.execution.scheduler import phases_of
from fusion.core.runs.outcome.results import AGAINST_CONTROL, CHOSEN, Results, evaluate
from fusion.core.runs.outcome.selection import ENSEMBLE, Selection, select
from fusion.core.runs.record import SplitRecord
from fusion.core.runs.result_table import comparison_lines
from fusion.core.runs.run import Run
from fusion.core.runs.trainings import (
    CONTROL,
    FUSED,
    Training,
    all_trainings,
    control_modality,
    controls_of,
    settings_of,
    spec_of,
    trainings_of,
    unfinished,
)
from fusion.core.training.model import BranchSpec, ModelSpec
from fusion.core.workflows.shared_baselines import own_trainings, share_baselines, share_predictions

MODEL = ModelSpec(
    tuple(
        BranchSpec(Modality(m, (4,), ()), "mlp", {"hidden": 8, "dropout": 0.3})
        for m in ("mel", "face")
    ),
    num_classes=2,
    dim=8,
    strategy="concat",
)


def laid_out(path, control=5, folds=2, **config):
    run = Run(path)
    settings = {"train": {"epochs": 4, "finetune": 0.25}}
    asked = RunConfig(("demo",), strategy="concat", settings=settings, **config)
    split = SplitRecord("speaker", True, folds, ())
    record = record_of(config=asked, classes=("a", "b"), model=MODEL, split=split, control=control)
    run.write_json("run.json", record.to_json())
    return run


def finish(run, training, uar=0.5, settings=None):
    summary = {"best_uar": uar, "seconds": 1.0}
    run.write_json(
        f"{training.name}/training.json", summary | ({"settings": settings} if settings else {})
    )


@pytest.fixture
def run(tmp_path):
    """Run with trained baselines in two folds: face is better in the first, mel on average."""
    run = laid_out(tmp_path / "run")
    for fold, uars in enumerate(({"mel": 0.6, "face": 0.7}, {"mel": 0.9, "face": 0.5})):
        for m, uar in uars.items():
            finish(run, Training(fold, m), uar, {f"branch.{m}": {"dropout": 0.1 + fold / 10}})
    return run


# -- list of trainings ---------------------------------------------------------------------


def test_each_fold_has_a_control_that_is_no_candidate(run, tmp_path):
    assert controls_of(run) == [Training(0, CONTROL), Training(1, CONTROL)]
    assert CONTROL not in {t.model for t in trainings_of(run)}
    assert all_trainings(run)[:2] == controls_of(run)  # the longest first
    assert {t.model for t in unfinished(run)} == {FUSED, CONTROL}
    without = laid_out(tmp_path / "none", control=0)
    assert not controls_of(without) and all_trainings(without) == trainings_of(without)


def test_the_control_waits_for_the_baselines(run, tmp_path):
    fresh = laid_out(tmp_path / "fresh")
    first, second = phases_of(fresh, all_trainings(fresh))
    assert {t.model for t in first} == {"mel", "face"}
    assert {t.model for t in second} == {FUSED, CONTROL}
    assert phases_of(run, unfinished(run)) == [unfinished(run)]


def test_the_control_has_the_modality_that_is_best_on_average(run):
    assert control_modality(run) == "mel"


def test_the_first_of_equal_modalities_is_the_control(tmp_path):
    run = laid_out(tmp_path / "run", folds=1)
    for m in ("face", "mel"):
        finish(run, Training(0, m), 0.5)
    assert control_modality(run) == "mel"  # the first in the model


def test_the_control_has_the_model_and_settings_of_its_baseline(run):
    """The settings include those that tuning chose in each fold."""
    for fold in (0, 1):
        control, single = Training(fold, CONTROL), Training(fold, "mel")
        assert settings_of(run, control) == {"branch.mel": {"dropout": 0.1 + fold / 10}}
        spec = spec_of(run, control)
        assert spec == spec_of(run, single)
        assert spec.branches[0].parameters["dropout"] == 0.1 + fold / 10
        assert spec.strategy is None


class TrainedError(Exception):
    """Error that replaces the start of a training."""


def asked_of_training(run, monkeypatch, training):
    """Return the arguments with which a training would start."""
    seen = {}

    class Trainer:
        def __init__(self, model, features, train, val, config, **options):
            seen.update(options, config=config, modalities=list(model.modalities))
            raise TrainedError

    class Stub:
        device = "cpu"

        def clips_with(self, indices):
            return indices

    class Data:
        splits = (type("S", (), {"train": np.arange(2), "val": np.arange(2, 4)}),) * 2

    monkeypatch.setattr(jobs, "Trainer", Trainer)
    vars(run)["data"] = Data()
    with pytest.raises(TrainedError):
        jobs._fit(
            run, training, Stub(), run.path / "x.pt", lambda _: None,
            settings_of(run, training),
        )  # fmt: skip
    return seen


def test_the_control_trains_from_scratch_for_all_epochs(run, monkeypatch):
    seen = asked_of_training(run, monkeypatch, Training(1, CONTROL))
    assert seen["modalities"] == ["mel"]
    assert seen["config"].epochs == 4 + 1
    assert seen["balancers"] == () and seen["baselines"] is None
    assert seen["from_baselines"] is False
    single = asked_of_training(run, monkeypatch, Training(1, "mel"))
    assert single["config"].epochs == 4 and single["seed"] == seen["seed"]


def test_every_training_has_its_own_model_and_settings(made):
    assert spec_of(made, Training(0, FUSED)) == made.record.model
    single = spec_of(made, Training(0, "second"))
    assert single.modalities == ["second"] and single.strategy is None
    assert settings_of(made, Training(0, "second")) == {}
    assert settings_of(made, Training(3, "second")) == {}  # not finished


def test_tuned_settings_are_in_the_model(copied):
    chosen = {"branch.second": {"hidden": 3}, "train": {"dim": 6}}
    summary = copied.summary("fold0/second")
    copied.write_json("fold0/second/training.json", {**summary, "settings": chosen})
    spec = spec_of(copied, Training(0, "second"))
    assert (spec.dim, spec.branches[0].parameters["hidden"]) == (6, 3)
    assert spec_of(copied, Training(0, "first")).dim == copied.record.model.dim


# -- shared trainings ----------------------------------------------------------------------


def test_cells_share_a_control_with_equal_epochs(run, tmp_path):
    for fold in (0, 1):
        finish(run, Training(fold, CONTROL))
    run.write_text(f"fold0/{CONTROL}/test.npz", "said")
    same, other = laid_out(tmp_path / "same"), laid_out(tmp_path / "other", control=8)
    for cell in (same, other):
        share_baselines(run, cell)
        share_predictions(run, cell)
        assert cell.finished("fold1/mel")
    assert same.finished(f"fold1/{CONTROL}") and not other.finished(f"fold1/{CONTROL}")
    assert (same.path / f"fold0/{CONTROL}/test.npz").read_text() == "said"
    assert {t.model for t in own_trainings(run, same)} == {FUSED}
    assert {t.model for t in own_trainings(run, other)} == {FUSED, CONTROL}
    assert unfinished(same) == [Training(0, FUSED), Training(1, FUSED)]


# -- the verdict ---------------------------------------------------------------------------


def figures(control, fused=(), single=(0, 3), folds=3):
    """Return the selection, results and scores of models that are wrong on these test clips."""
    data = make_data(folds=folds)
    val = everything(data, "val", {"a": [0], "b": [1, 2], FUSED: [0, 1], CONTROL: [0, 2, 4]})
    wrong = {"a": single, "b": range(8), FUSED: fused, CONTROL: control}
    selection = select(data, ["a", "b"], val, "a")
    results, scores = evaluate(data, selection, everything(data, "test", wrong), "gated")
    return selection, results, scores


MOST = [0, 3, 4, 7, 8, 11, 12, 15]  # half of the clips: for every speaker one of each class


def test_the_control_is_reported_and_never_chosen():
    data = make_data()
    # On validation the control is better than every other model.
    val = everything(data, "val", {"a": [0], "b": [1, 2], FUSED: [0, 1], CONTROL: []})
    selection = select(data, ["a", "b"], val, "a")
    assert selection.control == "a" and selection.control_val_uar == (1.0,)
    assert CONTROL not in selection.candidates
    assert selection.folds[0].chosen != CONTROL
    test = everything(data, "test", {"a": [], "b": [0], FUSED: [0], CONTROL: [1, 2]})
    results, scores = evaluate(data, selection, test, "gated")
    assert [m.name for m in results.models] == ["a", "b", CONTROL, FUSED, ENSEMBLE, CHOSEN]
    row = results.model(CONTROL)
    assert row.uar.value == pytest.approx(1 - 2 / 16) and row.val_uar == 1.0
    assert len(scores[CONTROL]) == 1 and CONTROL in results.confusions
    for stored, cls in ((selection, Selection), (results, Results)):
        plain = json.loads(json.dumps(stored.to_json()))
        assert cls.from_json(plain).control == "a"
    assert Selection.from_json(json.loads(json.dumps(selection.to_json()))) == selection


def test_beating_the_single_modality_but_not_the_control_is_no_gain():
    """The control is as good as the fused model: more steps alone explain the gain."""
    _, results, _ = figures(control=range(0), single=MOST)
    assert results.comparisons[FUSED].p_value < 0.05 < results.comparisons[AGAINST_CONTROL].p_value
    assert results.comparisons[AGAINST_CONTROL].difference == 0
    assert results.reference == CONTROL
    assert "beats" not in results.verdict
    assert "No reliable difference between" in results.verdict
    assert "the control (a alone, trained for the same total steps)" in results.verdict


def test_a_control_below_the_single_modality_does_not_change_the_verdict():
    _, results, _ = figures(control=MOST, single=[0, 3], fused=[])
    without = figures(control=MOST, single=[0, 3], fused=[])[1]
    assert results.reference == results.best_single == "a"
    assert "the best single modality (a)" in results.verdict
    assert results.verdict == without.verdict


def test_the_verdict_compares_with_the_better_of_single_modality_and_control():
    _, results, _ = figures(control=[0, 3, 4, 7, 8, 11, 12, 15], single=range(16), fused=[])
    assert results.reference == CONTROL
    assert "beats the control (a alone" in results.verdict
    assert "+50.0" in results.verdict


def test_lines_compare_with_the_single_modality_and_the_control():
    _, results, _ = figures(control=[0], single=MOST)
    lines = comparison_lines(results)
    assert lines[0].startswith("fused minus a: ")
    assert lines[1].startswith("fused minus control (a alone, same total steps): ")
    assert results.comparisons[CONTROL].difference > 0  # control minus single


def test_without_a_control_the_results_do_not_mention_one():
    data = make_data(folds=3)
    val = everything(data, "val", {"a": [0], "b": [1, 2], FUSED: [0, 1]})
    test = everything(data, "test", {"a": MOST, "b": range(8), FUSED: []})
    results, scores = evaluate(data, select(data, ["a", "b"], val), test, "gated")
    assert results.control == "" and results.reference == "a"
    assert CONTROL not in scores and AGAINST_CONTROL not in results.comparisons
    assert "beats the best single modality (a)" in results.verdict
    assert len(comparison_lines(results)) == 1 + bool(results.comparisons[CHOSEN].difference)
