"""Search spaces of trials: parameters, ranges, and the order of proposals."""

import json
import logging
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fusion import Choice, Integer, LogInteger, LogUniform, Uniform
from fusion.core.contracts import Modality
from fusion.core.contracts.errors import ParameterError, UnknownNameError
from fusion.core.registry.registry import Registry
from fusion.core.runs import search_space as module
from fusion.core.runs.config import RunConfig
from fusion.core.runs.search_space import (
    Search,
    Trial,
    propose,
    search_of,
    search_space,
    tuned_config,
    tuned_spec,
)
from fusion.core.toolkit.run_files import as_type
from fusion.core.training.model import BranchSpec, ModelSpec

SPACE = {
    ("train", "lr"): LogUniform(1e-4, 1e-1),
    ("train", "label_smoothing"): Uniform(0.0, 0.5),
    ("gated", "hidden"): LogInteger(4, 64),
    ("x", "steps"): Integer(1, 3),
    ("x", "mode"): Choice("a", "b", None),
}
GIVEN = {
    ("train", "lr"): 3e-3, ("train", "label_smoothing"): 0.1, ("gated", "hidden"): 32,
    ("x", "steps"): 2, ("x", "mode"): None,
}  # fmt: skip
SEARCH = Search(6, SPACE, GIVEN, seed=3)


def value(settings, key):
    return settings[key[0]][key[1]]


def finished(search, scores):
    """Return finished trials with these scores."""
    trials = []
    for score in scores:
        settings = propose(search, trials)
        summary = {} if score is None else {"best_score": score, "best_loss": 1.0}
        trials.append(Trial(len(trials), settings, summary, "boom" if score is None else None))
    return trials


# -- proposals -------------------------------------------------------------------------


def test_trial_0_has_the_given_settings():
    assert propose(SEARCH, []) == {
        "train": {"lr": 3e-3, "label_smoothing": 0.1},
        "gated": {"hidden": 32},
        "x": {"steps": 2, "mode": None},
    }


def test_later_trials_stay_in_their_ranges_and_differ():
    trials = finished(replace(SEARCH, trials=25), [i % 7 / 10 for i in range(25)])
    for key, space in SPACE.items():
        assert all(space.contains(value(t.settings, key)) for t in trials)
    rates = [value(t.settings, ("train", "lr")) for t in trials]
    assert len(set(rates)) == 25
    assert {type(value(t.settings, ("gated", "hidden"))) for t in trials} == {int}
    assert json.loads(json.dumps([t.settings for t in trials])) == [t.settings for t in trials]


def test_proposals_depend_on_the_seed_and_on_earlier_trials():
    trials = finished(SEARCH, [0.5] * 14)
    for count in range(15):
        assert propose(SEARCH, trials[:count]) == propose(SEARCH, trials[:count])
    assert propose(SEARCH, trials[:1]) != propose(replace(SEARCH, seed=4), trials[:1])
    worse = [*trials[:13], replace(trials[13], summary={"best_score": 0.0})]
    better = [*trials[:13], replace(trials[13], summary={"best_score": 1.0})]
    assert propose(SEARCH, worse) != propose(SEARCH, better)


def test_later_trials_are_near_good_earlier_ones():
    """The score peaks at lr = 0.01: later trials are nearer to it than random ones."""
    space = {("train", "lr"): LogUniform(1e-6, 1.0)}
    early, late = 0.0, 0.0

    def distance(settings):
        return abs(torch.tensor(value(settings, ("train", "lr"))).log10().item() + 2)

    for seed in range(5):
        search, trials = Search(40, space, {("train", "lr"): 1e-5}, seed=seed), []
        for number in range(40):
            settings = propose(search, trials)
            trials.append(Trial(number, settings, {"best_score": -distance(settings)}))
        early += sum(distance(t.settings) for t in trials[1:11])
        late += sum(distance(t.settings) for t in trials[30:])
    assert late < 0.6 * early


def test_an_initial_value_out_of_range_and_a_failed_trial_do_not_disturb_the_sampler():
    search = replace(SEARCH, initial={**GIVEN, ("train", "lr"): 5.0, ("x", "mode"): "z"})
    trials = finished(search, [0.5, None, 0.4, 0.3] * 4)
    assert value(trials[0].settings, ("train", "lr")) == 5.0
    assert all(SPACE["train", "lr"].contains(value(t.settings, ("train", "lr")))
               for t in trials[1:])  # fmt: skip


def test_optuna_prints_nothing_and_its_log_level_is_restored(capsys):
    import optuna

    optuna.logging.set_verbosity(optuna.logging.INFO)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        propose(SEARCH, finished(SEARCH, [0.1] * 12))
    assert optuna.logging.get_verbosity() == logging.INFO
    recorded = capsys.readouterr()
    assert recorded.err == recorded.out == ""


def test_base_settings_are_in_every_trial_and_not_searched():
    search = Search(3, {("train", "lr"): LogUniform(1e-4, 1e-1)}, {("train", "lr"): 1e-3},
                    base={"branch.mel": {"dropout": 0.4}})  # fmt: skip
    for trial in finished(search, [0.1, 0.2]):
        assert trial.settings["branch.mel"] == {"dropout": 0.4}


# -- the request -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def registry():
    return Registry()


SPEC = ModelSpec(
    (BranchSpec(Modality("mel", (1, 16, 32)), "cnn", {"blocks": 2, "dropout": 0.2}),
     BranchSpec(Modality("energy", (4,)), "mlp", {"hidden": 8, "dropout": 0.3})),
    2, 8, "gated", {"hidden": 32}, (("adapting", {"a": 1.0}),),
)  # fmt: skip
CONFIG = RunConfig(
    ("demo",), features=("mel", "energy"), strategy="gated", balancers=("gradscale",), tune=4
)


