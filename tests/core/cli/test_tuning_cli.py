"""``fusion run --tune``: whole runs on the small corpus of tones."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from small_runs import SMALL

from fusion.core.cli import run_cli
from fusion.core.toolkit.weights import load_weights

MODELS = ("mel", "persistence", "fused")
TRIALS = 3


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def arguments(corpus, cache, out):
    return ["run", "--data", str(corpus), "--cache", cache, "--out", str(out), "--strategy",
            "gated", "--balance", "gradscale", "--epochs", "3", "--tune", str(TRIALS),
            "--set", "gradscale.limit=2", "--set", "gated.gate=trained",
            "--set", "train.start=scratch", *SMALL]  # fmt: skip


@pytest.fixture(scope="module")
def tuned(corpus, cache, tmp_path_factory):
    """Finished run with three trials for every training."""
    out = tmp_path_factory.mktemp("tuned") / "run"
    assert run_cli([*arguments(corpus, cache, out), "--quiet"]) == 0
    return out


def summary_of(run, model):
    return json.loads((run / f"fold0/{model}/training.json").read_text())


def test_every_training_gets_the_same_number_of_trials(tuned):
    info = json.loads((tuned / "run.json").read_text())
    assert info["config"]["tune"] == TRIALS and info["trainings"] == 3 * TRIALS
    assert info["versions"]["optuna"]
    for model in MODELS:
        trials = lines_of(tuned / f"fold0/{model}/trials.jsonl")
        assert [trial["trial"] for trial in trials] == list(range(TRIALS))
        assert {trial["epoch"] for trial in trials} == {3}
        summary = summary_of(tuned, model)
        best = max(trials, key=lambda t: (t["best_score"], -t["best_loss"]))
        assert summary["trial"] == best["trial"] and summary["settings"] == best["settings"]
        assert summary["best_uar"] == best["best_uar"]
        assert summary["seconds"] == pytest.approx(sum(t["seconds"] for t in trials), abs=1e-3)


def test_only_parameters_in_use_that_were_not_set_are_searched(tuned):
    def searched(model):
        settings = lines_of(tuned / f"fold0/{model}/trials.jsonl")[1]["settings"]
        return {(owner, name) for owner, values in settings.items() for name in values}

    training = {("train", "lr"), ("train", "weight_decay"), ("train", "label_smoothing")}
    assert searched("mel") == training | {("branch.mel", "dropout")}
    assert searched("fused") == training | {
        ("branch.mel", "dropout"), ("branch.persistence", "dropout"), ("gated", "hidden"),
        ("gradscale", "alpha"),
    }  # fmt: skip
    space = json.loads((tuned / "run.json").read_text())["config"]["space"]
    assert set(space["gradscale"]) == {"alpha"}


def test_trial_0_is_the_training_without_tuning(tuned, corpus, cache, tmp_path):
    out = tmp_path / "plain"
    plain = arguments(corpus, cache, out)
    del plain[plain.index("--tune") : plain.index("--tune") + 2]
    assert run_cli([*plain, "--quiet"]) == 0
    for model in MODELS:
        first, untuned = lines_of(tuned / f"fold0/{model}/trials.jsonl")[0], summary_of(out, model)
        for name in ("best_score", "best_uar", "best_loss", "best_epoch", "parameters"):
            assert first[name] == untuned[name], (model, name)
        assert "settings" not in untuned
        assert summary_of(tuned, model)["best_score"] >= untuned["best_score"]


def test_the_weights_are_those_of_the_best_trial(tuned, corpus, capsys):
    """The width of the gate is searched, so that only the tuned settings fit the weights."""
    hidden = summary_of(tuned, "fused")["settings"]["gated"]["hidden"]
    weights = load_weights(tuned / "fold0/fused/model.safetensors")
    assert len(weights["strategy.gate.0.weight"]) == hidden
    for model in MODELS:
        names = {file.name for file in (tuned / "fold0" / model).iterdir()}
        assert names == {"epochs.jsonl", "model.safetensors", "test.npz", "training.json",
                         "trials.jsonl", "val.npz"}  # fmt: skip
    info = json.loads((tuned / "run.json").read_text())
    for member in info["handed_out"]:
        model = member["training"].partition("/")[2]
        settings = summary_of(tuned, model)["settings"]
        for branch in member["spec"]["branches"]:
            own = settings[f"branch.{branch['modality']['name']}"]
            assert branch["parameters"]["dropout"] == own["dropout"]
    assert run_cli(["predict", str(tuned), str(corpus.parent / "s0-happy-0.wav"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["label"] in ("happy", "sad")


def test_every_epoch_of_every_trial_is_logged(tuned):
    events = lines_of(tuned / "metrics.jsonl")
    assert len(events) == 3 * TRIALS * 3
    for model in MODELS:
        own = [(e["trial"], e["epoch"]) for e in events if e["training"] == f"fold0/{model}"]
        assert own == [(t, e) for t in range(TRIALS) for e in (1, 2, 3)]


def comparable(run, name):
    """Return a training's trials without measured times and memory, and its weights."""
    trials = lines_of(run / name / "trials.jsonl")
    for trial in trials:
        for measured in ("seconds", "wall_seconds", "peak_bytes"):
            del trial[measured]
    return trials, (run / name / "model.safetensors").read_bytes()


