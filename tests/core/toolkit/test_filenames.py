"""Recordings in folders, and corpora that are read from file names."""

import os
from pathlib import Path

import pytest

from fusion.core.contracts.errors import CorpusError
from fusion.core.toolkit import filenames
from fusion.core.toolkit.filenames import (
    FilenameCorpus,
    audio_files,
    audio_names,
    is_audio,
    most_match,
    original_name,
    readable,
    samples_kept,
    some_audio_files,
    split_suffix,
)


class Said(FilenameCorpus):
    """Corpus of files like ann_h_03.wav, or h_03.wav in a folder with the speaker's name."""

    name = "said"
    pattern = r"(?P<speaker>[a-z]+)[_/](?P<emotion>[hs])_(?P<take>\d\d)(?:_(?P<remark>loud))?"
    emotions = {"h": "happy", "s": "sad"}  # noqa: RUF012

    def wanted(self, groups):
        return groups["take"] != "99"


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def names(corpus):
    return [clip.name for clip in corpus.clips()]


# -- recordings in folders -------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.wav", True), ("a.FLAC", True), ("a.b.ogg", True), ("a.mp3", True), ("a.wav.txt", False),
     ("wav", False), (".a.wav", False), ("._a.wav", False), ("", False)],
)  # fmt: skip
def test_a_recording_has_one_of_four_endings_and_is_not_hidden(name, expected):
    assert is_audio(name) is expected


def test_recordings_are_sorted_by_path_and_hidden_files_are_ignored(tmp_path):
    touch(tmp_path, "b/2.wav", "b/1.flac", "a.wav", "notes.txt", "b/._1.wav", ".trash/3.wav")
    result = [file.relative_to(tmp_path).as_posix() for file in audio_files(tmp_path)]
    assert result == ["a.wav", "b/1.flac", "b/2.wav"]
    assert sorted(some_audio_files(tmp_path)) == audio_files(tmp_path)


def test_links_to_folders_are_followed_once(tmp_path):
    real = touch(tmp_path / "store", "ann/h_01.wav")
    corpus = touch(tmp_path / "corpus", "ben/h_01.wav")
    (corpus / "ann").symlink_to(real / "ann")
    (corpus / "loop").symlink_to(corpus)
    (corpus / "twice").symlink_to(real / "ann")
    assert [file.parent.name for file in audio_files(corpus)] == ["ann", "ben"]
    # some_audio_files doesn't sort: the other link may come first.
    assert sorted(os.path.realpath(file) for file in some_audio_files(corpus)) == [
        str(corpus / "ben/h_01.wav"), str(real / "ann/h_01.wav"),
    ]  # fmt: skip


def passed_over(root):
    """Return the recordings below `root` and the other entries by reason."""
    reasons = {}
    names = audio_names(root, lambda item, why: reasons.setdefault(why, []).append(item))
    return names, reasons


def test_every_other_file_is_reported_with_a_reason(tmp_path):
    touch(tmp_path, "a.wav", "b/a.TXT", "b/notes", "b/._a.wav", ".git/x/y.wav", "x.weird name")
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    (tmp_path / "self.wav").symlink_to(tmp_path / "self.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    names, reasons = passed_over(tmp_path)
    assert names == ["a.wav"]
    assert reasons == {
        "not a recording (.txt)": ["b/a.TXT"],
        "not a recording (no suffix)": ["x.weird name", "b/notes"],
        "hidden": ["b/._a.wav", ".git/x/y.wav"],
        "broken link": ["gone.wav", "self.wav"],
        "not a regular file": ["pipe.wav"],
    }


def test_a_second_path_to_a_folder_is_reported(tmp_path):
    touch(tmp_path, "ann/h_01.wav")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "twin").symlink_to(tmp_path / "ann")
    names, reasons = passed_over(tmp_path)
    assert names == ["ann/h_01.wav"]
    assert reasons == {"second path to a folder, through a link": ["loop", "twin"]}


