"""Trials: the selection of the best one, and results that an interruption does not change."""

import json

import pytest
import torch

from fusion import LogUniform, Uniform
from fusion.core.contracts.errors import ParameterError, RunError, StorageError, TrainingError
from fusion.core.runs.execution.tuning import read_trials, rewind, tune
from fusion.core.runs.run import Run
from fusion.core.runs.search_space import Search
from fusion.core.toolkit.weights import load_weights

SPACE = {("train", "lr"): LogUniform(1e-4, 1e-1), ("train", "label_smoothing"): Uniform(0.0, 0.5)}
SEARCH = Search(6, SPACE, {("train", "lr"): 3e-3, ("train", "label_smoothing"): 0.1}, seed=3)

NAME = "fold0/mel"


class Fitter:
    """Stub of a training: each trial number has a (score, loss), or an exception to raise."""

    def __init__(self, *outcomes):
        self.outcomes = outcomes
        self.made = []

    def __call__(self, number, settings, checkpoint):
        outcome = self.outcomes[number]
        self.made.append((number, settings))
        checkpoint.write_text("half way")
        if isinstance(outcome, BaseException):
            raise outcome
        score, loss = outcome
        summary = {"best_score": score, "best_loss": loss, "best_uar": score, "best_epoch": 1,
                   "seconds": 2.0, "wall_seconds": 3.0}  # fmt: skip
        return {"w": torch.full((2,), float(number))}, summary


@pytest.fixture
def run(tmp_path):
    (tmp_path / NAME).mkdir(parents=True)
    return Run(tmp_path)


def kept(run):
    """Return the number of the trial whose weights were kept."""
    return int(load_weights(run.training(NAME) / "model.safetensors")["w"][0])


def files(run):
    return sorted(file.name for file in run.training(NAME).iterdir())


OUTCOMES = ((0.5, 1.0), (0.7, 1.0), (0.7, 0.9), (0.6, 0.1), (0.7, 0.9), (0.2, 0.0))


def test_the_best_trial_by_score_then_loss_then_order_is_kept(run):
    fitter = Fitter(*OUTCOMES)
    summary = tune(run, NAME, SEARCH, fitter)
    assert kept(run) == summary["trial"] == 2
    assert summary["settings"] == fitter.made[2][1]
    assert summary["trials"] == 6 and summary["best_uar"] == 0.7
    assert (summary["seconds"], summary["wall_seconds"]) == (12.0, 18.0)  # sums over all trials
    assert files(run) == ["model.safetensors", "trials.jsonl"]
    lines = (run.training(NAME) / "trials.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [r["best_uar"] for r in records] == [score for score, _ in OUTCOMES]
    assert [r["settings"] for r in records] == [settings for _, settings in fitter.made]


def test_a_failed_trial_is_recorded_and_the_others_continue(run):
    outcomes = [*OUTCOMES]
    outcomes[2] = TrainingError("it exploded")
    outcomes[3] = ParameterError("it does not fit")
    summary = tune(run, NAME, SEARCH, Fitter(*outcomes))
    assert kept(run) == summary["trial"] == 4
    trials = read_trials(run.training(NAME))
    assert [t.error for t in trials] == [
        None, None, "it exploded", "it does not fit", None, None
    ]  # fmt: skip
    assert summary["seconds"] == 8.0
    assert files(run) == ["model.safetensors", "trials.jsonl"]


def test_trial_0_must_not_fail(run):
    with pytest.raises(TrainingError, match="exploded"):
        tune(run, NAME, SEARCH, Fitter(TrainingError("it exploded")))
    assert not (run.training(NAME) / "trials.jsonl").exists()


@pytest.mark.parametrize("error", [StorageError("full"), torch.OutOfMemoryError("memory")])
def test_errors_that_settings_do_not_cause_stop_the_training(run, error):
    with pytest.raises(type(error)):
        tune(run, NAME, SEARCH, Fitter(OUTCOMES[0], error))
    assert len(read_trials(run.training(NAME))) == 1


# -- interruptions ---------------------------------------------------------------------


@pytest.fixture
def undisturbed(tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("run"))
    (run.path / NAME).mkdir(parents=True)
    summary = tune(run, NAME, SEARCH, Fitter(*OUTCOMES))
    return summary, (run.training(NAME) / "trials.jsonl").read_bytes()


@pytest.mark.parametrize("number", range(6))
def test_resume_after_a_kill_during_a_trial(run, undisturbed, number):
    outcomes = [*OUTCOMES]
    outcomes[number] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        tune(run, NAME, SEARCH, Fitter(*outcomes))
    assert (run.training(NAME) / f"trial{number}.pt").is_file()  # to resume the trial
    assert len([f for f in files(run) if f.endswith(".safetensors")]) <= 1
    rewind(run, NAME)
    rest = Fitter(*OUTCOMES)
    assert tune(run, NAME, SEARCH, rest) == undisturbed[0]
    assert [created for created, _ in rest.made] == list(range(number, 6))
    assert (run.training(NAME) / "trials.jsonl").read_bytes() == undisturbed[1]
    assert kept(run) == 2


@pytest.mark.parametrize("number", range(6))
def test_resume_after_a_kill_between_weights_and_record(run, undisturbed, monkeypatch, number):
    write = Run.write_text

    def dies(self, name, text):
        if text.count("\n") == number + 1:
            raise KeyboardInterrupt
        write(self, name, text)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "write_text", dies)
        with pytest.raises(KeyboardInterrupt):
            tune(run, NAME, SEARCH, Fitter(*OUTCOMES))
    rewind(run, NAME)
    assert tune(run, NAME, SEARCH, Fitter(*OUTCOMES)) == undisturbed[0]
    assert kept(run) == 2 and files(run) == ["model.safetensors", "trials.jsonl"]