def test_the_same_command_makes_the_same_trials_and_weights(tuned, corpus, cache, tmp_path, capsys):
    out = tmp_path / "again"
    assert run_cli([*arguments(corpus, cache, out), "--json", "--jobs", "1"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["tune"] == TRIALS and printed["trainings"] == 9
    for model in MODELS:
        assert comparable(out, f"fold0/{model}") == comparable(tuned, f"fold0/{model}")
    assert (out / "results.json").read_bytes() == (tuned / "results.json").read_bytes()
    # Resumed when finished, the run prints its result again and trains nothing.
    assert run_cli(["run", "--resume", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == printed


@pytest.mark.slow
@pytest.mark.parametrize("after", [0, 1, 2])
@pytest.mark.attack("kill of a training")
def test_a_killed_run_is_resumed_to_the_same_trials(tuned, corpus, cache, tmp_path, after):
    """SIGKILL comes when a training has completed a given number of trials."""
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "fusion", *arguments(corpus, cache, out), "--quiet"]
    process = subprocess.Popen(command, cwd=tmp_path, start_new_session=True)
    deadline = time.monotonic() + 120

    def reached():
        if after == 0:
            return list(out.glob("fold0/*/trial0.pt"))
        files = out.glob("fold0/*/trials.jsonl")
        return [file for file in files if len(file.read_text().splitlines()) >= after]

    while not reached() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "results.json").exists()
    assert run_cli(["run", "--resume", str(out), "--quiet"]) == 0
    for model in MODELS:
        assert comparable(out, f"fold0/{model}") == comparable(tuned, f"fold0/{model}")
    assert (out / "results.json").read_bytes() == (tuned / "results.json").read_bytes()
    events = lines_of(out / "metrics.jsonl")
    assert len(events) == len({(e["training"], e["trial"], e["epoch"]) for e in events}) == 27


def test_two_files_are_enough_for_a_finished_training(tuned, tmp_path):
    """A finished training needs only training.json and model.safetensors."""
    copy = tmp_path / "copy"
    shutil.copytree(tuned, copy)
    for name in ("results.json", "model.safetensors"):
        (copy / name).unlink()
    for file in copy.glob("fold0/*/*"):
        if file.name not in ("training.json", "model.safetensors"):
            file.unlink()
    assert run_cli(["run", "--resume", str(copy), "--quiet"]) == 0
    for name in ("results.json", "model.safetensors", "predictions.csv"):
        assert (copy / name).read_bytes() == (tuned / name).read_bytes(), name


@pytest.mark.slow
def test_the_control_has_the_tuned_settings_of_its_baseline(corpus, cache, tmp_path):
    """The fused model uses the tuned branches; the control has no trials of its own."""
    out = tmp_path / "run"
    command = [o for o in arguments(corpus, cache, out) if o != "train.start=scratch"]
    command.pop(command.index("gated.gate=trained") + 1)  # also removes its --set
    assert run_cli([*command, "--quiet"]) == 0
    info = json.loads((out / "run.json").read_text())
    assert info["trainings"] == 3 * TRIALS + 1 and info["control"] == 4
    control = summary_of(out, "control")
    single = summary_of(out, control["modality"])
    assert control["epoch"] == 4 and control["parameters"] == single["parameters"]
    assert not (out / "fold0/control/trials.jsonl").exists()
    trials = lines_of(out / "fold0/fused/trials.jsonl")
    assert [trial["epoch"] for trial in trials] == [1] * TRIALS
    assert all(trial["start"]["epoch"] == 0 for trial in trials)
    for modality in ("mel", "persistence"):
        own = f"branch.{modality}"
        chosen = summary_of(out, modality)["settings"][own]
        assert summary_of(out, "fused")["settings"].get(own, chosen) == chosen


def test_the_output_of_tuning(tuned, capsys):
    assert run_cli(["run", "--resume", str(tuned)]) == 0
    assert "tuned on validation in 3 trials: 9 trainings" in capsys.readouterr().out
    assert run_cli(["plugins", "show", "gradscale"]) == 0
    shown = capsys.readouterr().out
    assert "gradscale.alpha: float = 0.5  [--tune: 0 to 1]" in shown
    assert "gradscale.mode: 'progress' | 'norms' | 'fixed' = 'progress'\n" in shown
    assert run_cli(["plugins", "show", "train"]) == 0
    assert "train.lr: float = 0.003  [--tune: 0.0003 to 0.03, logarithmic]" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--tune", "1"], "1 is not in the range x>=2"),
     (["--tune", "many"], "not a valid integer"),
     (["--tune", "2", "--features", "mel", "--strategy", "concat", "--set", "train.lr=1", "--set",
       "train.weight_decay=0", "--set", "train.label_smoothing=0", "--set",
       "branch.mel.dropout=0"], "--tune has no parameter to search")],
)  # fmt: skip
def test_mistakes_in_tune(corpus, cache, tmp_path, capsys, options, words):
    out = tmp_path / "out"
    passed = ["run", "--data", str(corpus), "--cache", cache]
    assert run_cli([*passed, "--out", str(out), *options]) == 2
    assert words in capsys.readouterr().err
    assert not out.exists()


