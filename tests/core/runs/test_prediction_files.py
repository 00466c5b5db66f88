"""Recordings that files, folders, patterns and tables name."""

import os
from pathlib import Path

import pytest

from fusion.core.contracts import Recording
from fusion.core.contracts.errors import ParameterError
from fusion.core.runs.prediction_files import find_recordings


@pytest.fixture(autouse=True)
def tree(tmp_path, monkeypatch):
    """Working folder with recordings at three depths, other files, and hidden ones."""
    monkeypatch.chdir(tmp_path)
    names = ["b.wav", "a.WAV", "notes.txt", "deep/c.flac", "deep/er/d.mp3", "deep/x.TXT",
             "deep/readme", ".hidden/e.wav", "deep/._c.flac", "take[1].wav"]  # fmt: skip
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"")


def found(*arguments):
    return [str(recording.path) for recording in find_recordings(arguments).recordings]


def test_a_file_is_a_recording_whatever_its_suffix():
    assert found("notes.txt", "b.wav", "gone.wav", "b.wav") == [
        "notes.txt", "b.wav", "gone.wav", "b.wav"]  # fmt: skip


def test_a_folder_gives_all_recordings_below_it_sorted():
    result = find_recordings(["."])
    assert [str(r.path) for r in result.recordings] == [
        "a.WAV", "b.wav", "deep/c.flac", "deep/er/d.mp3", "take[1].wav"]  # fmt: skip
    assert result.passed_over == {".txt": 2, "": 1} and result.empty == []
    assert result.note() == ("3 files are passed over as no recording: 2 .txt, 1 without suffix")
    assert found("deep/c.flac", "deep") == ["deep/c.flac", "deep/er/d.mp3"]  # each file once


def test_patterns_match_at_any_depth():
    assert found("*.wav") == ["b.wav", "take[1].wav"]
    assert found("deep/*") == ["deep/c.flac"]
    assert found("**/*.[fm]*") == ["deep/c.flac", "deep/er/d.mp3"]
    assert found(f"{Path.cwd()}/?.wav") == [str(Path.cwd() / "b.wav")]
    result = find_recordings(["deep/**"])
    assert len(result.recordings) == 2 and result.passed_over == {".txt": 1, "": 1}


def test_brackets_in_the_name_of_a_file_are_no_pattern():
    assert found("take[1].wav") == ["take[1].wav"]
    assert found("gone[1].wav") == ["gone[1].wav"]
    assert found("[ab].wav") == ["b.wav"]


def test_arguments_without_recordings_are_named():
    Path("empty").mkdir()
    result = find_recordings(["empty", "b.wav", "*.ogg"])
    assert result.empty == ["empty", "*.ogg"] and result.note() is None
    with pytest.raises(ParameterError) as caught:
        find_recordings(["empty", "deep/*.TXT"])
    assert caught.value.message == (
        "No recordings were found in empty, deep/*.TXT; 1 file is passed over as no recording: "
        "1 .txt."
    )
    assert "fusion plugins show audio" in caught.value.hint and len(caught.value.hint) < 200
    with pytest.raises(ParameterError, match=r"in \*.a, \*.b, \*.c, \*.d, \*.e and 2 more\."):
        find_recordings([f"*.{letter}" for letter in "abcdefg"])


def test_many_suffixes_are_summed_up():
    for number in range(7):
        Path(f"deep/x.s{number}").write_text("")
    note = find_recordings(["deep"]).note()
    assert note.startswith("9 files are passed over") and note.endswith(", 4 with other suffixes")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_names_that_are_not_utf8_are_found():
    name = os.fsdecode(b"deep/caf\xe9.wav")
    Path(name).write_bytes(b"")
    assert name in found("deep") and name in found("deep/*.wav") and found(name) == [name]


# -- tables --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [("t.csv", "id,Audio_Path,start,END\n1,c.flac,0.5,2\n2,/x.wav,,\n3,,,\n"),
     ("t.tsv", "file\tstart\tend\nc.flac\t0.5\t2\n/x.wav\t\t\n"),
     ("t.csv", "\ufeffpath;start;end\nc.flac;0.5;2\n/x.wav;;\n"),
     ("t.csv", "Unnamed: 0,fname,Begin_Time,dur\n0,c.flac,0 days 00:00:00.5,1.5\n1,/x.wav,,\n"),
     ("t.jsonl", '{"file": "c.flac", "start": 0.5, "end": 2}\n{"file": "/x.wav"}\n'),
     ("t.json", '[{"path": "c.flac", "onset": "0:00.5", "end": 2}, {"path": "/x.wav"}]')],
)  # fmt: skip
def test_a_table_names_files_and_parts(name, text):
    table = Path("deep", name)
    table.write_text(text, encoding="utf-8")
    assert find_recordings([str(table)]).recordings == [
        Recording(Path("deep/c.flac"), 0.5, 2.0), Recording(Path("/x.wav"))]  # fmt: skip


def test_a_table_from_another_machine_names_files_by_the_end_of_their_paths():
    Path("t.csv").write_text("path\n/home/ann/deep/er/d.wav\nB.WAV\n")
    assert found("t.csv") == ["deep/er/d.mp3", "b.wav"]
    Path("deep/b.wav").write_bytes(b"")
    Path("b.wav").rename("deep/er/b.wav")
    with pytest.raises(ParameterError, match=r"line 3: .* could be deep/b.wav or deep/er/b.wav"):
        find_recordings(["t.csv"])


def test_a_table_that_is_not_utf8_is_refused_with_advice():
    Path("t.csv").write_bytes(b"path\ncaf\xe9.wav\n")
    with pytest.raises(ParameterError, match=r"t.csv is not encoded in UTF-8") as caught:
        find_recordings(["t.csv"])
    assert "iconv" in caught.value.hint


def test_an_empty_name_is_not_the_working_folder():
    with pytest.raises(ParameterError, match="name of a recording is empty"):
        find_recordings(["a.wav", ""])


def test_faulty_tables_are_refused():
    Path("t.csv").write_text("name,label\na,b\n")
    with pytest.raises(
        ParameterError, match=r"line 1: .* no column of paths. Columns: name, label"
    ):
        find_recordings(["t.csv"])
    Path("t.csv").write_text("path,start\na.wav,soon\n")
    with pytest.raises(ParameterError, match="line 2: Column start holds 'soon', which is no"):
        find_recordings(["t.csv"])
    Path("t.csv").write_text("path\n")
    with pytest.raises(ParameterError, match=r"t.csv holds no rows"):
        find_recordings(["t.csv"])
    Path("t.csv").write_text("path,start\n,1\n")
    with pytest.raises(ParameterError, match="No recordings were found in t.csv"):
        find_recordings(["t.csv"])
