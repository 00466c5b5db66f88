"""Labels of new recordings, the features that they need, and errors."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from stepped_recordings import write_steps
from untrained_runs import config_of, finished_run, numbers, untrained_run

from fusion.core.contracts import Recording
from fusion.core.contracts.errors import ParameterError, RecordingError, RunError
from fusion.core.runs.bundle import Bundle, write_bundle
from fusion.core.runs.outcome.selection import FoldSelection, Selection
from fusion.core.runs.predictor import BATCH, FEWEST, Predictor
from fusion.core.runs.run import Run


def handing_out(run, **weights):
    """Change the chosen model of a run to the ensemble of modalities with these powers."""
    fold = FoldSelection(dict.fromkeys(weights, 0.5), weights, "ensemble")
    run.finish(write_bundle(run, Selection((fold,), next(iter(weights)))), 1.0)
    return run


@pytest.fixture(scope="module")
def both(made, tmp_path_factory):
    """Run whose chosen model uses both modalities; tests must not change it."""
    path = tmp_path_factory.mktemp("both") / "run"
    shutil.copytree(made.path, path)
    return handing_out(Run.open(path, made.registry), first=1.0, second=0.5)


@pytest.fixture
def recordings(tmp_path):
    """Function that writes recordings, given as name -> content."""

    def write(**texts):
        for name, text in texts.items():
            (tmp_path / f"{name}.wav").write_text(text)
        return [tmp_path / f"{name}.wav" for name in texts]

    return write


# -- labels ----------------------------------------------------------------------------


def test_labels_are_those_of_the_bundle_in_the_given_order(both, recordings):
    paths = recordings(b="1 2 | 3 4 5", a="-4 9 | 1 0 2")
    found = list(Predictor(both).predict(iter(paths)))
    features = {"first": [np.float32([1, 2]), np.float32([-4, 9])],
                "second": [np.float32([3, 4, 5]), np.float32([1, 0, 2])]}  # fmt: skip
    expected = Bundle(both).probabilities(features)
    assert [p.path for p in found] == paths
    for prediction, row in zip(found, expected, strict=True):
        assert prediction.probabilities == pytest.approx({"happy": row[0], "sad": row[1]})
        assert prediction.label == ("happy", "sad")[int(row.argmax())]
        assert prediction.error is None and prediction.lacking == ()


def test_no_recording_gives_no_label(both):
    assert list(Predictor(both).predict([])) == []


def test_recordings_are_labelled_batch_by_batch(both, recordings, monkeypatch):
    paths = recordings(**{f"r{i}": numbers(i, i % 2, 0) for i in range(BATCH + 2)})
    predictor, sizes = Predictor(both), []
    extract = predictor.features.extract
    monkeypatch.setattr(
        predictor.features, "extract", lambda p: sizes.append(len(p)) or extract(p)
    )  # fmt: skip
    found = predictor.predict(paths)
    first = next(found)
    assert sizes == [BATCH]
    together = [first, *found]
    assert sizes == [BATCH, 2] and [p.path for p in together] == paths
    (alone,) = predictor.predict([paths[-1]])
    assert alone.probabilities == pytest.approx(together[-1].probabilities)


def test_unreadable_recordings_are_reported_among_the_others(both, recordings):
    paths = recordings(a="1 2 | 3 4 5", b="a word | 3 4 5", c="1 2 | 3 4", d="1 2 | 3 4 5")
    gone = paths[0].with_name("gone.wav")
    a, b, c, none, d = Predictor(both).predict([*paths[:3], gone, paths[3]])
    assert a.probabilities == pytest.approx(d.probabilities) and a.error is d.error is None
    assert (b.label, b.probabilities, b.error) == (None, {}, f"Can't read {paths[1]}.")
    assert c.label is None and c.error.startswith(f"{paths[2]}: ") and "second" in c.error
    assert str(gone) in none.error and none.label is None
    (only,) = Predictor(both).predict([gone])
    assert only == none


def test_a_recording_that_lacks_a_modality_is_labelled_by_the_other(both, recordings):
    paths = recordings(whole="1 2 | 3 4 5", part="1 2 |", none=" | ")
    whole, part, none = Predictor(both).predict(paths)
    assert whole.lacking == () and part.lacking == ("second",)
    alone = Bundle(both).probabilities({"first": [np.float32([1, 2])], "second": [None]})
    assert list(part.probabilities.values()) == pytest.approx(alone[0].tolist())
    assert part.probabilities != pytest.approx(whole.probabilities)
    expected = f"{paths[2]}: it has no first and no second, which the chosen model takes"
    assert none.error == expected


def test_arrays_of_one_recording(both, recordings):
    whole, part = recordings(whole="1 2 | 3 4 5", part="| 3 4 5")
    predictor = Predictor(both)
    arrays, reason = predictor.extracted(whole)
    assert reason is None and {m: a.tolist() for m, a in arrays.items()} == {
        "first": [1, 2], "second": [3, 4, 5]}  # fmt: skip
    assert list(predictor.extracted(part)[0]) == ["second"]
    arrays, reason = predictor.extracted(whole.with_name("gone.wav"))
    assert arrays == {} and "gone.wav" in reason


# -- the extractors --------------------------------------------------------------------


def test_an_unfinished_run_can_not_predict(corpus, tmp_path):
    run = untrained_run(corpus, tmp_path / "run")
    with pytest.raises(RunError, match="is not finished") as caught:
        Predictor(run)
    assert f"fusion run --resume {run.path}" in caught.value.hint


def test_only_features_of_the_chosen_model_are_extracted(copied, recordings):
    predictor = Predictor(
        handing_out(copied, second=1.0), settings={"first": {"scale": 3.0}}
    )  # fmt: skip
    assert list(predictor.extractors) == ["second"]
    assert predictor.warnings == [
        "the settings of first have no effect: the chosen model takes no first"
    ]
    (found,) = predictor.predict(recordings(a="| 3 4 5"))
    assert found.lacking == () and found.error is None


def test_only_source_settings_can_be_changed(both):
    predictor = Predictor(both, settings={"first": {"table": "new.csv"}})
    assert predictor.extractors["first"].parameters == {"scale": 1.0, "table": "new.csv"}
    with pytest.raises(RunError) as caught:
        Predictor(both, settings={"first": {"scale": "2"}})
    assert caught.value.message == (
        "The feature first has changed since the training: scale was 1.0 and is now 2.0."
    )
    assert caught.value.hint == "Use the value of the training: --set first.scale=1.0"


def test_settings_must_belong_to_features(both):
    with pytest.raises(ParameterError, match="'concat' is not a feature of this run") as caught:
        Predictor(both, settings={"concat": {"x": 1}})
    assert "first, second" in caught.value.hint


def rewritten(run, **changes):
    """Change the stored record of the feature ``first`` and return the run."""
    record = run.record
    feature = replace(record.features["first"], **changes)
    record = replace(record, features={**record.features, "first": feature})
    run.write_json("run.json", record.to_json())
    return Run.open(run.path, run.registry)


def test_another_version_of_an_extractor_is_an_error(copied):
    with pytest.raises(
        RunError, match='changed since the training: version was "0" and is now "1"'
    ) as caught:
        Predictor(rewritten(handing_out(copied, first=1.0), version="0"))
    assert caught.value.hint == "Install the version of the plugin that is in the run's run.json."


def test_another_version_of_a_library_is_a_warning(copied):
    run = handing_out(copied, first=1.0)
    (file,) = run.record.features["first"].libraries
    (warning,) = Predictor(rewritten(run, libraries={file: "older"})).warnings
    assert warning.startswith(f"first was computed with {file} older for training and is")
    (warning,) = Predictor(rewritten(run, libraries={})).warnings
    assert f"computed with {file} None for training and is computed with " in warning


# -- the speaker of a speaker-adapted run ------------------------------------------------


@pytest.fixture(scope="module")
def adapted(corpus, tmp_path_factory):
    """Speaker-adapted run whose chosen model uses both modalities."""
    path = tmp_path_factory.mktemp("adapted") / "run"
    run = finished_run(corpus, path, config_of(corpus, adapt="speaker"))
    return handing_out(run, first=1.0, second=1.0)


def test_a_plain_run_accepts_no_speaker(both, recordings):
    predictor = Predictor(both)
    assert predictor.adapt_to(recordings(a="1 2 | 3 4 5")) == [] and predictor.speaker == {}
    assert not predictor.adapted and predictor.task == []
    with pytest.raises(ParameterError, match="not speaker-adapted") as caught:
        predictor.adapt_to([], Path("speakers"))
    assert "Leave out --speaker-from" in caught.value.hint


def test_the_files_themselves_give_the_speakers_statistics(adapted, recordings):
    paths = recordings(a="1 2 | 3 4 5", b="3 4 | 3 4 5", c="a word | 1", d="5 9 |", e="7 1 |")
    predictor = Predictor(adapted)
    notes = predictor.adapt_to(paths)
    assert predictor.adapted and predictor.task[0].startswith("Speaker-adapted: ")
    moments = predictor.speaker["first"]
    assert moments.count.tolist() == [4]
    assert moments.mean.tolist() == [[4, 4]]  # means of 1 3 5 7 and of 2 4 9 1
    assert moments.variance[0] == pytest.approx([5, 9.5])
    assert predictor.speaker["second"].count.tolist() == [2]
    assert notes == [
        "speaker-adapted: the speaker's statistics come from the files themselves, 4 recordings",
        "1 of 5 recordings of the speaker can't be read and are left out; the first: "
        f"Can't read {paths[2]}.",
    ]
    labels = list(predictor.predict(paths))
    assert [p.error is None for p in labels] == [True, True, False, True, True]


def test_other_statistics_give_other_probabilities(adapted, recordings, tmp_path):
    (path,) = recordings(a="1 2 | 3 4 5")
    folder = tmp_path / "speaker" / "deeper"
    folder.mkdir(parents=True)
    for i in range(2):
        (folder / f"{i}.wav").write_text(f"{20 + i} {i} | {i} 7 9")
    predictor = Predictor(adapted)
    (note,) = predictor.adapt_to([path], tmp_path / "speaker")
    assert note.endswith(f"come from {tmp_path / 'speaker'}, 2 recordings")
    (one,) = predictor.predict([path])
    predictor.adapt_to([path] * FEWEST)
    (other,) = predictor.predict([path])
    assert one.error is other.error is None
    assert one.probabilities != pytest.approx(other.probabilities)


def test_a_modality_that_the_speaker_lacks_is_a_note(adapted, recordings):
    notes = Predictor(adapted).adapt_to(recordings(a="1 2 |", b="3 4 |", c="5 9 |", d="7 1 |"))
    assert notes[1:] == [
        "no recording of the speaker has second: the training speakers' statistics are used"
    ]


def test_too_few_files_for_statistics_are_refused(adapted, recordings):
    paths = recordings(a="1 2 | 3 4 5", b="3 4 | 3 4 5", c="5 9 | 3 4 5")
    with pytest.raises(
        ParameterError,
        match="speaker: 3. The run is speaker-adapted and needs 4 or more",
    ) as caught:
        Predictor(adapted).adapt_to(paths)
    assert "--speaker-from DIR" in caught.value.hint


def test_a_speaker_without_readable_recordings_is_refused(adapted, recordings, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordingError, match="empty holds no recordings"):
        Predictor(adapted).adapt_to([], tmp_path / "empty")
    paths = recordings(**dict.fromkeys("abcd", "a word | 1 2 3"))
    with pytest.raises(RecordingError, match="None of the 4 recordings of the speaker") as caught:
        Predictor(adapted).adapt_to(paths)
    assert f"Can't read {paths[0]}." in caught.value.message


def test_an_adapted_run_needs_a_speaker_to_predict(adapted, recordings):
    with pytest.raises(ParameterError, match="no statistics of the speaker were given"):
        list(Predictor(adapted).predict(recordings(a="1 2 | 3 4 5")))


# -- long recordings -------------------------------------------------------------------


@pytest.fixture
def spans(stepped_run):
    """Parts of recordings that each extractor reads, by modality; cleared for the test."""
    found = {name: stepped_run.registry.extractor(name).spans for name in ("level", "length")}
    for parts in found.values():
        parts.clear()
    return found


def bundled(run, *features):
    """Return the probabilities of the chosen model for features (mean, deviation, length)."""
    arrays = np.array(features, np.float32)
    columns = {"level": list(arrays[:, :2]), "length": list(arrays[:, 2:])}
    return [dict(zip(("happy", "sad"), row, strict=True))
            for row in Bundle(run).probabilities(columns)]  # fmt: skip


def test_a_long_recording_is_labelled_by_the_mean_over_windows(windowed_run, tmp_path, spans):
    path = write_steps(tmp_path / "a.wav", 0, 0.2, 0.4, 0.4, 0, 0)  # 3 s
    predictor = Predictor(windowed_run)
    (found,) = predictor.predict([path])
    expected = bundled(windowed_run, (0.1, 0.1, 3), (0.4, 0, 3), (0, 0, 3))
    assert [w[:2] for w in found.windows] == [(0, 1), (1, 2), (2, 3)]
    for window, row in zip(found.windows, expected, strict=True):
        assert window.probabilities == pytest.approx(row, abs=1e-6)
    mean = {c: sum(w.probabilities[c] for w in found.windows) / 3 for c in ("happy", "sad")}
    assert found.probabilities == pytest.approx(mean)
    assert found.confidence == max(mean.values()) == mean[found.label]
    assert (found.start, found.end, found.error) == (0, 3, None)
    assert spans == {"level": [(0, 1), (1, 2), (2, 3)], "length": [(0, None)]}
    assert predictor.length_note() == (
        "1 of 1 recordings are labelled by the mean over windows of 1 s"
    )


def test_a_recording_below_one_and_a_half_windows_is_not_divided(windowed_run, tmp_path, spans):
    short = tmp_path / "short.wav"
    soundfile.write(short, np.full(1499, 0.25), 1000, subtype="FLOAT")
    long = write_steps(tmp_path / "long.wav", 0.25, 0.25, 0.25)
    predictor = Predictor(windowed_run)
    whole, divided = predictor.predict([short, long])
    assert whole.windows == () and whole.end == 1.499
    assert whole.probabilities == pytest.approx(
        bundled(windowed_run, (0.25, 0, 1.499))[0], abs=1e-6
    )
    assert [w[:2] for w in divided.windows] == [(0, 1), (0.5, 1.5)]
    assert predictor.length_note().startswith("1 of 2 recordings are labelled by the mean")
    list(predictor.predict([short]))
    assert predictor.length_note() is None


def test_a_run_trained_on_middles_predicts_from_the_middle(stepped_run, tmp_path, spans):
    path = write_steps(tmp_path / "a.wav", 0, 0, 0.2, 0.4, 0, 0)
    predictor = Predictor(stepped_run)
    (found, _) = predictor.predict([path, write_steps(tmp_path / "b.wav", 0, 0)])
    assert found.windows == () and spans["level"][0] == (0, None)
    assert found.probabilities == pytest.approx(bundled(stepped_run, (0.3, 0.1, 3))[0], abs=1e-6)
    assert predictor.length_note() == (
        "1 of 2 recordings are longer than the 1 s that the model sees, and are labelled from "
        "their middle"
    )


def test_windows_of_a_part_have_times_in_the_file(windowed_run, tmp_path, spans):
    path = write_steps(tmp_path / "a.wav", *[0.1] * 12)
    part, end = Predictor(windowed_run).predict([Recording(path, 1.5, 4.5), Recording(path, 4.0)])
    assert [w[:2] for w in part.windows] == [(1.5, 2.5), (2.5, 3.5), (3.5, 4.5)]
    assert [w[:2] for w in end.windows] == [(4, 5), (5, 6)]
    assert spans["length"] == [(1.5, 4.5), (4.0, None)]
    assert (part.start, part.end, end.end) == (1.5, 4.5, 6)


def test_many_windows_are_extracted_in_batches(windowed_run, tmp_path, spans, monkeypatch):
    """The whole recording is read once by the extractor without a limit, over all batches."""
    a = write_steps(tmp_path / "a.wav", *[0.1, 0.3] * 70)  # 70 windows
    b = write_steps(tmp_path / "b.wav", 0.5, 0.5)
    predictor, sizes = Predictor(windowed_run), []
    extract = predictor.features.extract
    monkeypatch.setattr(
        predictor.features, "extract", lambda p: sizes.append(len(p)) or extract(p)
    )  # fmt: skip
    first, second = predictor.predict([a, b])
    assert sizes == [BATCH, BATCH, 71 - 2 * BATCH]
    assert len(first.windows) == 70 and first.windows[-1][:2] == (69, 70)
    assert len({tuple(w.probabilities.values()) for w in first.windows}) <= 3  # equal windows
    assert second.windows == () and spans["length"] == [(0, None)] * 2
    assert predictor.features._of_whole == {}


def test_a_window_that_fails_is_the_recordings_error(windowed_run, tmp_path):
    path = write_steps(tmp_path / "a.wav", 0, 0, 0, 0.95, 0, 0)
    bad, good = Predictor(windowed_run).predict([path, write_steps(tmp_path / "b.wav", 0, 0)])
    assert bad.error == f"{path}: too loud (in the window from 1 s to 2 s)"
    assert (bad.label, bad.windows, bad.probabilities, bad.confidence) == (None, (), {}, None)
    assert good.error is None


def test_a_window_that_lacks_a_modality_is_left_out(windowed_run, tmp_path):
    path = write_steps(tmp_path / "a.wav", 0.1, 0.1, 0, -0.95, 0.3, 0.3)
    (found,) = Predictor(windowed_run).predict([path])
    rows = bundled(windowed_run, (0.1, 0, 3), (0.3, 0, 3))
    assert [w[:2] for w in found.windows] == [(0, 1), (2, 3)] and found.lacking == ()
    for name, share in found.probabilities.items():
        assert share == pytest.approx((rows[0][name] + rows[1][name]) / 2, abs=1e-6)


def test_a_modality_that_all_windows_lack_is_lacking(windowed_run, tmp_path):
    path = write_steps(tmp_path / "a.wav", *[-0.95] * 4)
    (found,) = Predictor(windowed_run).predict([path])
    assert found.lacking == ("level",) and len(found.windows) == 2
    assert found.windows[0].probabilities == found.windows[1].probabilities
    predictor = Predictor(windowed_run)
    for part in predictor.bundle.parts:
        assert len(part.model.modalities) == 1  # an ensemble: a member for each modality
    predictor.bundle.parts = predictor.bundle.parts[:1]
    del predictor.extractors["length"]
    (none,) = predictor.predict([path])
    assert none.error == f"{path}: it has no level, which the chosen model takes"
    assert none.label is None and none.windows == ()


def test_statistics_of_a_speaker_come_from_windows(windowed_run, tmp_path, monkeypatch):
    path = write_steps(tmp_path / "a.wav", 0.1, 0.1, 0.2, 0.2, 0.6, 0.6)
    predictor = Predictor(windowed_run)
    monkeypatch.setattr(predictor.bundle, "adapt", "speaker")
    (note,) = predictor.adapt_to([path] * FEWEST)
    assert note.endswith("come from the files themselves, 4 recordings")
    assert predictor.speaker["level"].count.tolist() == [12]
    assert predictor.speaker["level"].mean[0, 0] == pytest.approx(0.3)
