"""DataFrames and Hugging Face datasets as data of a run."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fusion.core.contracts.errors import ParameterError
from fusion.core.runs.sources_from_python import ColumnArguments, source_texts
from fusion.core.toolkit.waveforms import wav_bytes

pandas = pytest.importorskip("pandas")
datasets = pytest.importorskip("datasets")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Folder of the files; the working folder is another one."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "unpacked"


@pytest.fixture
def rows(folder):
    """Function that returns the rows of the table that a source is written to."""

    def read(data, names=None, **arguments):
        (text,) = source_texts(data, ColumnArguments(names or {}, **arguments), folder)
        return [json.loads(line) for line in Path(text).read_text().splitlines()]

    return read


def tone(pitch, n=800):
    return np.sin(pitch * np.arange(n) / 8000).astype(np.float32)


def encoded(pitch, container="FLAC"):
    stream = io.BytesIO()
    soundfile.write(stream, tone(pitch), 8000, format=container)
    return stream.getvalue()


# -- texts ---------------------------------------------------------------------------------------


def test_texts_and_paths_stay_as_they_are(folder):
    assert source_texts("demo") == ("demo",)
    assert source_texts(Path("a/b")) == ("a/b",)
    assert source_texts(iter(["ravdess=a", Path("b"), ""])) == ("ravdess=a", "b")
    assert source_texts(()) == source_texts("") == ()


@pytest.mark.parametrize("item", [3, {"path": ["a.wav"]}, {}, np.zeros(3), object])
def test_other_objects_are_refused(item):
    with pytest.raises(ParameterError, match="texts, paths, DataFrames or datasets, and "):
        source_texts(item)
    with pytest.raises(ParameterError, match="is none of these") as caught:
        source_texts([{"path": "a.wav", "label": 50 * "long "}])
    assert "pandas.DataFrame(rows)" in caught.value.hint and "..." in caught.value.message


# -- DataFrames ----------------------------------------------------------------------------------


def test_a_frame_is_written_once_under_a_digest_of_its_content(folder):
    frame = pandas.DataFrame({"path": ["/a.wav"], "label": ["happy"], "speaker": [1]})
    first, path, again, other = source_texts(
        [frame, "ravdess=x", frame.copy(), frame.assign(speaker=2)], folder=folder
    )
    assert path == "ravdess=x" and first == again != other
    assert Path(first).parent.parent == folder / "tables" and first.endswith(".jsonl")
    assert json.loads(Path(first).read_text()) == {
        "path": "/a.wav",
        "label": "happy",
        "speaker": "1",
    }


def test_cells_are_texts_as_in_a_table(rows):
    frame = pandas.DataFrame({
        "path": ["/a.wav", "/b.wav"],
        "label": pandas.Categorical(["happy", None]),
        "start": pandas.to_timedelta(["0.25s", None]),
        "end": [3.795, float("nan")],
        "fold": pandas.array([1, None], dtype="Int64"),
        "loud": [True, False],
        "day": pandas.to_datetime(["2026-01-02", None]),
        7: pandas.Series(["émoi\n", "\udce9"], dtype=object),
    })  # fmt: skip
    assert rows(frame) == [
        {"path": "/a.wav", "label": "happy", "start": "0.25", "end": "3.795", "fold": "1",
         "loud": "True", "day": "2026-01-02 00:00:00", "7": "émoi\n"},
        {"path": "/b.wav", "label": None, "start": None, "end": None, "fold": None,
         "loud": "False", "day": None, "7": "\udce9"},
    ]  # fmt: skip


def test_a_named_index_is_a_column_and_a_counting_index_is_not(rows):
    frame = pandas.DataFrame({"label": ["sad", "sad"], "file": ["/a.wav", "/b.wav"]}, index=[5, 3])
    assert list(rows(frame)[0]) == ["label", "file"]
    segments = frame.set_index(["file"]).set_index(
        pandas.to_timedelta([0, 1], unit="s").rename("start"), append=True
    )
    assert rows(segments)[1] == {"file": "/b.wav", "start": "1.0", "label": "sad"}
    assert list(rows(frame.rename_axis("label"))[0]) == ["label", "file"]


def test_relative_paths_start_at_the_working_folder(rows):
    Path("a.wav").write_text("")
    cwd = Path.cwd()
    frame = pandas.DataFrame({
        "file": ["a.wav", "missing.wav"],
        "place": ["a.wav", "elsewhere"],  # a column with the name of an existing file
        "label": ["happy", "sad"],
        "url": ["https://host/a.wav", r"C:\data\a.wav"],
    })  # fmt: skip
    assert rows(frame) == [
        {"file": f"{cwd}/a.wav", "place": f"{cwd}/a.wav", "label": "happy",
         "url": "https://host/a.wav"},
        {"file": f"{cwd}/missing.wav", "place": f"{cwd}/elsewhere", "label": "sad",
         "url": r"C:\data\a.wav"},
    ]  # fmt: skip
    chosen = rows(frame[["label", "url"]], {"path": "label"})
    assert [row["label"] for row in chosen] == [f"{cwd}/happy", f"{cwd}/sad"]
    searched = rows(frame[["file"]], searched=True)  # table.root finds the missing file
    assert [row["file"] for row in searched] == [f"{cwd}/a.wav", "missing.wav"]


def test_the_column_of_paths_is_the_one_that_tables_on_disk_have(rows):
    cwd = Path.cwd()
    frame = pandas.DataFrame({"Wav-File": ["a.wav"], "sound": ["loud"], "label": ["sad"]})
    assert rows(frame) == [{"Wav-File": f"{cwd}/a.wav", "sound": "loud", "label": "sad"}]


def test_a_file_in_the_working_folder_does_not_replace_the_bytes_of_a_recording(rows):
    Path("one.flac").write_bytes(b"another recording")
    audio = [{"bytes": encoded(5), "path": "one.flac"}]
    (row,) = rows(pandas.DataFrame({"audio": audio}))
    assert Path(row["audio"]).read_bytes() == encoded(5) and row["name"] == "one.flac"


def test_recordings_in_cells_become_files(rows, folder):
    """Rows as pandas reads them from a parquet file of the Hugging Face Hub."""
    flac, array = encoded(5), {"array": tone(7), "sampling_rate": 8000}
    frame = pandas.DataFrame({
        "audio": [{"bytes": flac, "path": "one.flac"}, {"bytes": flac, "path": None}, array],
        "label": ["happy", "sad", "sad"],
    })  # fmt: skip
    first, second, third = rows(frame)
    assert first["audio"] == second["audio"] != third["audio"]
    assert Path(first["audio"]).read_bytes() == flac and first["audio"].endswith(".flac")
    assert Path(third["audio"]).read_bytes() == wav_bytes(tone(7), 8000)
    assert Path(first["audio"]).is_relative_to(folder / "audio")
    assert [row["name"] for row in (first, second, third)] == ["one.flac", "row#2", "row#3"]
    assert rows(pandas.DataFrame({"audio": [flac]}))[0]["audio"] == first["audio"]


def test_nested_columns_are_left_out_with_a_warning(rows):
    frame = pandas.DataFrame({
        "path": ["/a.wav", "/b.wav"], "vector": [None, np.zeros(3)], "words": [["a"], []],
        "picture": [{"bytes": b"\x89PNG", "path": "x.png"}, None], "raw": [b"?", b"?"],
    })  # fmt: skip
    with pytest.warns(UserWarning, match="left out, .* picture, raw, vector, words") as caught:
        written = rows(frame)
    assert written == [{"path": "/a.wav"}, {"path": "/b.wav"}] and len(caught) == 1
    ignored = rows(frame, ignored=("vector", "words", "picture", "raw"))
    assert ignored == written


def test_frames_without_rows_and_with_doubled_columns_are_refused(rows):
    with pytest.raises(ParameterError, match=r"has no rows; its columns are: path, label\."):
        rows(pandas.DataFrame({"path": [], "label": []}))
    frame = pandas.DataFrame([["/a.wav", "x", "y"]], columns=["path", "label", "label"])
    with pytest.raises(ParameterError, match="several columns called 'label'"):
        rows(frame)


def test_a_chosen_column_that_does_not_exist_is_refused_without_an_internal_file(rows):
    frame = pandas.DataFrame({"path": ["/a.wav"], "EmoClass": ["sad"]})
    assert rows(frame, {"label": "emo class"}) == [{"path": "/a.wav", "EmoClass": "sad"}]
    with pytest.raises(ParameterError) as caught:
        rows(frame, {"label": "nope"})
    assert caught.value.message == (
        "The DataFrame or dataset in data has no column 'nope'. Columns: path, EmoClass."
    )


# -- datasets ------------------------------------------------------------------------------------


@pytest.fixture
def dataset(folder):
    """Dataset whose first recording is a local file; the others are bytes and an array."""
    Path("one.wav").write_bytes(encoded(3, "WAV"))
    audio = [{"bytes": None, "path": "one.wav"}, {"bytes": encoded(5), "path": "gone/two.flac"},
             {"bytes": wav_bytes(tone(7), 8000), "path": None}]  # fmt: skip
    columns = {"audio": audio, "emotion": [1, 0, None], "path": [*"xyz"], "speaker": [1, 2, 3]}
    plain = datasets.Dataset.from_dict(columns)
    emotions = datasets.ClassLabel(names=["angry", "happy"])
    return plain.cast_column("audio", datasets.Audio()).cast_column("emotion", emotions)


def test_a_dataset_becomes_a_table_of_files(rows, dataset):
    first, second, third = rows(dataset)
    assert first == {"path": str(Path("one.wav").absolute()), "emotion": "happy",
                     "original_path": "x", "speaker": "1", "name": "row#1"}  # fmt: skip
    assert second["name"] == "gone/two.flac" and second["emotion"] == "angry"
    assert Path(second["path"]).read_bytes() == encoded(5)
    assert third["emotion"] is None
    assert Path(third["path"]).read_bytes() == wav_bytes(tone(7), 8000)
    assert rows(dataset.with_format("numpy")) == [first, second, third]
    streamed = rows(dataset.to_iterable_dataset())
    assert streamed == [first, second, third]


def test_the_column_of_recordings_can_be_chosen(rows, dataset):
    table = rows(dataset, {"path": "audio"}, ignored=("path",))
    assert list(table[0]) == ["audio", "emotion", "speaker", "name"]
    two = dataset.add_column("second", ["one.wav"] * 3).cast_column("second", datasets.Audio())
    with pytest.raises(ParameterError, match="several columns of recordings: audio, second") as e:
        rows(two)
    assert e.value.hint == "Choose one: columns={'path': 'audio'}"
    assert [r["second"] for r in rows(two, {"path": "second"})] == [
        str(Path("one.wav").absolute())
    ] * 3
    assert "path" in rows(two, ignored=("second",))[0]


def test_the_parts_of_a_dataset_are_its_split(rows, dataset):
    parts = datasets.DatasetDict({"train": dataset.select([0, 1]), "test": dataset.select([2])})
    assert [row["split"] for row in rows(parts)] == ["train", "train", "test"]
    assert rows(datasets.DatasetDict({"train": dataset})) == rows(dataset)
    fewer = datasets.DatasetDict({"train": dataset, "test": dataset.remove_columns("speaker")})
    with pytest.raises(ParameterError, match="The part 'test' of the dataset has other columns"):
        rows(fewer)


def test_a_missing_file_of_a_dataset_keeps_its_path(rows):
    data = datasets.Dataset.from_dict({"audio": ["gone.wav"]}).cast_column(
        "audio", datasets.Audio()
    )
    assert rows(data) == [{"path": str(Path("gone.wav").absolute())}]
