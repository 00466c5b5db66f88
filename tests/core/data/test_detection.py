"""Corpora that a path holds, and collections of corpora in sub-folders; files of a split."""

import pytest
from split_tables import CORPORA as TABLES
from split_tables import loaded, tables
from touched import touch

from fusion import Corpus
from fusion.core.contracts.errors import CorpusError, PluginError
from fusion.core.data import detection
from fusion.core.data.detection import Detected, detect, part_files
from fusion.core.data.sources import Source


def corpus(name, letter, priority=10):
    """Return a corpus that recognises folders with a file LETTER.wav."""

    class One(Corpus):
        @classmethod
        def detect(cls, path):
            return path.is_dir() and any(path.glob(f"{letter}.wav"))

    One.name, One.priority = name, priority
    return One


class Anything(Corpus):
    """Reader of any folder."""

    name = "anything"
    priority = -1

    @classmethod
    def detect(cls, path):
        return path.is_dir()


CORPORA = {"ay": corpus("ay", "a"), "bee": corpus("bee", "b"), "anything": Anything}


def test_a_corpus_of_the_folder_itself_takes_precedence_over_its_sub_folders(tmp_path):
    touch(tmp_path, "a.wav", "one/b.wav", "two/b.wav")
    assert detect(tmp_path, CORPORA) == Detected((Source("ay", tmp_path),))


def test_another_corpus_beside_that_of_the_folder_makes_a_collection(tmp_path):
    touch(tmp_path, "a.wav", "one/a.wav", "two/b.wav")
    assert detect(tmp_path, CORPORA) == Detected(
        (Source("ay", tmp_path / "one"), Source("bee", tmp_path / "two")),
        {"outside the folders of the corpora": ["a.wav"]},
    )


def test_metadata_of_the_folder_takes_precedence_over_its_sub_folders(tmp_path):
    touch(tmp_path, "m.wav", "one/a.wav", "two/b.wav")
    corpora = {**CORPORA, "table": corpus("table", "m", priority=0)}
    assert detect(tmp_path, corpora).parts == (Source("table", tmp_path),)


def test_sub_folders_are_found_before_a_reader_of_any_folder(tmp_path):
    touch(tmp_path, "one/a.wav", "two/b.wav", ".hidden/x.wav")
    assert detect(tmp_path, CORPORA) == Detected(
        (Source("ay", tmp_path / "one"), Source("bee", tmp_path / "two")), {"hidden": [".hidden"]}
    )


def test_what_belongs_to_no_corpus_is_listed_with_a_reason(tmp_path):
    touch(tmp_path, "1/a.wav", "2/b.wav", "3/x.wav", "4/notes.txt", "README.md")
    assert detect(tmp_path, CORPORA) == Detected(
        (Source("ay", tmp_path / "1"), Source("bee", tmp_path / "2")),
        {
            "folder of no known corpus": ["3"],
            "folder without recordings": ["4"],
            "outside the folders of the corpora": ["README.md"],
        },
    )


@pytest.mark.parametrize("names", [("1/a.wav", "2/x.wav"), ("1/x.wav", "2/x.wav"), ("x.wav",)])
def test_without_a_majority_the_folder_is_no_collection(tmp_path, names):
    touch(tmp_path, *names)
    assert detect(tmp_path, CORPORA).parts == (Source("anything", tmp_path),)


def test_a_sub_folder_of_two_corpora_belongs_to_neither(tmp_path):
    touch(tmp_path, "1/a.wav", "2/a.wav", "3/a.wav", "3/b.wav")
    detected = detect(tmp_path, CORPORA)
    assert detected.parts == (Source("ay", tmp_path / "1"), Source("ay", tmp_path / "2"))
    assert detected.passed_over == {"folder of no known corpus": ["3"]}


def test_a_folder_with_many_sub_folders_is_not_examined(tmp_path, monkeypatch):
    monkeypatch.setattr(detection, "_MOST_PARTS", 2)
    touch(tmp_path, "1/a.wav", "2/a.wav", "3/a.wav")
    assert detect(tmp_path, CORPORA).parts == (Source("anything", tmp_path),)


def test_a_folder_that_no_corpus_recognises_is_refused(tmp_path):
    touch(tmp_path, "1/x.wav")
    corpora = {name: CORPORA[name] for name in ("ay", "bee")}
    with pytest.raises(CorpusError, match="looks like none of the corpora known here: ay, bee"):
        detect(tmp_path, corpora)


@pytest.mark.parametrize("prefix", ["", "polish_"])
def test_a_folder_with_one_file_per_part(tmp_path, prefix):
    tables(tmp_path, *(f"{prefix}{part}.csv" for part in ("train", "dev", "test")))
    tables(tmp_path, "notes.csv")
    assert list(part_files(tmp_path, TABLES)) == ["train", "val", "test"]
    assert {split for split, _ in loaded(tmp_path)} == {"train", "val", "test"}
    assert len(loaded(tmp_path)) == 6


def test_a_folder_with_two_splits_is_refused(tmp_path):
    tables(tmp_path, "a_train.csv", "a_test.csv", "b_train.csv", "b_test.csv")
    with pytest.raises(CorpusError, match="files of 2 splits: a_test.csv, a_train.csv; b_test"):
        loaded(tmp_path)


def test_a_folder_without_a_file_for_test_is_no_split(tmp_path):
    tables(tmp_path, "train.csv", "dev.csv")
    assert part_files(tmp_path, TABLES) == {}


@pytest.mark.parametrize("read", [part_files, detect])
def test_a_corpus_that_fails_to_examine_a_file_of_a_split_is_named(tmp_path, read):
    class Failing(Corpus):
        name = "failing"

        @classmethod
        def detect(cls, path):
            return path.is_file() and bool(1 / 0)

    tables(tmp_path, "train.csv", "test.csv")
    with pytest.raises(PluginError, match=r"'failing' failed to examine .*test.csv: ZeroDivision"):
        read(tmp_path, {**TABLES, "failing": Failing})


def test_a_file_of_a_split_that_two_corpora_recognise_is_refused(tmp_path):
    tables(tmp_path, "train.csv", "test.csv")
    both = {"one": TABLES["table"], "two": TABLES["table"]}
    with pytest.raises(CorpusError, match="train.csv looks like one and like two"):
        part_files(tmp_path, both)
