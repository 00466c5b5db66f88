"""Long recordings in whole runs: windows are built, trained on, evaluated and read back."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from long_recordings import CLASSES, config_of, plan_of, prepared, write_corpus

from fusion.cache import FeatureCache
from fusion.core.analysis.diagnosis import diagnose
from fusion.core.analysis.explain import explain
from fusion.core.analysis.report import write_report
from fusion.core.analysis.report.examples import views
from fusion.core.analysis.report.run_data import read_run
from fusion.core.contracts.errors import RunError
from fusion.core.data.adaptation import moments_of, numbered_speakers
from fusion.core.data.extraction import fingerprint_of
from fusion.core.data.features import Features
from fusion.core.data.windows import LongClips
from fusion.core.registry.registry import Registry
from fusion.core.runs.execution.jobs import (
    features_of,
    speaker_moments,
    stored_arrays,
    train_one,
    trained_model,
)
from fusion.core.runs.feature_build import build_cache, extract
from fusion.core.runs.outcome.predictions import validate_all
from fusion.core.runs.plan import make_extractors
from fusion.core.runs.trainings import FUSED, Training, all_trainings
from fusion.core.training.inference import predict
from fusion.core.workflows.audit import REQUEST, _folder, _request, plan_audit
from fusion.core.workflows.cache_status import why_clip, why_run
from fusion.core.workflows.cache_upkeep import references
from fusion.core.workflows.compare import read_request
from fusion.core.workflows.experiment import Observer, conclude
from fusion.core.workflows.grid import Cell, Request


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """24 clips; those of the first of six speakers are short, the others have four windows."""
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder, short=1)
    return folder


@pytest.fixture(scope="module")
def run(corpus, tmp_path_factory):
    """A run with features and without trainings; `level` describes the whole clip."""
    config = config_of(corpus, features=("mel", "mfcc", "level"))
    return prepared(config, tmp_path_factory.mktemp("run") / "run")


# -- what is learned -------------------------------------------------------------------


@pytest.mark.parametrize(("windows", "uar"), [("random", 1.0), ("middle", 0.5)])
def test_speech_at_the_end_is_learned_from_windows_only(corpus, tmp_path, windows, uar):
    run = prepared(config_of(corpus, windows=windows, epochs=20), tmp_path / "run")
    train_one(run, Training(0, "mel"), 1)
    assert run.summary("fold0/mel")["best_uar"] == uar


def test_the_stored_predictions_are_the_mean_over_windows(corpus, tmp_path):
    run = prepared(config_of(corpus, epochs=1), tmp_path / "run")
    for model in ("mel", FUSED):
        train_one(run, Training(0, model), 1)
    stored = validate_all(run, jobs=0)[Training(0, "mel")].probabilities
    val = run.data.splits[0].val
    # The same windows, as clips of their own.
    features = features_of(run, run.record.model.single("mel"), resident_bytes=0, fold=0)
    first = features.rows.first
    alone = Features(
        features.modalities, features.arrays, np.zeros(first[-1], np.int64), features.device,
        resident_bytes=0,
    )  # fmt: skip
    model = trained_model(run, Training(0, "mel"))
    for row, clip in zip(stored, val, strict=True):
        windows = np.arange(first[clip], first[clip + 1])
        expected = predict(model, alone, windows).probabilities.mean(axis=0)
        np.testing.assert_allclose(row, expected, rtol=1e-5)


# -- what is built and stored ----------------------------------------------------------


def test_extractors_with_a_limit_get_windows_and_others_the_whole_clip(run):
    data = run.data
    assert run.record.long_clips == LongClips({"mel": 0.512, "mfcc": 0.512}, 20, 80)
    assert data.divided == ("mel", "mfcc") and len(data.windows) == 20
    assert len(data.keys_of("mel")) == len(data.keys_of("mfcc")) == 84
    assert data.keys_of("level") == list(data.keys)
    long = next(iter(data.windows))
    features = features_of(run, run.record.model, resident_bytes=0, fold=0)
    rows = np.arange(features.rows.first[long], features.rows.first[long + 1])
    level = features.arrays["level"].take(rows)
    np.testing.assert_allclose(level, np.tile([0.3, 2.0], (4, 1)), rtol=0.02)
    mel = features.arrays["mel"].take(rows)
    assert [bool(image.any()) for image in mel] == [False, False, False, True]


def test_a_model_of_whole_clips_has_no_windows(run):
    spec = run.record.model.single("level")
    features = features_of(run, spec, resident_bytes=0, fold=0)
    assert features.rows is None and len(features.arrays["level"]) == len(run.data.clips)


def test_window_arrays_are_those_of_the_parts_of_the_recording(run):
    data, extractor = run.data, make_extractors(run.config, run.registry)["mel"]
    fingerprint = run.record.features["mel"].fingerprint("mel")
    index = max(data.windows)
    window = data.windows[index][-1]
    stored = FeatureCache(run.config.cache).open(fingerprint, [window.key])[0]
    np.testing.assert_array_equal(stored, extractor.extract(window.recording))


def test_the_middle_uses_whole_clips_as_before_and_says_so(corpus, tmp_path):
    run = prepared(config_of(corpus, windows="middle"), tmp_path / "run")
    assert run.record.long_clips == LongClips({"mel": 0.512}, 20, 0)
    assert run.data.rows is None and not (run.path / "windows.csv").exists()
    assert run.data.keys_of("mel") == list(run.data.keys)


def test_a_corpus_of_short_clips_has_no_windows(tmp_path):
    write_corpus(tmp_path, seconds=0.7)
    run = prepared(config_of(tmp_path), tmp_path / "run")
    assert run.record.long_clips is None and run.data.rows is None
    assert "long_clips" not in json.loads((run.path / "run.json").read_text())


def test_a_cache_build_computes_the_windows_of_a_run(corpus):
    config = config_of(corpus, features=("mel", "level"), cache=str(corpus / "built"))
    registry = Registry(config.plugins)
    assert build_cache(config, registry, jobs=1).report.computed == 84 + 24
    assert extract(plan_of(config), jobs=1).report.computed == 0


def test_a_clip_with_a_window_that_can_not_be_read_is_left_out(tmp_path):
    write_corpus(tmp_path)
    name = next(iter(CLASSES))
    samples, rate = soundfile.read(tmp_path / f"s0-{name}-0.wav", dtype="float32")
    samples[-3] = np.nan
    soundfile.write(tmp_path / f"s0-{name}-0.wav", samples, rate, subtype="FLOAT")
    result = extract(plan_of(config_of(tmp_path, features=("mel", "mfcc"))), jobs=1)
    assert len(result.data.clips) == 23 and len(result.data.windows) == 23
    assert [f.feature for f in result.report.failures] == ["mel", "mfcc"]
    assert result.long_clips.clips == 23 and result.long_clips.windows == 92


def test_parts_of_one_file_are_divided_as_clips(tmp_path):
    write_corpus(tmp_path)
    rows = list(csv.DictReader((tmp_path / "clips.csv").open()))
    lines = ["path,label,speaker,start,end"]
    for row in rows:
        lines += [f"{row['path']},{row['label']},{row['speaker']},0,0.6"]
        lines += [f"{row['path']},{row['label']},{row['speaker']},0.6,9"]
    (tmp_path / "clips.csv").write_text("\n".join(lines) + "\n")
    data = extract(plan_of(config_of(tmp_path)), jobs=1).data
    assert len(data.clips) == 48 and len(data.windows) == 24
    index, windows = next(iter(data.windows.items()))
    assert data.clips[index].recording.start == 0.6
    starts = [w.recording.start for w in windows]
    assert starts == pytest.approx([0.6, 1.044, 1.488])


# -- what reads a run ------------------------------------------------------------------


class Listener(Observer):
    """Observer that keeps the sentence about long clips."""

    def long_clips(self, counts, clips):
        self.sentence = counts.text(clips)


def test_a_whole_run_with_windows_is_evaluated_and_can_be_read(corpus, tmp_path):
    listener = Listener()
    config = config_of(corpus, features=("mel", "level"), balancers=("gblend",), adapt="speaker")
    run = prepared(config, tmp_path / "run", listener)
    for training in all_trainings(run):
        train_one(run, training, 1)
    result = conclude(run, 0, seconds=0.0)
    assert listener.sentence.startswith("20 of 24 are longer than 0.768 s")
    assert {m.name for m in result.results.models} >= {"mel", "level", FUSED}
    diagnose(run)
    write_report(run)
    assert listener.sentence in (run.path / "report.html").read_text()
    mel, level = views(read_run(run), make_extractors(run.config, run.registry))
    assert len(mel.row) == len(CLASSES) and not mel.notes and not level.notes
    explanation = explain(run, permutations=1)
    assert "Of a long clip, only the window in its middle is explained." in explanation.notes


def test_the_windows_of_a_run_are_kept_in_the_cache_and_explained(run):
    needed = references([run.path])
    windows = {w.key for own in run.data.windows.values() for w in own}
    assert windows <= needed[run.record.features["mel"].id]
    reasons = {reason.feature: reason for reason in why_run(run).reasons}
    assert [len(reasons[m].names) for m in ("mel", "level")] == [24, 24]
    assert reasons["mel"].answer.kind == "found"


def test_the_windows_of_a_recording_are_explained(run, corpus):
    mel, mfcc, level = why_clip(run.config, run.registry, str(corpus / "s3-sad-0.wav"))
    assert {reason.answer.kind for reason in (mel, mfcc, level)} == {"found"}
    assert [len(reason.names) for reason in (mel, mfcc, level)] == [4, 4, 1]
    assert mel.names[0] == f"{corpus / 's3-sad-0.wav'}#t=0,0.512"
    short = why_clip(run.config, run.registry, str(corpus / "s0-sad-0.wav"))
    assert [len(reason.names) for reason in short] == [1, 1, 1]


def test_statistics_of_speakers_count_every_window(run):
    config = replace(run.config, adapt="speaker")
    modality = next(b.modality for b in run.record.model.branches if b.modality.name == "mel")
    fingerprint = fingerprint_of(make_extractors(config, run.registry)["mel"])
    arrays = stored_arrays(FeatureCache(config.cache), fingerprint, "mel", run.data, config)
    moments = speaker_moments(run.path, fingerprint, modality, arrays, run.data, config)
    assert moments.count.tolist() == [4.0, *[16.0] * 5]
    of_row = numbered_speakers(run.data.clips)[run.data.clips_of("mel")]
    expected = moments_of(arrays, modality, "feature", of_row, np.arange(84))
    np.testing.assert_array_equal(moments.mean, expected.mean)


# -- requests of older versions --------------------------------------------------------


def test_a_comparison_of_an_older_version_keeps_the_middle(corpus, tmp_path):
    request = Request(config_of(corpus, windows="random"), (Cell("gated"),), (0,))
    stored = json.loads(json.dumps(request.to_json()))
    for version, setting in ((1, "middle"), (2, "random")):
        del stored["config"]["settings"]["train"]["windows"]
        content = json.dumps({"format": version, "request": stored})
        (tmp_path / "compare.json").write_text(content)
        assert read_request(tmp_path).config.train.windows == setting
        stored["config"]["settings"]["train"]["windows"] = "random"
        content = json.dumps({"format": version, "request": stored})
        (tmp_path / "compare.json").write_text(content)
        assert read_request(tmp_path).config.train.windows == "random"


def test_an_audit_of_an_older_version_is_refused_with_the_setting_to_repeat(corpus, tmp_path):
    registry = Registry((str(corpus / "level_plugin.py"),))
    planned = plan_audit(config_of(corpus), registry)
    stored = _request(planned)
    del stored["config"]["settings"]["train"]["windows"]
    (tmp_path / REQUEST).write_text(json.dumps(stored))
    with pytest.raises(RunError, match='windows was "middle", and is "random" now'):
        _folder(tmp_path, planned)
    _folder(tmp_path, plan_audit(config_of(corpus, windows="middle"), registry))