def test_resume_after_a_kill_after_the_last_trial(run, undisturbed):
    """The weights are written, and training.json is not."""
    tune(run, NAME, SEARCH, Fitter(*OUTCOMES))
    rewind(run, NAME)
    nothing = Fitter()
    assert tune(run, NAME, SEARCH, nothing) == undisturbed[0]
    assert nothing.made == [] and kept(run) == 2


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_lost_weights_are_trained_again(run, undisturbed, damage):
    """The message on a damaged file advises to delete training.json and to resume."""
    tune(run, NAME, SEARCH, Fitter(*OUTCOMES))
    weights = run.training(NAME) / "model.safetensors"
    weights.unlink()
    if damage == "damaged":
        weights.write_bytes(b"no weights")
    rewind(run, NAME)
    again = Fitter(*OUTCOMES)
    assert tune(run, NAME, SEARCH, again) == undisturbed[0]
    assert len(again.made) == 6 and kept(run) == 2


def test_rewinding_keeps_the_epochs_of_finished_trials(run):
    with pytest.raises(KeyboardInterrupt):
        tune(run, NAME, SEARCH, Fitter(*OUTCOMES[:2], KeyboardInterrupt()))
    epochs = run.training(NAME) / "epochs.jsonl"
    lines = [json.dumps({"trial": t, "epoch": e}) for t in range(3) for e in (1, 2)]
    epochs.write_text("\n".join(lines) + '\n{"trial": 2, "ep')
    rewind(run, NAME)
    assert epochs.read_text().splitlines() == lines[:4]
    before = epochs.stat().st_ino
    rewind(run, NAME)
    assert epochs.stat().st_ino == before


def test_rewinding_an_untuned_training_deletes_all_its_epochs(run):
    epochs = run.training(NAME) / "epochs.jsonl"
    epochs.write_text('{"epoch": 1}\n')
    rewind(run, NAME)
    assert not epochs.exists()
    rewind(run, "fold0/not_there")


@pytest.mark.parametrize("text", ["", "no json\n", "[]\n", '{"trial": 1, "settings": {}}\n'])
def test_a_damaged_record_of_trials_is_an_error_with_a_hint(run, text):
    (run.training(NAME) / "trials.jsonl").write_text(text)
    with pytest.raises(RunError, match="trials.jsonl can't be read") as caught:
        tune(run, NAME, SEARCH, Fitter())
    assert "Delete the file" in caught.value.hint