def test_a_link_into_a_hidden_folder_is_read(tmp_path):
    touch(tmp_path, ".store/ann/h_01.wav", "zoe/h_01.wav")
    (tmp_path / "zoe/ann").symlink_to(tmp_path / ".store/ann")
    names, reasons = passed_over(tmp_path)
    assert names == ["zoe/ann/h_01.wav", "zoe/h_01.wav"]
    assert reasons == {"second path to a folder, through a link": [".store/ann"]}


def test_names_of_any_bytes_are_read_and_reported_in_readable_form(tmp_path):
    touch(tmp_path, os.fsdecode(b"\xe9.wav"), os.fsdecode(b"\xff.txt"), "感01.wav")
    names, reasons = passed_over(tmp_path)
    assert [readable(name) for name in names] == ["感01.wav", "%E9.wav"]
    assert all((tmp_path / name).is_file() for name in names)
    assert reasons == {"not a recording (.txt)": ["%FF.txt"]}


@pytest.mark.parametrize(
    ("stem", "original"),
    [("x (1)", "x"), ("x(2)", "x"), ("x - Copy", "x"), ("x - Copy (3)", "x"), ("x - Kopie", "x"),
     ("x copy", "x"), ("x copy 2", "x"), ("a/x (1)", "a/x"), ("x", ""), ("x (100)", ""),
     ("x (1) y", ""), ("copy", ""), ("xcopy", "")],
)  # fmt: skip
def test_the_name_of_a_copy_leads_to_its_original(stem, original):
    assert original_name(stem) == original


@pytest.mark.parametrize(
    ("path", "expected"),
    [("a/b.wav", ("a/b", ".wav")), ("a.b/c", ("a.b/c", "")), ("a/.b", ("a/.b", "")),
     ("a.b.WAV", ("a.b", ".WAV")), ("", ("", ""))],
)  # fmt: skip
def test_a_path_is_split_at_its_suffix(path, expected):
    assert split_suffix(path) == expected


def test_a_missing_folder_is_an_error_for_audio_files_but_not_for_some_audio_files(tmp_path):
    touch(tmp_path, "a.wav")
    for path in (tmp_path / "a.wav", tmp_path / "nowhere"):
        with pytest.raises(CorpusError, match="is not a folder"):
            audio_files(path)
        assert some_audio_files(path) == [] and not most_match(path, lambda file: True)


def test_an_unreadable_folder_is_named(tmp_path, monkeypatch):
    """The system's error is simulated, because root can read everything."""
    touch(tmp_path, "a.wav", "locked/b.wav")
    locked, scandir = str(tmp_path / "locked"), os.scandir

    def refuse(path):
        if os.fspath(path) == locked:
            raise PermissionError(13, "Permission denied", locked)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(CorpusError, match=f"folder {locked} can't be read: Permission denied"):
        audio_files(tmp_path)
    assert [file.name for file in some_audio_files(tmp_path)] == ["a.wav"]


def test_some_audio_files_are_from_both_of_two_large_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(filenames, "_ENTRIES_PER_FOLDER", 4)
    monkeypatch.setattr(filenames, "_ENTRIES", 9)
    touch(tmp_path, *(f"{folder}/{i}.wav" for folder in "ab" for i in range(20)))
    result = [file.parent.name for file in some_audio_files(tmp_path)]
    # The limit of nine entries is two folders, four files of the first and three of the second.
    assert sorted([result.count("a"), result.count("b")]) == [3, 4]


def test_a_folder_is_sampled_once_while_samples_are_kept(tmp_path):
    touch(tmp_path, "a.wav")
    with samples_kept():
        assert len(some_audio_files(tmp_path)) == 1
        touch(tmp_path, "b.wav")
        assert len(some_audio_files(tmp_path)) == 1
    assert len(some_audio_files(tmp_path)) == 2


@pytest.mark.parametrize(
    ("right", "wrong", "expected"), [(4, 1, True), (3, 1, False), (0, 0, False)]
)
def test_a_corpus_is_recognised_by_four_fifths_of_its_recordings(tmp_path, right, wrong, expected):
    touch(tmp_path, *(f"ann_h_{i:02}.wav" for i in range(right)), "notes.txt", "._ann_h_50.wav")
    touch(tmp_path, *(f"x{i}.wav" for i in range(wrong)))
    assert Said.detect(tmp_path) is expected


