"""Runs on a terminal: progress, result table, and cache builds."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from report_runs import data_of, write_run

from fusion.cache import FeatureCache
from fusion.cache.builds.progress import BuildReport, Failure
from fusion.cache.builds.progress import Progress as BuildProgress
from fusion.cache.shards.info import Problem
from fusion.core.analysis.diagnosis import FILE as DIAGNOSIS
from fusion.core.analysis.diagnosis import Diagnosis, Finding
from fusion.core.data.corpora import Dataset
from fusion.core.display.run import Display, print_build, print_result
from fusion.core.runs.outcome.results import Results
from fusion.core.runs.result import RunResult
from fusion.core.runs.run import Run
from fusion.core.runs.trainings import CONTROL, FUSED, Training


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


# -- a build -------------------------------------------------------------------------


def test_a_build_prints_its_counts(printed, tmp_path):
    report = BuildReport(3, 2, [], 1.25)
    assert printed(print_build, report, FeatureCache(tmp_path)) == [
        "3 computed, 2 present already, 0 failed, in 1.2 s",
        f"cache: {tmp_path}",
    ]


def test_failures_problems_and_absent_modalities_of_a_build(printed, tmp_path, nasty):
    name, shown = nasty
    failure = Failure("mel", "k", f"{name}.wav", f"{name} is silent")
    absent = [Failure("text", k, "x", "") for k in ("k1", "k2", "k1")]
    problems = [Problem(Path(f"{name}{k}"), "cut short") for k in range(7)]
    report = BuildReport(1, 0, [failure], 1.0, problems=problems, absent=absent)
    lines = printed(print_build, report, FeatureCache(tmp_path))
    assert lines[0] == f"left out: {shown}.wav: mel: {shown} is silent"
    assert lines[1:6] == [f"warning: {shown}{k}: cut short" for k in range(5)]
    assert lines[6:8] == ["and 2 more: fusion cache verify", "2 recordings have no text"]
    assert "1 computed, 0 present already, 1 failed" in lines[8]


# -- progress --------------------------------------------------------------------------


def plan_of(classes=("low", "high"), corpus="c", dropped=None, mode="speaker", adapt="none",
            folds=1):  # fmt: skip
    data = data_of(folds, classes)
    clips = tuple(replace(clip, corpus=corpus) for clip in data.clips)
    dataset = Dataset(clips, tuple(classes), dropped or {}, (corpus,))
    config = SimpleNamespace(split=mode, adapt=adapt, cache=None)
    return SimpleNamespace(config=config, dataset=dataset, splits=data.splits)


def test_the_corpus_and_the_split(printed):
    plan = plan_of(dropped={"c": {"bored": 3, "odd": 1}, "d": {}}, folds=3)
    assert printed(Display().planned, plan, err=True) == [
        "corpus    c: 36 clips, 9 speakers; low 18, high 18",
        "          c: left out 4: bored 3, odd 1",
        "split     3 folds; the first: train 12 clips of 3 speakers, val 12 clips of 3 speakers, "
        "test 12 clips of 3 speakers",
    ]


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


def test_labels_and_corpora_are_plain_text(printed, nasty):
    name, shown = nasty
    plan = plan_of(classes=(name, "high"), corpus=name, dropped={name: {name: 2}})
    lines = printed(Display().planned, plan, err=True)
    assert lines[:2] == [
        f"corpus    {shown}: 36 clips, 9 speakers; {shown} 18, high 18",
        f"          {shown}: left out 2: {shown} 2",
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
