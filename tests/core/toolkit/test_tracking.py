"""Values of tracker events, and closing of trackers after success and failure."""

import json
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.core.contracts.errors import TrainingError
from fusion.core.runs.config import RunConfig
from fusion.core.toolkit.tracking import Sent, curve_of, flat, outcome_of, scalars_of
from fusion.core.workflows.experiment import Observer, _Trackers

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


def test_each_trial_has_its_own_curve():
    assert curve_of({"training": "fold1/mel", "epoch": 2}) == "fold1/mel"
    assert curve_of({"training": "fold1/mel", "epoch": 2, "trial": 0}) == "fold1/mel/trial0"


def test_numbers_of_an_event():
    event = {
        "training": "fold0/fused", "epoch": 3, "trial": 1, "val_uar": 0.5, "agreement": 1,
        "val_loss": None, "rank.mel": float("nan"), "candidate": True, "stage": "all",
        "layers": {"mel": {"embed": [0.1, 0.2]}},
    }  # fmt: skip
    assert scalars_of(event) == {"val_uar": 0.5, "agreement": 1.0}


@given(st.dictionaries(st.text(max_size=5), json_values))
def test_a_flat_configuration_has_no_nested_or_empty_values(config):
    assert all(isinstance(v, bool | int | float | str) and v != "" for v in flat(config).values())


def test_flat():
    settings = {"branch.mel": {"kernel": [3, 5]}, "train": {"compile": False}}
    config = {"data": ["demo", "a=b"], "folds": None, "strategy": "", "features": []}
    config["settings"] = settings
    assert flat(config) == {
        "data": "demo, a=b",
        "settings.branch.mel.kernel": "3, 5",
        "settings.train.compile": False,
    }


def test_final_figures():
    interval = {"value": 0.6, "low": None, "high": None, "level": 0.95, "groups": 1}
    model = {"name": "fused", "uar": interval, "accuracy": {**interval, "value": 0.7},
             "macro_f1": 0.55, "val_uar": 0.5, "fold_uar": [0.6]}  # fmt: skip
    comparison = {"difference": -0.05, "low": None, "high": None, "p_value": None, "groups": 1}
    summary = {"models": [model], "comparisons": {"fused": comparison}, "verdict": "So."}
    assert outcome_of(summary) == {
        "test_uar/fused": 0.6,
        "test_accuracy/fused": 0.7,
        "test_macro_f1/fused": 0.55,
        "gain/fused": -0.05,
    }


def test_sent_events_are_stored(tmp_path):
    def event(epoch, **more):
        return {"training": "fold0/mel", "epoch": epoch, **more}

    sent = Sent(tmp_path, "service.json")
    assert sent.is_new(event(1))
    sent.names["run"] = "abc"
    sent.add(event(1))
    sent.add(event(2, trial=1))
    again = Sent(tmp_path, "service.json")
    assert again.names == {"run": "abc"}
    assert not again.is_new(event(1)) and again.is_new(event(2))
    assert not again.is_new(event(1, trial=1)) and again.is_new(event(1, trial=0))
    again.forget()
    assert again.is_new(event(1)) and again.names == {}


def test_a_damaged_file_of_sent_events_is_ignored(tmp_path):
    (tmp_path / "service.json").write_text("{")
    sent = Sent(tmp_path, "service.json")
    assert sent.is_new({"training": "fold0/mel", "epoch": 1})
    sent.save()
    assert json.loads((tmp_path / "service.json").read_text()) == {"names": {}, "epochs": {}}


class Recorder:
    def __init__(self, name, fails=()):
        self.name, self.fails, self.calls = name, fails, []

    def __getattr__(self, method):
        def call(*_):
            self.calls.append(method)
            if method in self.fails:
                raise OSError("gone")

        return call


class Warned(Observer):
    def __init__(self):
        self.messages = []

    def warned(self, message):
        self.messages.append(message)


def test_every_tracker_is_closed_once_even_after_an_error():
    fine, late = Recorder("fine"), Recorder("late", ["close"])
    broken = Recorder("bad", ["start", "close"])
    observer = Warned()
    trackers = _Trackers([fine, broken, late], observer)
    trackers.call("start")
    trackers.call("epoch")
    trackers.close()
    assert fine.calls == ["start", "epoch", "close"] == late.calls
    assert broken.calls == ["start", "close"]
    assert [m.partition(" and ")[0] for m in observer.messages] == [
        "The tracker 'bad' failed in start", "The tracker 'late' failed in close",
    ]  # fmt: skip


@pytest.mark.parametrize("failure", [TrainingError("A loss became NaN."), KeyboardInterrupt()])
def test_a_run_that_fails_closes_its_trackers(tmp_path, monkeypatch, failure):
    from fusion.core.workflows import experiment

    tracker = Recorder("mine")

    def fail(*_, **__):
        raise failure

    monkeypatch.setattr(experiment, "make_trackers", lambda *_: [tracker])
    monkeypatch.setattr(experiment, "all_trainings", lambda _: [])
    monkeypatch.setattr(experiment, "train_all", fail)

    config = RunConfig(("demo",))
    record = SimpleNamespace(config=config)
    run = SimpleNamespace(path=tmp_path, record=record, config=config, registry=None)
    with pytest.raises(type(failure)):
        experiment._train_and_conclude(run, config, 1, Observer())
    assert tracker.calls == ["start", "close"]