def names(space):
    return {owner: sorted(ranges) for owner, ranges in space.items()}


def test_the_space_has_parameters_in_use_that_are_not_set(registry):
    space = search_space(CONFIG, registry, SPEC)
    assert names(space) == {
        "train": ["label_smoothing", "lr", "weight_decay"], "branch.mel": ["dropout"],
        "branch.energy": ["dropout"], "gated": ["gate", "hidden"],
        "gradscale": ["alpha", "limit"],
    }  # fmt: skip
    assert space["gated"]["hidden"] == {"kind": "LogInteger", "low": 8, "high": 128}
    fixed = {"train": {"lr": "0.1", "epochs": "3"}, "gradscale": {"limit": "2"}}
    space = names(search_space(replace(CONFIG, settings=fixed), registry, SPEC))
    assert space["train"] == ["label_smoothing", "weight_decay"]
    assert space["gradscale"] == ["alpha"]


def test_no_tuning_searches_nothing(registry):
    assert search_space(replace(CONFIG, tune=0), registry, SPEC) is None


@pytest.mark.parametrize("tune", [1, -3])
def test_a_single_trial_is_refused(registry, tune):
    with pytest.raises(ParameterError, match=f"--tune must be 2 or more, and is {tune}"):
        search_space(replace(CONFIG, tune=tune), registry, SPEC)


def test_a_space_given_by_the_user(registry):
    """Ranges may be objects or stored values: a stored configuration repeats its run."""
    own = {
        "train": {"lr": LogUniform(1e-3, 1e-2)},
        "gradscale": {"mode": Choice("fixed", "norms")},
    }
    space = search_space(replace(CONFIG, space=own), registry, SPEC)
    assert names(space) == {"train": ["lr"], "gradscale": ["mode"]}
    stored = json.loads(json.dumps(replace(CONFIG, space=space).to_json()))
    assert search_space(as_type(stored, RunConfig, Path("run.json")), registry, SPEC) == space
    assert json.loads(json.dumps(replace(CONFIG, space=own).to_json())) == stored


@pytest.mark.parametrize(
    ("space", "error", "words"),
    [({"concat": {}}, UnknownNameError, "no owner of parameters to tune 'concat'"),
     ({"gated": {"width": Integer(1, 2)}}, UnknownNameError, "no parameter of Gated 'width'"),
     ({"gated": {"hidden": Uniform(1, 2)}}, ParameterError, "but hidden is int"),
     ({"gated": {"hidden": [1, 2]}}, ParameterError, "is not a range"),
     ({}, ParameterError, "--tune has no parameter to search")],
)  # fmt: skip
def test_an_invalid_space_is_refused(registry, space, error, words):
    with pytest.raises(error, match=words):
        search_space(replace(CONFIG, space=space), registry, SPEC)


def test_without_optuna_the_error_says_how_to_install_it(registry, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ParameterError, match="optuna, which is not installed") as caught:
        search_space(CONFIG, registry, SPEC)
    assert caught.value.hint == "pip install 'modal-fusion[tune]'"
    assert search_space(replace(CONFIG, tune=0), registry, SPEC) is None


def test_a_baseline_searches_only_its_branch_and_training(registry):
    settings = {
        "train": {"lr": 0.003, "weight_decay": 0.01, "label_smoothing": 0.1},
        "branch.mel": {"dropout": 0.2}, "branch.energy": {"dropout": 0.3},
        "gated": {"gate": "held_out", "hidden": 32}, "gradscale": {"alpha": 0.5, "limit": 3.0},
    }  # fmt: skip
    config = replace(CONFIG, space=search_space(CONFIG, registry, SPEC), settings=settings)
    single = search_of(config, SPEC.single("mel"), seed=0)
    assert {owner for owner, _ in single.space} == {"train", "branch.mel"}
    fused = search_of(config, SPEC, seed=0)
    assert {owner for owner, _ in fused.space} == set(settings)
    assert fused.initial["branch.energy", "dropout"] == 0.3
    adopted = search_of(config, SPEC, seed=0, base={"branch.mel": {"dropout": 0.5}})
    assert "branch.mel" not in {owner for owner, _ in adopted.space}


def test_settings_of_a_trial_change_configuration_and_model():
    settings = {
        "train": {"lr": 0.5, "dim": 16}, "branch.mel": {"dropout": 0.6}, "gated": {"hidden": 9},
        "adapting": {"a": 2.0}, "gradscale": {"alpha": 0.0},
    }  # fmt: skip
    config = tuned_config(replace(CONFIG, settings={"train": {"epochs": "3"}}), settings)
    assert config.train.lr == 0.5 and config.train.epochs == 3
    assert config.settings["gradscale"] == {"alpha": 0.0}
    spec = tuned_spec(SPEC, settings)
    assert spec.branches[0].parameters == {"blocks": 2, "dropout": 0.6}
    assert spec.branches[1] == SPEC.branches[1]
    assert spec.dim == 16 and spec.parameters == {"hidden": 9}
    assert spec.adapters == (("adapting", {"a": 2.0}),)
    assert tuned_spec(SPEC, {}) == SPEC and tuned_config(CONFIG, {}) is CONFIG
    single = tuned_spec(SPEC.single("mel"), settings)
    assert single.strategy is None and single.parameters == {}


def test_the_module_does_not_import_optuna():
    code = f"import sys, {module.__name__}; sys.exit('optuna' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
