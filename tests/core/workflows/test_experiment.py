"""Experiments from request to finished run: the order of steps, and the files written."""

import csv
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from untrained_runs import config_of, give_weights, untrained_run, write_corpus

from fusion.core.analysis.diagnosis import diagnose
from fusion.core.contracts import Tracker
from fusion.core.contracts.errors import RunError
from fusion.core.registry.registry import Registry
from fusion.core.runs.config import RunConfig
from fusion.core.runs.outcome.results import Results
from fusion.core.runs.outcome.selection import Selection
from fusion.core.runs.plan import make_plan
from fusion.core.runs.run import Run
from fusion.core.runs.trainings import (
    CONTROL,
    FUSED,
    Training,
    all_trainings,
    controls_of,
    trainings_of,
)
from fusion.core.toolkit.weights import load_weights
from fusion.core.workflows import experiment
from fusion.core.workflows.experiment import (
    Observer,
    conclude,
    fused_label,
    new_run_path,
    prepare_run,
    resume_experiment,
    run_experiment,
    train_run,
)


class Watching(Observer):
    """Observer that records its calls in order."""

    def __init__(self):
        self.told, self.warnings = [], []

    def planned(self, plan):
        self.told.append("planned")

    def extracted(self, report):
        self.told.append(f"extracted {report.computed + report.present}")

    def training(self, run, epochs, trials=1):
        self.told.append({training.name: count for training, count in epochs.items()})

    def epoch(self, training, record):
        self.told.append(f"epoch {record['epoch']} of {training.name}")

    def trained(self, training, summary):
        self.told.append(f"trained {training.name}")

    def warned(self, message):
        self.warnings.append(message)

    def evaluating(self):
        self.told.append("evaluating")


@pytest.fixture
def untrained(monkeypatch):
    """Replace training by random weights; return the list of calls."""
    calls = []

    def train_all(run, *, jobs, on_epoch, on_done, controls=True):
        calls.append((jobs, controls))
        order = [*trainings_of(run), *(controls_of(run) if controls else [])]
        for number, training in enumerate(order):
            if not run.finished(training.name):
                give_weights(run, training, seed=number)
                on_epoch(training, {"epoch": 1, "val_uar": 0.5})
            on_done(training, run.summary(training.name))

    monkeypatch.setattr(experiment, "train_all", train_all)
    return calls


# -- from the request to the result ----------------------------------------------------


def test_a_whole_run_in_order(corpus, tmp_path, untrained):
    observer = Watching()
    config = config_of(corpus, {"train": {"start": "baselines", "epochs": 4}})
    registry, out = Registry(config.plugins), tmp_path / "run"
    result = run_experiment(config, out, registry, jobs=0, observer=observer, report=False)
    assert observer.told[:3] == [
        "planned",
        "extracted 48",
        {"fold0/control": 5, "fold0/fused": 1, "fold0/first": 4, "fold0/second": 4},
    ]
    assert observer.told[-1] == "evaluating" and untrained == [(0, True)]
    assert observer.told[3:5] == ["epoch 1 of fold0/fused", "trained fold0/fused"]
    assert observer.warnings == []
    run = Run.open(out, registry)
    assert run.is_complete() and result.results.to_json() == Results.read(run).to_json()
    assert {"diagnosis.json", "metrics.jsonl", "predictions.csv", "confusion.csv"} <= {
        file.name for file in out.iterdir()
    }
    assert not (out / "report.html").exists()
    with Run(out):  # the lock was released
        pass


def test_an_existing_run_directory_is_refused_before_training(corpus, tmp_path, untrained):
    (tmp_path / "notes.txt").write_text("mine")
    observer, config = Watching(), config_of(corpus)
    with pytest.raises(RunError, match="is not empty"):
        run_experiment(config, tmp_path, Registry(config.plugins), jobs=0, observer=observer)
    assert observer.told == ["planned"] and untrained == []


def test_a_strategy_that_can_not_handle_absence_is_a_warning(tmp_path, untrained):
    write_corpus(tmp_path, s3_sad_1="1 2 |")
    observer, config = Watching(), config_of(tmp_path)
    registry = Registry(config.plugins)
    run_experiment(config, tmp_path / "run", registry, jobs=0, observer=observer, report=False)
    (warning,) = observer.warnings
    assert warning.startswith(
        "1 of 24 clips have no second. Missing modalities are replaced by zeros for concat."
    )