def test_resume_keeps_the_number_of_trials(tuned, capsys):
    assert run_cli(["run", "--resume", str(tuned), "--tune", "5"]) == 2
    assert "--tune can't be given with --resume" in capsys.readouterr().err


def test_without_optuna_nothing_starts(tuned, corpus, cache, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    out = tmp_path / "out"
    assert run_cli([*arguments(corpus, cache, out)]) == 2
    error = capsys.readouterr().err
    assert "needs the package optuna" in error and "pip install 'modal-fusion[tune]'" in error
    assert not out.exists()
    # An unfinished run reports the error before it trains; a finished run does not need optuna.
    copy = tmp_path / "copy"
    shutil.copytree(tuned, copy)
    assert run_cli(["run", "--resume", str(copy), "--quiet"]) == 0
    (copy / "results.json").unlink()
    (copy / "fold0/mel/training.json").unlink()
    assert run_cli(["run", "--resume", str(copy), "--quiet"]) == 2
    assert "needs the package optuna" in capsys.readouterr().err


WARM = """
import torch
from fusion import Choice, Strategy, hookimpl
from fusion.plugins.branches.cnn import CNN

class Wide(CNN):
    '''A cnn whose width is searched.'''
    name = "wide"
    space = {"channels": Choice(3, 5, 7, 9)}

class Warm(Strategy):
    '''Starts from the modalities trained alone.'''
    name = "warm"
    needs_baselines = True

    def __init__(self, dims: dict[str, int], num_classes: int) -> None:
        super().__init__()
        self.order = list(dims)
        self.head = torch.nn.Linear(sum(dims.values()), num_classes)

    def forward(self, inputs):
        return self.head(torch.cat([inputs[m] for m in self.order], dim=1))

@hookimpl
def fusion_branches():
    return [Wide]

@hookimpl
def fusion_strategies():
    return [Warm]
"""


@pytest.mark.parametrize(
    "methods",
    [
        pytest.param(["--strategy", "warm"], marks=pytest.mark.slow),
        ["--strategy", "gated", "--balance", "pretrain"],
    ],
)
def test_strategies_that_start_from_baselines_have_their_tuned_branches(
    corpus, cache, tmp_path, monkeypatch, methods
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "warm.py").write_text(WARM)
    options = [o for o in SMALL if not o.startswith("branch.mel.channels")]
    options = [o for i, o in enumerate(options) if options[i : i + 2] != ["--set", "--set"]]
    code = run_cli(["run", "-p", "warm.py", "--branch", "mel=wide", *methods, "--data", str(corpus),
                    "--cache", cache, "--out", "out", "--epochs", "2", "--tune", "3",
                    "--quiet", *options])  # fmt: skip
    assert code == 0
    out = tmp_path / "out"
    alone = summary_of(out, "mel")["settings"]["branch.mel"]
    trials = lines_of(out / "fold0/fused/trials.jsonl")
    assert alone["channels"] in (3, 5, 7, 9, 32)
    assert [trial["settings"]["branch.mel"] for trial in trials] == [alone] * 3
    assert len({trial["settings"]["train"]["lr"] for trial in trials}) == 3


FRAGILE = """
import torch
from fusion import Choice, Strategy, hookimpl

class Fragile(Strategy):
    '''Breaks with every width but its default.'''
    name = "fragile"
    space = {"width": Choice(2, 3)}

    def __init__(self, dims: dict[str, int], num_classes: int, *, width: int = 4) -> None:
        super().__init__()
        if width < 4:
            raise ValueError("too narrow")
        self.order = list(dims)
        self.head = torch.nn.Linear(sum(dims.values()), num_classes)

    def forward(self, inputs):
        return self.head(torch.cat([inputs[m] for m in self.order], dim=1))

@hookimpl
def fusion_strategies():
    return [Fragile]
"""


def test_failed_trials_are_recorded_and_do_not_stop_the_run(corpus, cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fragile.py").write_text(FRAGILE)
    code = run_cli(["run", "-p", "fragile.py", "--strategy", "fragile", "--data", str(corpus),
                    "--cache", cache, "--out", "out", "--epochs", "1", "--tune", "2", "--quiet",
                    *SMALL])  # fmt: skip
    assert code == 0
    _, failed = lines_of(tmp_path / "out/fold0/fused/trials.jsonl")
    assert "too narrow" in failed["error"] and "best_uar" not in failed
    assert summary_of(tmp_path / "out", "fused")["trial"] == 0
