"""Results of a run in Python: its figures, its epochs, its labels."""

import json
import warnings

import numpy as np
import pytest
import soundfile
import torch
from untrained_runs import config_of, finished_run

import fusion
from fusion.core.contracts.errors import ParameterError, RunError
from fusion.core.runs.outcome.results import Results
from fusion.core.runs.predictor import Predictor
from fusion.core.runs.result import RunResult
from fusion.core.runs.result_table import result_table


@pytest.fixture
def result(made):
    return RunResult.read(made)


def test_figures_are_those_of_results_json(result, made):
    plain = json.loads((made.path / "results.json").read_text())
    assert result.path == made.path and result.report == made.path / "report.html"
    assert result.info == made.record.to_json() and result.info["created"] == made.record.created
    assert result.gain == plain["comparisons"]["fused"]["difference"]
    assert result.verdict == plain["verdict"]
    by_name = {model["name"]: model["uar"]["value"] for model in plain["models"]}
    assert result.gain == pytest.approx(by_name["fused"] - by_name[plain["best_single"]])


@pytest.mark.parametrize("text", [None, "{}", "[]", '{"models": 1}'])
def test_missing_or_damaged_results_are_reported(copied, text):
    (copied.path / "results.json").unlink()
    if text is not None:
        copied.write_text("results.json", text)
    with pytest.raises(RunError, match=r"results\.json"):
        RunResult.read(copied)


def test_a_result_is_displayed_as_its_table(result, made):
    table = result_table(Results.read(made), made.record, made.path)
    assert str(result) == table.text() and result._repr_html_() == table.html()
    best = result.results.best_single
    uars = [f"{100 * result.results.model(name).uar.value:.1f}" for name in ("fused", best)]
    assert repr(result) == (
        f"RunResult({str(made.path)!r}: UAR fused {uars[0]}, {best} {uars[1]}, "
        f"gain {100 * result.gain:+.1f})"
    )


def test_every_epoch_of_every_training(result):
    assert result.history() == {
        f"fold0/{name}": [{"epoch": 1, "val_uar": 0.5}] for name in ("first", "second", "fused")
    }


def test_predictions_of_one_recording_and_of_several(result, corpus):
    paths = [corpus / "s0-sad-1.wav", corpus / "s1-happy-0.wav"]
    expected = list(Predictor(result.run).predict(paths))
    assert result.predict(iter(paths)) == expected
    assert result.predict([str(path) for path in paths]) == expected
    (alone,) = result.predict(str(paths[0]))
    assert alone.path == paths[0] and alone.label == expected[0].label
    (gone,) = result.predict("gone.wav")
    assert gone.label is None and "gone.wav" in gone.error


def test_settings_are_passed_to_the_extractors(result):
    with pytest.raises(ParameterError, match="'concat' is not a feature"):
        result.predict("x.wav", settings={"concat": {}})


def test_statistics_from_the_files_themselves_are_a_warning(corpus, tmp_path):
    config = config_of(corpus, adapt="speaker")
    result = RunResult.read(finished_run(corpus, tmp_path / "run", config))
    own = sorted(corpus.glob("s0-*.wav"))
    with pytest.warns(UserWarning, match="come from the files themselves, 4 recordings") as caught:
        result.predict(own)
    assert len(caught) == 1 and caught[0].filename == __file__
    speaker = tmp_path / "speaker"
    speaker.mkdir()
    for path in own:
        (speaker / path.name).write_bytes(path.read_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (found,) = result.predict(own[0], speaker_from=str(speaker))
    assert found.error is None
    (speaker / "bad.wav").write_text("a word | 1 2 3")
    with pytest.warns(UserWarning, match="1 of 5 recordings of the speaker can't be read"):
        result.predict(own[0], speaker_from=speaker)


# -- arrays ------------------------------------------------------------------------------


@pytest.fixture
def stepped(stepped_run):
    return RunResult.read(stepped_run)


def test_an_array_is_labelled_like_the_same_samples_in_a_file(stepped, tmp_path):
    rng = np.random.default_rng(0)
    samples = rng.uniform(-0.5, 0.5, 900).astype(np.float32)
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, 1000, subtype="FLOAT")
    (of_file,) = stepped.predict(path)
    given = [samples, samples.astype(np.float64), np.stack([samples] * 2), torch.tensor(samples),
             {"array": samples.tolist(), "sampling_rate": 1000},
             fusion.Recording(path)]  # fmt: skip
    for item in given:  # one by one: the rounding of a batch depends on its size
        assert stepped.predict(item, sample_rate=1000)[0].probabilities == of_file.probabilities
    found = stepped.predict(given, sample_rate=1000)
    assert all(p.error is None for p in found)
    assert [str(p.path) for p in found] == [*(f"array-{n}" for n in range(5)), str(path)]
    (alone,) = stepped.predict(samples, sample_rate=1000)
    assert alone.probabilities == of_file.probabilities and alone.end == 0.9
    (slower,) = stepped.predict(samples, sample_rate=2000)
    assert slower.end == 0.45 and slower.probabilities != of_file.probabilities


def test_an_array_without_a_sample_rate_is_refused_and_a_folder_is_read(stepped, tmp_path):
    with pytest.raises(ParameterError, match="does not state its sample rate"):
        stepped.predict(np.zeros(900))
    soundfile.write(tmp_path / "a.wav", np.zeros(900), 1000)
    (tmp_path / "notes.txt").write_text("")
    with pytest.warns(UserWarning, match="1 file is passed over") as caught:
        (found,) = stepped.predict(tmp_path)
    assert found.path == tmp_path / "a.wav" and found.error is None
    assert caught[0].filename == __file__


def test_integers_are_labelled_like_the_same_integers_in_a_file(stepped, tmp_path):
    samples = np.random.default_rng(0).integers(-9999, 9999, 900).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 1000, subtype="PCM_16")
    (of_file,) = stepped.predict(tmp_path / "a.wav")
    (of_array,) = stepped.predict(samples, sample_rate=1000)
    assert of_array.probabilities == of_file.probabilities


def test_samples_that_are_no_audio_are_an_error_of_the_recording(stepped):
    bad, empty, good = stepped.predict(
        [np.float32([0.1, np.nan]), np.zeros(0, np.float32), np.zeros(900)], sample_rate=1000
    )
    assert bad.error == "array-0: sample 1 is [nan], which is not audio."
    assert empty.error.startswith("array-1: ") and empty.label is None
    assert good.error is None


def test_recordings_longer_than_the_model_sees_are_a_warning_for_a_run_on_middles(stepped):
    with pytest.warns(UserWarning, match="1 of 2 recordings are longer than the 1 s") as caught:
        stepped.predict([np.zeros(900), np.zeros(1100)], sample_rate=1000)
    assert len(caught) == 1 and caught[0].filename == __file__


def test_a_long_array_is_labelled_over_windows(windowed_run):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (found,) = RunResult.read(windowed_run).predict(np.zeros(2000), sample_rate=1000)
    assert [w[:2] for w in found.windows] == [(0, 1), (1, 2)]