def test_balancers_that_start_too_late_are_a_warning(corpus, tmp_path, untrained, monkeypatch):
    monkeypatch.setattr(experiment, "late_rules", lambda config, registry, epochs: [f"{epochs}"])
    observer, config = Watching(), config_of(corpus, {"train": {"epochs": 7}})
    registry = Registry(config.plugins)
    run_experiment(config, tmp_path / "run", registry, jobs=0, observer=observer, report=False)
    assert observer.warnings == ["7"]


# -- resumed runs ----------------------------------------------------------------------


def test_a_resumed_run_trains_only_what_is_missing(corpus, tmp_path, untrained):
    run = untrained_run(corpus, tmp_path / "run")
    (run.training("fold0/second") / "training.json").unlink()
    observer = Watching()
    resume_experiment(run, jobs=0, observer=observer, report=False)
    assert [told for told in observer.told if str(told).startswith("epoch")] == [
        "epoch 1 of fold0/second"
    ]
    assert run.is_complete()


def test_a_finished_run_is_read_and_nothing_is_computed_again(copied, untrained, monkeypatch):
    monkeypatch.setattr(experiment, "diagnose", lambda run: run.write_json("diagnosis.json", {}))
    before = (copied.path / "results.json").stat().st_mtime_ns
    observer = Watching()
    result = resume_experiment(copied, jobs=0, observer=observer, report=False)
    assert untrained == [] and observer.told == []
    assert result.results.to_json() == Results.read(copied).to_json()
    assert (copied.path / "results.json").stat().st_mtime_ns == before
    assert (copied.path / "diagnosis.json").read_text() == "{}\n"  # this file was missing


def test_a_run_of_another_process_can_not_be_resumed(copied, untrained):
    (copied.path / "results.json").unlink()
    with Run(copied.path), pytest.raises(RunError, match="Another process works on the run"):
        resume_experiment(copied, jobs=0)
    assert untrained == []


@pytest.mark.parametrize("name", ["diagnose", "write_report"])
def test_a_finished_run_does_not_fail_if_diagnosis_or_report_fails(
    copied, untrained, monkeypatch, name
):
    def fails(run):
        raise ZeroDivisionError("no clips")

    for other in ("diagnose", "write_report"):
        monkeypatch.setattr(experiment, other, fails if other == name else lambda run: None)
    observer = Watching()
    result = resume_experiment(copied, jobs=0, observer=observer)
    command, file = {
        "diagnose": ("diagnose", "diagnosis.json"),
        "write_report": ("report", "report.html"),
    }[name]
    assert observer.warnings == [
        f"{file} can't be written (ZeroDivisionError: no clips). The run is complete "
        f"otherwise. To try again: fusion {command} {copied.path}"
    ]
    assert result.results.to_json() == Results.read(copied).to_json()


def test_train_run_trains_no_control_and_reads_no_test_clip(corpus, tmp_path, untrained):
    config = config_of(corpus, {"train": {"start": "baselines"}})
    run = untrained_run(corpus, tmp_path / "run", config)
    train_run(run, jobs=0)
    assert untrained == []  # every training is finished
    for name in ("fused", CONTROL):
        (run.training(f"fold0/{name}") / "training.json").unlink()
    observer = Watching()
    train_run(run, jobs=3, observer=observer)
    assert untrained == [(3, False)]
    assert set(observer.told[0]) == {"fold0/fused", "fold0/first", "fold0/second"}
    assert not run.finished(f"fold0/{CONTROL}") and not (run.path / "selection.json").exists()
    assert not list(run.path.glob("fold0/*/test.npz"))


# -- selection and test ----------------------------------------------------------------


