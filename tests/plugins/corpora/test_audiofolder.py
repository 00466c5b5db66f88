"""Corpora in Hugging Face's layouts: metadata beside recordings, and parquet with audio bytes."""

import contextlib
import json
import sys
from functools import partial

import pytest
from read_corpora import read_corpus
from touched import touch

from fusion.core.contracts.data import ColumnChoice
from fusion.core.contracts.errors import CorpusError, ParameterError
from fusion.plugins.corpora.audiofolder import AudioFolder
from fusion.testing import CorpusSuite

read = partial(read_corpus, AudioFolder)

CSV = "file_name,emotion,speaker_id,age\na.wav,happy,1,30\nsub/b.flac,sad,2,\n"
WAV = b"RIFF\x24\0\0\0WAVEfmt "


def write(folder, text=CSV, name="metadata.csv"):
    touch(folder, name)
    touch((folder / name).parent, "a.wav", "sub/b.flac")
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def write_parquet(path, rows, features=None, groups=2):
    """Write rows as the package datasets does: structs of bytes and path, features as metadata."""
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pa.Table.from_pylist(rows)
    if features is not None:
        stored = {"info": {"features": features}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(stored)})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, row_group_size=groups)
    return path


def row(content, label, speaker, path=None, **more):
    return {"audio": {"bytes": content, "path": path}, "label": label, "speaker": speaker, **more}


CLASSES = {"audio": {"_type": "Audio"}, "label": {"names": ["sad", "happy"], "_type": "ClassLabel"}}
ROWS = [row(WAV + b"1", 1, "anna", "x/1.wav"), row(b"fLaC2", 0, "ben", "2.mp3"),
        row(b"OggS3", 0, "ben", "3")]  # fmt: skip


class TestMetadata(CorpusSuite):
    plugin = AudioFolder

    def make(self, folder):
        write(folder)


class TestFolderOfSplits(CorpusSuite):
    plugin = AudioFolder

    def make(self, folder):
        write(folder / "train")
        write(folder / "test")


class TestParquet(CorpusSuite):
    plugin = AudioFolder

    def make(self, folder):
        write_parquet(folder / "data/train-00000-of-00001.parquet", ROWS, CLASSES)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metadata.csv", CSV),
        ("metadata.csv", "\ufeff" + CSV.replace(",", ";").replace("\n", "\r\n")),
        ("metadata.jsonl",
         '{"file_name": "a.wav", "emotion": "happy", "speaker_id": 1, "age": 30.0}\n\n'
         '{"file_name": "sub/b.flac", "emotion": "sad", "speaker_id": 2, "age": null}\n'),
    ],
)  # fmt: skip
def test_formats_of_metadata(tmp_path, name, text):
    corpus, (one, two) = read(write(tmp_path, text, name))
    assert (one.name, one.label, one.speaker, one.split) == ("a.wav", "happy", "1", None)
    assert (one.attributes, two.attributes) == ({"age": "30"}, {})
    assert (two.name, two.recording.path) == ("sub/b.flac", tmp_path / "sub/b.flac")
    assert corpus.columns_used == {
        "path": "file_name",
        "label": "emotion",
        "speaker": "speaker_id",
    }


def test_metadata_in_parquet(tmp_path):
    rows = [{"file_name": "a.wav", "label": "sad", "speaker": 3, "path": "elsewhere"}]
    write(tmp_path, "", "x.txt")
    write_parquet(tmp_path / "metadata.parquet", rows)
    assert AudioFolder.detect(tmp_path)
    _, (clip,) = read(tmp_path)
    assert (clip.name, clip.speaker, clip.attributes) == ("a.wav", "3", {"path": "elsewhere"})


def test_folders_are_splits_and_a_column_precedes_them(tmp_path):
    write(tmp_path / "train")
    write(tmp_path / "data/validation")
    write(tmp_path / "test", CSV.replace("age", "split").replace("30", "dev"))
    _, clips = read(tmp_path)
    assert [(c.name, c.split) for c in clips] == [
        ("test/a.wav", "val"),
        ("test/sub/b.flac", "test"),
        ("train/a.wav", "train"),
        ("train/sub/b.flac", "train"),
        ("data/validation/a.wav", "val"),
        ("data/validation/sub/b.flac", "val"),
    ]


