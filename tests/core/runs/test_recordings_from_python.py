"""Recordings from Python as files for the extractors."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from fusion.core.contracts import Recording
from fusion.core.contracts.errors import ParameterError
from fusion.core.runs.prediction import Prediction
from fusion.core.runs.recordings_from_python import as_files
from fusion.core.toolkit.waveforms import wav_bytes

NOISE = np.random.default_rng(0).normal(size=300).astype(np.float32)


def test_paths_and_parts_are_used_as_they_are(tmp_path):
    part = Recording(tmp_path / "b.wav", 1, 2)
    with as_files(
        ["a.wav", tmp_path / "b.wav", part, {"path": "c.wav", "bytes": None}], 1
    ) as given:
        assert [(str(r.path), r.start) for r in given.recordings] == [
            ("a.wav", 0), (str(part.path), 0), (str(part.path), 1), ("c.wav", 0)]  # fmt: skip
        prediction = Prediction(part.path, "happy", {"happy": 1.0})
        assert given.renamed(prediction) is prediction
    with as_files(Recording("d.wav", 1, 2), 1) as given:  # a text instead of a path
        assert given.recordings == [Recording(Path("d.wav"), 1, 2)]
    for one in ("a.wav", part, tmp_path / "b.wav", {"path": "c.wav"}):
        with as_files(one, 1) as given:
            assert len(given.recordings) == 1


def test_folders_patterns_and_tables_are_read_as_on_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("deep").mkdir()
    for name in ("deep/a.wav", "deep/b.flac", "deep/notes.txt"):
        Path(name).write_bytes(b"")
    Path("t.csv").write_text("file,start\ndeep/b.flac,2\n")
    with as_files("deep", None) as given:
        assert given.recordings == [Recording(Path("deep/a.wav")), Recording(Path("deep/b.flac"))]
        assert given.notes == ["1 file is passed over as no recording: 1 .txt"]
    with as_files([NOISE, "deep/*.wav", Path("t.csv"), "*.ogg", NOISE], 8000) as given:
        assert [(given.renamed(Prediction(r.path, None, {})).path, r.start)
                for r in given.recordings] == [
            (Path("array-0"), 0), (Path("deep/a.wav"), 0), (Path("deep/b.flac"), 2),
            (Path("array-4"), 0)]  # fmt: skip
        assert given.notes == ["*.ogg: no recordings were found"]
    with pytest.raises(ParameterError, match=r"No recordings were found in \*.ogg"):  # noqa: SIM117
        with as_files(["*.ogg"], None):
            pytest.fail("no recording")


def test_arrays_need_a_sample_rate(tmp_path):
    with pytest.raises(ParameterError, match="does not state its sample rate") as caught:  # noqa: SIM117
        with as_files([NOISE], None):
            pytest.fail("no rate")
    assert "sample_rate=16000" in caught.value.hint
    with as_files([{"array": NOISE, "sampling_rate": 8000}], None) as given:
        assert soundfile.info(given.recordings[0].path).samplerate == 8000


def test_arrays_become_files_until_the_context_ends(tmp_path):
    flac = tmp_path / "x.flac"
    soundfile.write(flac, NOISE, 8000)
    items = [NOISE, {"array": NOISE, "sampling_rate": 8000}, {"bytes": flac.read_bytes()}]
    with as_files(iter(items), 22050) as given:
        files = [r.path for r in given.recordings]
        read = [soundfile.read(path, dtype="float32") for path in files]
        assert [rate for _, rate in read] == [22050, 8000, 8000]
        assert read[0][0].tobytes() == read[1][0].tobytes() == NOISE.tobytes()
        assert [path.suffix for path in files] == [".wav", ".wav", ".flac"]
        failed = Prediction(files[1], None, {}, f"{files[1]}: is silent")
        assert given.renamed(failed).error == "array-1: is silent"
        assert str(given.renamed(failed).path) == "array-1"
    assert not any(path.exists() or path.parent.exists() for path in files)


def test_a_column_of_a_dataset_is_a_list_of_recordings(tmp_path):
    datasets = pytest.importorskip("datasets")
    data = wav_bytes(NOISE, 8000)
    audio = [{"bytes": data, "path": "one.wav"}, {"bytes": None, "path": str(tmp_path / "b.wav")}]
    dataset = datasets.Dataset.from_dict({"audio": audio})
    undecoded = dataset.cast_column("audio", datasets.Audio(decode=False))
    for column in (dataset["audio"], undecoded["audio"]):
        with as_files(column, 1) as given:
            first, second = given.recordings
            assert first.path.read_bytes() == data and second.path == tmp_path / "b.wav"


def test_the_files_of_a_failed_request_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with (
        pytest.raises(ParameterError, match="is not a recording"),
        as_files([NOISE, np.ones(())], 1),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("item", [3, [0.5, 0.25], {"array": NOISE}, [None], {}, [[0.5]]])
def test_other_objects_are_refused(item):
    with (
        pytest.raises(ParameterError, match="must be a path, an array") as caught,
        as_files(item, 16000),
    ):
        pass
    assert "numpy.array(samples)" in caught.value.hint
