"""Sources of clips: texts of --data."""

import pytest
from split_tables import CORPORA, loaded, tables

from fusion.core.contracts.errors import CorpusError, UnknownNameError
from fusion.core.data.sources import Source, absolute_source, parse_sources


def test_one_file_per_part(tmp_path, monkeypatch):
    tables(tmp_path, "a.csv", "b.csv", "c.csv")
    monkeypatch.chdir(tmp_path)
    text = "train=a.csv, dev=b.csv,test=table=c.csv"
    assert [(s.corpus, s.path.name, s.split) for s in parse_sources(text, CORPORA)] == [
        (None, "a.csv", "train"), (None, "b.csv", "val"), ("table", "c.csv", "test"),
    ]  # fmt: skip
    expected = [("test", "c1.wav"), ("test", "c2.wav"), ("train", "a1.wav"), ("train", "a2.wav"),
                ("val", "b1.wav"), ("val", "b2.wav")]  # fmt: skip
    assert loaded(text) == expected
    absolute = absolute_source(text, CORPORA)
    assert absolute.startswith(f"train={tmp_path}/a.csv,val=") and "test=table=/" in absolute
    monkeypatch.chdir("/")
    assert loaded(absolute) == expected


def test_a_part_can_not_be_named_twice(tmp_path):
    with pytest.raises(CorpusError, match="twice: train=a.csv,training=b.csv"):
        parse_sources("train=a.csv,training=b.csv", CORPORA)


def test_other_texts_are_one_source(tmp_path):
    path = tmp_path / "train=x,test=y"
    path.mkdir()
    assert parse_sources(str(path), CORPORA) == [Source(None, path)]
    assert parse_sources("table=x,y", CORPORA)[0].path.name == "x,y"
    with pytest.raises(UnknownNameError, match="tabel"):
        parse_sources("tabel=x", CORPORA)