def test_file_names_of_one_table_may_begin_with_the_split(tmp_path):
    touch(tmp_path, "train/a.wav", "test/a.wav")
    text = "file_name,label,speaker\ntrain/a.wav,sad,1\ntest/a.wav,sad,2\n"
    _, clips = read(write(tmp_path, text))
    assert [(c.name, c.split) for c in clips] == [("train/a.wav", "train"), ("test/a.wav", "test")]


def test_columns_can_be_chosen_and_ignored(tmp_path):
    text = CSV.replace("emotion", "Gefühl").replace("age", "emotion")
    choice = ColumnChoice({"label": "Gefühl"}, ("emotion",))
    corpus, (one, _) = read(write(tmp_path, text), choice)
    assert (one.label, one.attributes) == ("happy", {})
    assert corpus.columns_used["label"] == "Gefühl"


def test_parts_of_files_have_times(tmp_path):
    text = "file_name,start,end,label,speaker\na.wav,0:00:01.5,0 days 00:01:02,sad,1\n"
    _, (clip,) = read(write(tmp_path, text))
    assert (clip.name, clip.recording.start, clip.recording.end) == ("a.wav@1.5-62", 1.5, 62.0)


def test_rows_without_usable_recording_are_passed_over(tmp_path):
    (tmp_path.parent / "secret.wav").touch()
    text = CSV + "gone.wav,sad,1,\n../secret.wav,sad,1,\n/etc/passwd,sad,1,\n,sad,1,\na.wav,,1,\n"
    corpus, clips = read(write(tmp_path, text))
    assert len(clips) == 2
    assert corpus.passed_over == {
        "outside the folder": ["secret.wav", "etc/passwd"],
        "no recording": ["metadata.csv, row 6"],
        "the file does not exist": ["gone.wav"],
        "no label": ["a.wav"],
    }


def test_names_of_classes_come_from_the_schema_and_names_from_the_container(tmp_path, unpacked):
    path = write_parquet(tmp_path / "data/train-00000-of-00001.parquet", ROWS, CLASSES)
    write_parquet(tmp_path / "data/test-00000-of-00001.parquet", ROWS[2:], CLASSES)
    corpus, clips = read(tmp_path)
    assert [(c.name, c.label, c.speaker, c.split) for c in clips] == [
        ("data/test-00000-of-00001.parquet/1", "sad", "ben", "test"),
        ("x/1.wav", "happy", "anna", "train"),
        ("2.mp3", "sad", "ben", "train"),
        ("data/train-00000-of-00001.parquet/3", "sad", "ben", "train"),
    ]
    assert [c.recording.path.suffix for c in clips[1:]] == [".wav", ".flac", ".ogg"]
    assert clips[1].recording.path.read_bytes() == WAV + b"1"
    assert clips[0].recording.path == clips[3].recording.path
    assert len([p for p in unpacked.rglob("*") if p.is_file()]) == 3
    assert corpus.columns_used == {"path": "audio", "label": "label", "speaker": "speaker"}
    assert AudioFolder.detect(path)
    assert [c.name for c in read(path)[1]] == ["x/1.wav", "2.mp3", "3"]


def test_plain_bytes_paths_and_absent_recordings(tmp_path):
    touch(tmp_path, "here.wav")
    rows = [row(None, "sad", "1", "here.wav"), row(None, "sad", "1", "../up.wav"),
            row(None, "sad", "1"), row(b"", "sad", "1", "gone.wav")]  # fmt: skip
    corpus, (clip,) = read(write_parquet(tmp_path / "x.parquet", rows))
    assert (clip.name, clip.recording.path) == ("here.wav", tmp_path / "here.wav")
    assert corpus.passed_over == {
        "outside the folder": ["up.wav"],
        "no recording": ["x.parquet/3"],
        "the file does not exist": ["gone.wav"],
    }
    rows = [{"wav": b"fLaC1", "id": "u1", "label": "sad", "speaker": "1", "vector": [1.0, 2.0]}]
    _, (clip,) = read(write_parquet(tmp_path / "y.parquet", rows))
    assert (clip.name, clip.recording.path.suffix, clip.attributes) == ("u1", ".flac", {"id": "u1"})


def test_several_columns_of_recordings_need_a_choice(tmp_path):
    rows = [{**row(b"fLaC1", "sad", "1", "n.wav"), "noisy": {"bytes": b"2", "path": "n.wav"}}]
    path = write_parquet(tmp_path / "x.parquet", rows)
    with pytest.raises(CorpusError, match="several columns of recordings: audio, noisy") as caught:
        read(path)
    assert "--column path=audio" in (caught.value.hint or "")
    _, (clip,) = read(path, ColumnChoice({"path": "noisy"}))
    assert clip.recording.path.read_bytes() == b"2"
    _, (clip,) = read(path, ColumnChoice(ignored=("noisy",)))
    assert clip.recording.path.read_bytes() == b"fLaC1"


