"""Results of a run in Python: its figures, its epochs, its labels."""

import json
import warnings

import pytest
from untrained_runs import config_of, finished_run

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