def test_the_selection_is_written_before_the_test_and_the_chosen_models_last(
    corpus, tmp_path, monkeypatch
):
    run = untrained_run(corpus, tmp_path / "run")
    seen, ask, finish = [], experiment.test_all, Run.finish

    def files():
        return {file.name for file in run.path.iterdir()}

    def watched(given, **named):
        seen.append("test")
        assert "selection.json" in files()
        assert not {"results.json", "predictions.csv", "model.safetensors"} & files()
        assert not list(run.path.glob("fold0/*/test.npz"))
        return ask(given, **named)

    def last(given, *arguments):
        seen.append("finish")
        assert {"results.json", "predictions.csv", "confusion.csv", "model.safetensors"} <= files()
        assert "handed_out" not in run.read_json("run.json")
        finish(given, *arguments)

    monkeypatch.setattr(experiment, "test_all", watched)
    monkeypatch.setattr(Run, "finish", last)
    conclude(run, 0, seconds=12.34)
    assert seen == ["test", "finish"]
    assert Run.open(run.path).record.seconds["training"] == 12.3
    assert "handed_out" in run.read_json("run.json")


def test_the_chosen_model_is_the_selected_one(made):
    selection, record = Selection.read(made), made.record
    chosen = selection.folds[0].chosen
    names = [member.training for member in record.handed_out]
    expected = [m for m, w in selection.folds[0].weights.items() if w > 0]
    assert names == [f"fold0/{name}" for name in (expected if chosen == "ensemble" else [chosen])]
    weights = load_weights(made.path / "model.safetensors")
    assert {name.rsplit("/", 1)[0] for name in weights} == set(names)