def test_classes_without_name(tmp_path):
    rows = [row(b"1", 1, "1"), row(b"2", -1, "1")]
    corpus, clips = read(write_parquet(tmp_path / "x.parquet", rows, CLASSES))
    assert (len(clips), corpus.passed_over) == (1, {"no label": ["x.parquet/2"]})
    with pytest.raises(CorpusError, match="row 1: class 2 has no name.*2 classes: sad, happy"):
        read(write_parquet(tmp_path / "x.parquet", [row(b"1", 2, "1")], CLASSES))


def test_rows_are_read_a_few_at_a_time(tmp_path):
    pa = pytest.importorskip("pyarrow")
    rows = [row(bytes([n]) * 1_000_000, "sad", "1", f"{n}.wav") for n in range(40)]
    path = write_parquet(tmp_path / "x.parquet", rows, groups=4)
    del rows
    before = pa.total_allocated_bytes()
    largest = 0
    corpus = AudioFolder(path)
    for _ in _examples(corpus, path):
        largest = max(largest, pa.total_allocated_bytes() - before)
    assert largest < 20_000_000


def _examples(corpus, path):
    from fusion.plugins.corpora._audio_parquet import AudioParquet

    return AudioParquet(path).examples(corpus, path.name)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("file_name,label,speaker\nx.wav,sad,1\n", "does not exist: 1, for example x.wav",
         "start at the folder"),
        ("file_name,speaker\na.wav,1\n", "Columns: file_name, speaker", "--column label="),
        ("noise,label\na.wav,sad\n", "no column file_name. Columns: noise, label", "path=COLUMN"),
        ("file_name,label\na.wav,sad,1\n", "line 2: 3 cells, but the first line names 2", ""),
        ("file_name,label,speaker\na.wav,sad,1\na.wav,sad,1\n", "Two clips are called 'a.wav'",
         "start and an end"),
    ],
)  # fmt: skip
def test_errors_name_what_is_missing_and_what_to_do(tmp_path, text, message, hint):
    with pytest.raises(CorpusError, match=message) as caught:
        read(write(tmp_path, text))
    assert hint in (caught.value.hint or "")


def test_damaged_files_are_errors(tmp_path):
    for text, message in (("{", "line 1"), ("[1]", "line 1: The row is not")):
        with pytest.raises(CorpusError, match=message):
            read(write(tmp_path / "x", text, "metadata.jsonl"))
    pytest.importorskip("pyarrow")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(CorpusError, match="can't be read as a parquet file"):
        read(tmp_path / "x.parquet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match=r"neither metadata.csv") as caught:
        read(tmp_path / "empty")
    assert "folder=PATH" in (caught.value.hint or "")


def test_any_changed_byte_of_a_parquet_file_is_an_error_with_a_message_or_harmless(tmp_path):
    path = write_parquet(tmp_path / "x.parquet", ROWS, CLASSES)
    data = path.read_bytes()
    for position in range(4, len(data), 37):
        path.write_bytes(data[:position] + b"\xc4" + data[position + 1 :])
        AudioFolder.detect(path)
        with contextlib.suppress(CorpusError):
            read(path)


def test_other_folders_and_tables_are_not_recognised(tmp_path):
    write(tmp_path / "a", "path,label,speaker\na.wav,sad,1\n")
    write(tmp_path / "b", "[1]", "metadata.jsonl")
    touch(tmp_path / "c", "happy/1.wav", "sad/2.wav", "metadata.csv")
    write_parquet(tmp_path / "d/features.parquet", [{"vector": b"1", "label": "sad"}])
    images = {"image": {"_type": "Image"}}
    write_parquet(tmp_path / "e/i.parquet", [{"image": {"bytes": b"1", "path": "i"}}], images)
    for name in "abcde":
        assert not AudioFolder.detect(tmp_path / name), name
    assert not AudioFolder.detect(tmp_path / "a/metadata.csv")


def test_the_error_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    write_parquet(tmp_path / "data/train-00000-of-00001.parquet", ROWS, CLASSES)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert AudioFolder.detect(tmp_path)
    with pytest.raises(ParameterError, match="pyarrow") as caught:
        read(tmp_path)
    assert "pip install 'modal-fusion[parquet]'" in (caught.value.hint or "")