def test_a_file_is_not_detected_as_a_corpus(tmp_path):
    assert not Said.detect(touch(tmp_path, "ann_h_01.wav") / "ann_h_01.wav")


# -- names ---------------------------------------------------------------------------


def test_a_file_name_is_parsed_into_a_clip(tmp_path):
    touch(tmp_path, "one/ann_s_07_loud.wav")
    (clip,) = Said(tmp_path).clips()
    assert (clip.name, clip.label, clip.speaker, clip.corpus) == (
        "one/ann_s_07_loud.wav", "sad", "ANN", "said",
    )  # fmt: skip
    assert clip.attributes == {"take": "07", "remark": "loud"}
    assert clip.recording.path == tmp_path / "one/ann_s_07_loud.wav"


def test_case_is_ignored_and_an_unmatched_group_is_empty(tmp_path):
    touch(tmp_path, "ANN_H_07.WAV")
    (clip,) = Said(tmp_path).clips()
    assert (clip.label, clip.speaker, clip.attributes["remark"]) == ("happy", "ANN", "")


def test_the_pattern_matches_whole_names_at_the_end_of_a_path(tmp_path):
    touch(tmp_path, "ann_h_01.wav", "take_ann_h_01.wav", "ann_h_011.wav", "ann_x_01.wav")
    assert names(Said(tmp_path)) == ["ann_h_01.wav"]


def test_unwanted_files_are_ignored(tmp_path):
    assert names(Said(touch(tmp_path, "ann_h_99.wav", "ann_h_98.wav"))) == ["ann_h_98.wav"]


def test_the_root_may_be_the_folder_of_a_speaker(tmp_path, monkeypatch):
    monkeypatch.chdir(touch(tmp_path, "ann/h_01.wav", "ann/s_01.wav") / "ann")

    result = list(Said(Path()).clips())
    assert [(clip.speaker, clip.name) for clip in result] == [
        ("ANN", "h_01.wav"),
        ("ANN", "s_01.wav"),
    ]
    assert Said.detect(Path())


def test_a_duplicate_recording_is_read_once_from_the_first_path(tmp_path):
    touch(tmp_path, "b/ann_h_01.wav", "a/ann_h_01.wav", "a/ANN_h_02.wav", "b/ann_H_02.wav")
    assert names(Said(tmp_path)) == ["a/ANN_h_02.wav", "a/ann_h_01.wav"]


def test_lossless_formats_are_preferred_in_any_folder(tmp_path):
    touch(tmp_path, "a/ann_h_01.mp3", "b/ann_h_01.ogg", "c/ann_h_01.FLAC", "d/ann_h_01.wav")
    touch(tmp_path, "a/ann_h_02.mp3")
    assert names(Said(tmp_path)) == ["a/ann_h_02.mp3", "d/ann_h_01.wav"]


def test_a_second_download_is_read_only_without_its_original(tmp_path):
    touch(tmp_path, "ann_h_01.wav", "ann_h_01 (1).wav", "ann_h_02 (1).wav", "ann_h_02 (2).wav")
    corpus = Said(tmp_path)
    assert names(corpus) == ["ann_h_01.wav", "ann_h_02 (1).wav"]
    assert corpus.passed_over == {
        "copy of a recording that is read": ["ann_h_01 (1).wav", "ann_h_02 (2).wav"],
    }


def test_reading_twice_counts_once(tmp_path):
    touch(tmp_path, "ann_h_01.wav", "ann_h_99.wav", "ann_h_01.flac", "x.wav", "notes.txt")
    corpus = Said(tmp_path)
    assert names(corpus) == names(corpus) == ["ann_h_01.wav"]
    assert corpus.passed_over == {
        "not a recording (.txt)": ["notes.txt"],
        "not wanted: outside the selection": ["ann_h_99.wav"],
        "not a file name of said": ["x.wav"],
        "another format of the same recording": ["ann_h_01.flac"],
    }
