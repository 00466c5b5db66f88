"""Runs on a terminal: progress and result table."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from report_runs import data_of, write_run

from fusion.cache.builds.progress import BuildReport, Failure
from fusion.cache.builds.progress import Progress as BuildProgress
from fusion.core.analysis.diagnosis import FILE as DIAGNOSIS
from fusion.core.analysis.diagnosis import Diagnosis, Finding
from fusion.core.data.corpora import Dataset
from fusion.core.data.intake import Intake
from fusion.core.data.speakers import with_unknown_speakers
from fusion.core.data.windows import LongClips
from fusion.core.display.run import Display, print_result
from fusion.core.runs.outcome.results import Results
from fusion.core.runs.result import RunResult
from fusion.core.runs.run import Run
from fusion.core.runs.trainings import CONTROL, FUSED, Training

EXTRACTORS = {"made": SimpleNamespace(note=""), "read": SimpleNamespace(note="2 columns")}


def result_of(path):
    run = Run.open(path)
    return RunResult(run, Results.read(run))


@pytest.fixture
def result(tmp_path):
    return result_of(write_run(tmp_path / "run"))


# -- results -------------------------------------------------------------------------


def test_the_table_the_verdict_and_what_to_do_next(printed, result):
    lines = printed(print_result, result)
    head = next(i for i, line in enumerate(lines) if line.startswith("model "))
    table = {line.split()[0]: line.split() for line in lines[head : lines.index("", head)] if line}
    uar = {m.name: f"{100 * m.uar.value:.1f}" for m in result.results.models}
    assert all(table[name][1] == uar[name] for name in ("a", "b", FUSED, "ensemble"))
    assert result.results.verdict in lines
    path = result.path
    assert lines[-2:] == [
        f"run directory: {path}",
        f"label new recordings: fusion predict {path} FILE...",
    ]


def test_the_path_of_an_existing_report_is_printed(printed, result):
    (result.path / "report.html").touch()
    assert printed(print_result, result)[-1] == f"report: {result.path}/report.html"


def test_findings_except_mild_ones_are_printed(printed, result):
    matches = [Finding("dead_branch", s, "It is.", "rule", m)
             for s, m in (("severe", "a"), ("mild", "b"))]  # fmt: skip
    (result.path / DIAGNOSIS).write_text(json.dumps(Diagnosis(tuple(matches), {}, {}).to_json()))
    lines = printed(print_result, result)
    assert "diagnosis: Dead branch of a (severe)" in lines
    assert f"details of the diagnosis: fusion diagnose {result.path}" in lines


def test_the_name_of_a_run_directory_is_plain_text(printed, tmp_path, nasty):
    name, shown = nasty
    path = write_run(tmp_path / name.replace("/", "_"), classes=(name, "high"))
    lines = printed(print_result, result_of(path))
    assert f"run directory: {tmp_path}/{shown.replace('/', '_')}" in lines


# -- progress --------------------------------------------------------------------------


def plan_of(classes=("low", "high"), corpus="c", dropped=None, mode="speaker", adapt="none",
            folds=1, **facts):  # fmt: skip
    data = data_of(folds, classes)
    clips = tuple(replace(clip, corpus=corpus) for clip in data.clips)
    dataset = Dataset(clips, tuple(classes), dropped or {}, (corpus,), **facts)
    config = SimpleNamespace(split=mode, adapt=adapt, cache=None, label_map={})
    return SimpleNamespace(
        config=config, dataset=dataset, splits=data.splits, extractors=EXTRACTORS
    )


def test_the_corpus_and_the_split(printed):
    plan = plan_of(dropped={"c": {"bored": 3, "odd": 1}, "d": {}}, folds=3)
    assert printed(Display().planned, plan, err=True) == [
        "corpus    c: 36 clips, 9 speakers; low 18, high 18",
        "          c: 40 files and rows: 36 used as clips, 4 left out by label",
        "            left out by label: bored 3, odd 1",
        "read      2 columns",
        "split     3 folds; the first: train 12 clips of 3 speakers, val 12 clips of 3 speakers, "
        "test 12 clips of 3 speakers",
    ]


def test_renamed_labels_are_printed(printed):
    plan = plan_of()
    plan.config.label_map = {"joy": "low"}
    lines = printed(Display().say_corpora, plan, err=True)
    assert lines[1] == "          labels renamed: joy -> low"


def test_unknown_speakers_are_stated(printed):
    plan = plan_of(mode="random")
    clips = with_unknown_speakers([replace(clip, speaker="") for clip in plan.dataset.clips])
    plan.dataset = replace(plan.dataset, clips=tuple(clips))
    lines = printed(Display().planned, plan, err=True)
    assert "36 clips, unknown speakers;" in lines[0]
    assert lines[-1].strip() == (
        "speaker-dependent: the speakers of 36 clips are unknown, so test speakers may also be in "
        "training"
    )


def test_the_spellings_that_were_joined_are_printed(printed):
    plan = plan_of()
    plan.dataset = replace(plan.dataset, spellings={"low": (" LOW", "Low")})
    lines = printed(Display().say_corpora, plan, err=True)
    assert lines[1] == "          labels joined by spelling: low = ' LOW', 'Low'"


def test_a_class_that_a_part_lacks_is_a_warning(printed):
    plan = plan_of(folds=2)
    first = plan.splits[0]
    low = np.array([i for i in first.test if plan.dataset.clips[i].label == "low"])
    plan.splits = (replace(first, test=low), plan.splits[1])
    lines = printed(Display().say_split, plan, err=True)
    assert "          no clip in test of some fold: high" in lines
    assert not any("in val" in line for line in lines)


def test_adaptation_and_speaker_dependence_of_a_split(printed):
    plan = plan_of(mode="random", adapt="speaker")
    split = plan.splits[0]
    received = np.concatenate([split.train, split.test[:2]])  # clips of one test speaker
    plan.splits = (replace(split, train=received, speaker_independent=False),)
    lines = printed(Display().say_split, plan, err=True)
    assert any("speaker-adapted: features are standardised" in line for line in lines)
    assert "          speaker-dependent: 1 of 3 test speakers are also in training" in lines


def test_a_published_split_without_shared_speakers_says_so(printed):
    lines = printed(Display().say_split, plan_of(mode="published", folds=3), err=True)
    assert [line.strip() for line in lines[1:]] == [
        "published split: speaker-independent, no test speaker is in training or validation"
    ]


def test_a_published_split_names_what_its_parts_share(printed):
    plan = plan_of(mode="published")
    split = plan.splits[0]
    received = np.concatenate([split.train, split.test[:2], split.val[:1]])
    plan.splits = (replace(split, train=received, speaker_independent=False),)
    # A clip of the test part is the recording of a training clip.
    pair = (int(split.train[0]), int(split.test[5]))
    plan.dataset = replace(plan.dataset, shared_recordings=((0, 1), pair))
    one, other = (plan.dataset.clips[i].name for i in pair)
    lines = printed(Display().say_split, plan, err=True)
    assert [line.strip() for line in lines[1:]] == [
        "published split, speaker-dependent: 1 of 3 test speakers are also in training or "
        "validation",
        "validation: training and validation share speakers",
        f"recordings of which clips are in two parts: 1; first: c/{one} = c/{other}",
    ]


@pytest.mark.parametrize("mode", ["published", "random"])
def test_a_speaker_of_several_folds_is_counted_once(printed, mode):
    plan = plan_of(mode=mode)
    split = plan.splits[0]
    received = np.concatenate([split.train, split.test[:2]])  # clips of one test speaker
    fold = replace(split, train=received, speaker_independent=False)
    plan.splits = (fold, fold, fold)
    text = "\n".join(printed(Display().say_split, plan, err=True))
    assert "speaker-dependent: 1 of 3 test speakers are also in training" in text


def test_merged_speakers_are_printed_as_plain_text(printed, nasty):
    name, shown = nasty
    plan = plan_of()
    plan.dataset = replace(plan.dataset, merged_speakers={"c": (("01", "1"), (name, "x"))})
    lines = printed(Display().say_corpora, plan, err=True)
    assert lines[1:] == [f"          speakers that are one person: 01 = 1; {shown} = x"]


def test_labels_and_corpora_are_plain_text(printed, nasty):
    name, shown = nasty
    plan = plan_of(classes=(name, "high"), corpus=name, dropped={name: {name: 2}})
    lines = printed(Display().planned, plan, err=True)
    assert lines[:3] == [
        f"corpus    {shown}: 36 clips, 9 speakers; {shown} 18, high 18",
        f"          {shown}: 38 files and rows: 36 used as clips, 2 left out by label",
        f"            left out by label: {shown} 2",
    ]


def test_what_was_passed_over_and_the_columns_are_printed(printed, nasty):
    name, shown = nasty
    plan = plan_of(
        passed_over={"c": {f"not a recording ({name})": [f"{name}.txt", "b.txt"]}},
        columns={"c": {"label": name, "speaker": "SpkrID"}},
    )
    lines = printed(Display().say_corpora, plan, err=True)
    assert lines[1:] == [
        "          c: 38 files and rows: 36 used as clips, 2 passed over",
        f"            passed over: not a recording ({shown}) 2, first: {shown}.txt",
        f"            columns: label = {shown}, speaker = SpkrID",
    ]
    plan = plan_of(columns={"c": {"label": "EmoClass"}})
    lines = printed(Display().say_corpora, plan, err=True)
    assert lines[1:] == ["          c: columns: label = EmoClass"]


def test_the_sums_are_printed_again_if_recordings_are_unreadable(printed):
    intakes = [Intake("c", 33, {"odd": 2}, {"no label": 4}, 3), Intake("d", 5, {"odd": 1})]
    assert printed(Display().accounted, intakes, err=True) == [
        "          c: 42 files and rows: 33 used as clips, 2 left out by label, 4 passed over, "
        "3 unreadable"
    ]


def test_long_clips_are_announced(printed):
    found = LongClips({"mel": 4.0}, 2, 9)
    assert printed(lambda: Display().long_clips(found, 7), err=True) == [
        "long clips: 2 of 7 are longer than 6 s (1.5 x the 4 s that mel sees): training on random "
        "windows, evaluation by the mean over their windows"
    ]


def test_extraction_ends_with_its_counts_and_some_failures(printed, nasty):
    name, shown = nasty
    failures = [Failure("mel", f"k{i}", f"{i}{name}.wav", "silent") for i in range(7)]
    display = Display()

    def show():
        display.extracting(BuildProgress("mel", 1, 10, 0))
        display.extracted(BuildReport(4, 6, failures, 2.0))
        display.extracted(BuildReport(0, 6, [], 2.0))

    lines = printed(show, err=True)
    assert lines[0] == "features  4 computed in 2.0 s, 6 found in the cache"
    assert lines[1] == f"          left out: 0{shown}.wav: mel: silent"
    assert lines[6] == "          and 2 more, all listed in run.json"
    assert lines[7:] == ["features  6 found in the cache"]


def test_a_recording_that_fails_in_each_feature_is_one_recording(printed):
    failures = [Failure(m, f"k{i}", f"{i}.wav", f"RecordingError: {i}.wav: can't be read")
                for m in ("mel", "mfcc") for i in range(8)]  # fmt: skip
    lines = printed(Display().extracted, BuildReport(0, 0, failures, 1.0), err=True)
    assert lines[1] == "          left out: 0.wav: can't be read" and len(lines) == 7
    assert lines[6] == "          and 3 more, all listed in run.json"


SUMMARY = {"best_uar": 0.5, "best_epoch": 3, "epoch": 4, "seconds": 1.6, "parameters": 12345}


def test_trainings_are_shown_with_their_budgets_and_results(printed):
    a, fused, control = (Training(0, m) for m in ("a", FUSED, CONTROL))
    display = Display()

    def show():
        display.training(Path("r"), {a: 4, fused: 1, control: 5}, 3)
        display.epoch(a, {"val_uar": 0.25, "epoch": 1, "trial": 1})
        display.trained(a, SUMMARY)
        display.training(Path("r"), {a: 4, fused: 4})

    assert printed(show, err=True) == [
        "training  3 models, in 3 trials each: baselines 4 epochs, fused 1 more, control 5",
        f"          {'fold0/a':<18} best validation UAR 50.0 at epoch 3 of 4, 2 s, "
        "12,345 parameters",
        "training  2 models: 4 epochs each",
    ]


@pytest.mark.parametrize(
    ("trial", "words"),
    [(0, "; best of 5 trials: the settings as given"),
     (2, "; best of 5 trials: train.lr 0.00123, mlp.act [/bold]?[31m")],
)  # fmt: skip
def test_the_best_trial_is_shown_with_its_settings(printed, nasty, trial, words):
    settings = {"train": {"lr": 0.0012345}, "mlp": {"act": nasty[0]}}
    summary = {**SUMMARY, "trial": trial, "trials": 5, "settings": settings}
    (line,) = printed(Display().trained, Training(0, "a"), summary, err=True)
    assert line.endswith(f"parameters{words}")


def test_warnings_are_plain_text_and_quiet_prints_nothing(printed, nasty):
    name, shown = nasty
    assert printed(Display().warned, name, err=True) == [f"warning: {shown}"]
    assert printed(Display(quiet=True).warned, name, err=True) == []