def test_predictions_are_written_for_each_clip(made):
    with (made.path / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    test = [made.data.clips[i] for i in made.data.splits[0].test]
    models = ["first", "second", "ensemble", "fused", "chosen"]
    assert [(r["model"], r["clip"]) for r in rows] == [(m, c.name) for m in models for c in test]
    for row, clip in zip(rows, test * len(models), strict=True):
        assert (row["fold"], row["corpus"]) == ("0", clip.corpus)
        assert (row["speaker"], row["label"]) == (clip.speaker, clip.label)
        shares = {name: float(row[f"p_{name}"]) for name in ("happy", "sad")}
        assert sum(shares.values()) == pytest.approx(1, abs=2e-6)
        assert row["predicted"] == max(shares, key=shares.get)
    with (made.path / "confusion.csv").open(newline="") as file:
        counts = {(r["model"], r["truth"]): (int(r["happy"]), int(r["sad"]))
                  for r in csv.DictReader(file)}  # fmt: skip
    for (model, truth), found in counts.items():
        said = [r["predicted"] for r in rows if (r["model"], r["label"]) == (model, truth)]
        assert found == (said.count("happy"), said.count("sad"))
    assert len(counts) == 10


# -- the record ------------------------------------------------------------------------


def test_the_record_of_a_run_by_hand(tmp_path):
    write_corpus(tmp_path, s3_sad_1="1 2 |", s4_sad_0="a word | 1 2 3")
    config = config_of(tmp_path, {"train": {"start": "baselines", "epochs": 8}}, folds=3)
    run = untrained_run(tmp_path, tmp_path / "run", config)
    record = Run.open(run.path).record
    assert (record.format, record.handed_out, record.task) == (3, None, None)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", record.created)
    assert record.classes == ("happy", "sad") and record.synthetic is False
    assert record.corpora == ("table",) and record.absent == {"second": 1}
    (failure,) = record.failures
    assert failure["feature"] == "first" and failure["recording"].endswith("s4-sad-0.wav")
    assert failure["reason"] == f"Can't read {tmp_path / 's4-sad-0.wav'}."
    assert (record.split.mode, record.split.folds) == ("speaker", 3)
    assert [sum(p["clips"] for p in part.values()) for part in record.split.parts] == [23] * 3
    assert all(part["test"]["speakers"] == 2 for part in record.split.parts)
    assert (record.trainings, record.control) == (12, 10)  # 3 models and a control, 3 folds
    assert record.training["epochs"] == 8 and record.config.settings["first"]["scale"] == 1.0
    assert {"python", "torch", "numpy", "modal-fusion"} <= set(record.versions)
    assert "optuna" not in record.versions
    assert record.seconds.keys() == {"extraction"}
    for name, feature in record.features.items():
        assert feature.fingerprint(name).id == feature.id
    assert len(all_trainings(run)) == record.trainings


def test_the_record_of_a_tuned_run_counts_its_trials(corpus, tmp_path):
    pytest.importorskip("optuna")
    settings = {"train": {"start": "baselines"}}
    record = untrained_run(corpus, tmp_path / "run", config_of(corpus, settings, tune=5)).record
    assert record.trainings == 3 * 5 + 1 and "optuna" in record.versions
    assert record.config.space


# -- trackers --------------------------------------------------------------------------


class Noting(Tracker):
    """Tracker that records its calls, and fails in the methods that `breaks` names."""

    def __init__(self, name, breaks=()):
        self.name, self.breaks, self.told = name, breaks, []

    def _note(self, method):
        self.told.append(method)
        if method in self.breaks:
            raise ConnectionError("no network")

    def start(self, run, config):
        self._note("start")

    def epoch(self, event):
        self.event = event
        self._note("epoch")

    def finish(self, results):
        self._note("finish")

    def close(self):
        self._note("close")


def test_a_tracker_that_fails_is_left_out_and_the_run_continues(
    corpus, tmp_path, untrained, monkeypatch
):
    good, bad, worst = Noting("good"), Noting("bad", ["epoch", "close"]), Noting("worst", ["close"])
    monkeypatch.setattr(experiment, "make_trackers", lambda *_: [bad, good, worst])
    run = untrained_run(corpus, tmp_path / "run")
    for training in all_trainings(run):
        (run.training(training.name) / "training.json").unlink()
    observer = Watching()
    resume_experiment(run, jobs=0, observer=observer, report=False)
    whole = ["start", "epoch", "epoch", "epoch", "finish", "close"]
    assert good.told == worst.told == whole
    assert bad.told == ["start", "epoch", "close"]  # closed nevertheless
    assert good.event == {"training": "fold0/second", "epoch": 1, "val_uar": 0.5}
    assert [warning.split(":")[0] for warning in observer.warnings] == [
        "The tracker 'bad' failed in epoch and is left out",
        "The tracker 'worst' failed in close and is left out",
    ]
    assert "no network" in observer.warnings[0] and run.is_complete()


def test_trackers_are_closed_when_a_training_fails(corpus, tmp_path, monkeypatch):
    tracker = Noting("good")
    monkeypatch.setattr(experiment, "make_trackers", lambda *_: [tracker])

    def fails(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "train_all", fails)
    run = untrained_run(corpus, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        resume_experiment(run, jobs=0, report=False)
    assert tracker.told == ["start", "close"]
    with Run(run.path):
        pass


# -- names -----------------------------------------------------------------------------


def test_the_name_of_a_fused_model():
    assert fused_label(RunConfig(("x",), strategy="gated")) == "gated"
    config = RunConfig(("x",), strategy="gated", balancers=("lr", "gradscale"))
    assert fused_label(config) == "gated + lr + gradscale"


def test_the_name_of_a_new_run_has_time_and_method(tmp_path, monkeypatch):
    config = RunConfig(("x",), strategy="gated", balancers=("lr",))
    path = new_run_path(config, tmp_path)
    assert path.parent == tmp_path and re.fullmatch(r"\d{8}-\d{6}-gated-lr", path.name)
    assert not path.exists()
    assert new_run_path(replace(config, strategy="", balancers=()), tmp_path).name.endswith("-run")

    class Still(experiment.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 1, 2, 3, 4, 5, tzinfo=tz)

    monkeypatch.setattr(experiment, "datetime", Still)
    path = new_run_path(config, tmp_path)
    assert path.name == "20260102-030405-gated-lr"
    path.mkdir()
    with pytest.raises(RunError, match="20260102-030405-gated-lr already exists") as caught:
        new_run_path(config, tmp_path)
    assert "--out" in caught.value.hint


def test_written_files_are_strict_json(made):
    def refuse(constant):
        raise AssertionError(constant)

    for file in made.path.glob("*.json"):
        json.loads(file.read_text(), parse_constant=refuse)
    said = np.load(made.training(Training(0, FUSED).name) / "test.npz")
    assert said["fused"].shape == (len(made.data.splits[0].test), 2)


# -- recordings ------------------------------------------------------------------------

SPOKEN = """
import numpy as np
from fusion import Clip, Corpus, Extractor, hookimpl
from fusion.core.contracts import Recording
from fusion.core.toolkit.audio import load_waveform

class Spoken(Corpus):
    '''Recordings called SPEAKER-LABEL-TAKE.wav.'''

    name = "spoken"

    def clips(self):
        self.columns_used["label"] = "the file's name"
        for path in sorted(self.path.iterdir()):
            if path.suffix == ".wav":
                speaker, label, _ = path.stem.split("-")
                yield Clip(Recording(path), path.name, label, speaker, self.name)
            else:
                self.pass_over(path.name, f"not a recording ({path.suffix})")

class Level(Extractor):
    '''Two numbers.'''

    name, shape, default_branch = "level", (2,), "mlp"

    def extract(self, recording):
        samples = load_waveform(recording, 8000)
        return np.array([np.abs(samples).max(), samples.std()], np.float32)

@hookimpl
def fusion_corpora():
    return [Spoken]

@hookimpl
def fusion_extractors():
    return [Level]
"""


@pytest.fixture
def spoken(tmp_path):
    """Configuration of a run on 24 recordings; all sad ones are silent, two files are no clips."""
    folder = tmp_path / "spoken"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for speaker in range(6):
        for label in ("happy", "sad"):
            for take in range(2):
                samples = rng.uniform(-0.3, 0.3, 400) if label == "happy" else np.zeros(400)
                samples[0] += 5e-5 * (speaker * 2 + take)  # no copies
                soundfile.write(folder / f"s{speaker}-{label}-{take}.wav", samples, 8000)
    (folder / "a.txt").write_text("notes")
    (folder / "b.txt").write_text("more notes")
    (tmp_path / "spoken_plugin.py").write_text(SPOKEN)
    return RunConfig(
        (f"spoken={folder}",), features=("level",), strategy="concat", labels="native",
        settings={"train": {"dim": 4, "epochs": 1}},
        plugins=(str(tmp_path / "spoken_plugin.py"),), cache=str(tmp_path / "cache"),
    )  # fmt: skip


def test_half_of_the_recordings_silent_is_said_before_the_training(spoken, tmp_path):
    (tmp_path / "spoken" / "s5-happy-1.wav").write_bytes(b"damaged")
    observer, registry = Watching(), Registry(spoken.plugins)
    intakes = []
    observer.accounted = intakes.extend
    with Run.create(tmp_path / "run", registry) as run:
        prepare_run(run, make_plan(spoken, registry), jobs=1, observer=observer)
    assert observer.told == ["extracted 23"]
    (warning,) = observer.warnings
    assert warning.startswith(
        "Silent or constant recordings (severe): 12 of 23 recordings (52.2%) are silent or "
        "constant (peak around the mean below 0.001 of full scale, -60 dB). By class: happy 0 of "
        "11, sad 12 of 12."
    )
    (intake,) = intakes
    assert intake.summary() == (
        "spoken: 26 files and rows: 23 used as clips, 2 passed over, 1 unreadable"
    )


def test_the_record_holds_what_was_passed_over_and_signals_csv_the_signals(spoken, tmp_path):
    run = untrained_run(tmp_path, tmp_path / "run", spoken)
    again = Run.open(run.path, run.registry)
    assert again.record.passed_over == {"spoken": {"not a recording (.txt)": 2}}
    assert again.record.columns == {"spoken": {"label": "the file's name"}}
    assert again.record.unreadable == {}
    (intake,) = again.record.intake(again.data.clips)
    assert (intake.total, intake.clips) == (26, 24)
    assert again.signals.keys() == set(again.data.keys)
    peaks = [again.signals[key].peak for key in again.data.keys]
    quiet = [clip.label == "sad" for clip in again.data.clips]
    assert [peak < 0.01 for peak in peaks] == quiet
    # The diagnosis reads the stored measurements, not the recordings.
    shutil.rmtree(tmp_path / "spoken")
    assert "silent" in diagnose(again).faults


def test_text_recordings_have_no_signals(made):
    assert not (made.path / "signals.csv").exists() and made.signals == {}
