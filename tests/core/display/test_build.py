"""Lines of a build of features: corpora, what is left out, faults of files, and counts."""

from dataclasses import replace
from pathlib import Path

from report_runs import data_of

from fusion.cache import FeatureCache
from fusion.cache.builds.progress import BuildReport, Failure
from fusion.cache.shards.info import Problem
from fusion.core.data.corpora import Dataset
from fusion.core.display.build import print_build
from fusion.core.runs.feature_build import Built
from fusion.core.toolkit.signal import Signal


def built_of(report, dataset=None, signals=None):
    data = data_of(1, ("low", "high"))
    dataset = dataset or Dataset(data.clips, data.classes, {}, (data.clips[0].corpus,))
    return Built(dataset, replace(data, splits=()), report, signals or {})


def test_a_build_prints_what_it_passed_over_and_silent_recordings(printed, tmp_path, nasty):
    name, shown = nasty
    data = data_of(1, ("low", "high"))
    corpus = data.clips[0].corpus
    dataset = Dataset(data.clips, data.classes, {}, (corpus,), {corpus: {name: ["a.txt", "b"]}})
    signals = {key: Signal(1.0, 0.0, 0.0, 0.0, 1.0) for key in data.keys}
    built = built_of(BuildReport(3, 2, [], 1.25), dataset, signals)
    lines = printed(print_build, built, FeatureCache(tmp_path))
    assert lines[1:3] == [
        f"{corpus}: 38 files and rows: 36 used as clips, 2 passed over",
        f"  passed over: {shown} 2, first: a.txt",
    ]
    assert lines[3].startswith(
        "warning: Silent or constant recordings (severe): 36 of 36 recordings (100.0%)"
    )
    assert lines[4].startswith("3 computed")


def test_a_build_prints_its_counts(printed, tmp_path):
    built = built_of(BuildReport(3, 2, [], 1.25))
    assert printed(print_build, built, FeatureCache(tmp_path)) == [
        "corpus: c: 36 clips, 9 speakers; low 18, high 18",
        "3 computed, 2 present already, 0 failed, in 1.2 s",
        f"cache: {tmp_path}",
    ]


def test_failures_problems_and_absent_modalities_of_a_build(printed, tmp_path, nasty):
    name, shown = nasty
    failure = Failure("mel", "k", f"{name}.wav", f"{name} is silent")
    absent = [Failure("text", k, "x", "") for k in ("k1", "k2", "k1")]
    problems = [Problem(Path(f"{name}{k}"), "cut short") for k in range(7)]
    report = BuildReport(1, 0, [failure], 1.0, problems=problems, absent=absent)
    lines = printed(print_build, built_of(report), FeatureCache(tmp_path))
    assert lines[1] == f"left out: {shown}.wav: mel: {shown} is silent"
    assert lines[2:7] == [f"warning: {shown}{k}: cut short" for k in range(5)]
    assert lines[7:9] == ["and 2 more: fusion cache verify", "2 recordings have no text"]
    assert "1 computed, 0 present already, 1 failed" in lines[9]


def test_recordings_that_failed_are_counted_once_and_five_are_listed(printed, tmp_path):
    failures = [Failure(m, f"k{i}", f"{i}.wav", f"RecordingError: {i}.wav: can't be read")
                for m in ("mel", "mfcc") for i in range(8)]  # fmt: skip
    failures.append(Failure("text", "k0", "0.wav", "no words"))
    lines = printed(print_build, built_of(BuildReport(0, 0, failures, 1.0)), FeatureCache(tmp_path))
    assert lines[1] == "left out: 0.wav: can't be read; 0.wav: text: no words"
    assert lines[5:7] == ["left out: 4.wav: can't be read", "and 3 more"]
    assert "17 failed (of 8 recordings)" in lines[7]


def test_many_reasons_name_no_file_of_a_run(printed, tmp_path):
    data = data_of(1, ("low", "high"))
    corpus = data.clips[0].corpus
    reasons = {f"reason {n}": ["x"] * n for n in range(1, 10)}
    dataset = Dataset(data.clips, data.classes, {}, (corpus,), {corpus: reasons})
    lines = printed(
        print_build, built_of(BuildReport(1, 0, [], 1.0), dataset), FeatureCache(tmp_path)
    )
    assert "  passed over: 3 more reasons 6" in lines and "run.json" not in "".join(lines)
