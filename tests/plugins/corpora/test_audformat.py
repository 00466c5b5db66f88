"""Corpora in audformat: databases that the package audformat writes, and hostile ones."""

import os
import sys
from functools import partial

import pytest
from read_corpora import read_corpus
from touched import touch

from fusion.core.contracts.data import ColumnChoice
from fusion.core.contracts.errors import CorpusError, ParameterError, UnknownNameError
from fusion.plugins.corpora.audformat import Audformat
from fusion.testing import CorpusSuite

read = partial(read_corpus, Audformat)

audformat = pytest.importorskip("audformat")
pd = pytest.importorskip("pandas")

FILES = ["wav/a.wav", "wav/b.wav", "wav/c.wav"]
SPEAKERS = {3: {"gender": "male", "age": 31}, 8: {"gender": "female", "age": 34}}


def database(**schemes):
    db = audformat.Database("mini", source="here", usage="research")
    db.schemes["emotion"] = audformat.Scheme(labels=["anger", "neutral", "sadness"])
    db.schemes["speaker"] = audformat.Scheme(labels=SPEAKERS)
    for name, scheme in schemes.items():
        db.schemes[name] = scheme
    return db


def add(db, table, index, columns, **options):
    """Add a table; columns are {name: (scheme, values)}."""
    db[table] = audformat.Table(index, **options)
    for name, (scheme, values) in columns.items():
        db[table][name] = audformat.Column(scheme_id=scheme)
        db[table][name].set(values)


def files(names=FILES):
    return audformat.filewise_index(names)


def with_speakers(db):
    add(db, "files", files(), {"speaker": ("speaker", [3, 8, 8])})
    return db


def emodb_like():
    """Return a database with the tables of the published emodb of audb."""
    db = database(confidence=audformat.Scheme("float"))
    for part, kind in (("train", "train"), ("test", "test")):
        db.splits[part] = audformat.Split(kind)
    emotions = {"emotion": ("emotion", ["anger", "neutral", "sadness"]),
                "emotion.confidence": ("confidence", [0.9, 0.95, 1.0])}  # fmt: skip
    add(db, "emotion", files(), emotions)
    for part, names, values in (
        ("train", FILES[:1], ["anger"]),
        ("test", FILES[1:], ["neutral", "sadness"]),
    ):
        columns = {"emotion": ("emotion", values)}
        add(db, f"emotion.categories.{part}.gold_standard", files(names), columns, split_id=part)
    return with_speakers(db)


def save(db, folder, storage_format="csv"):
    touch(folder, *FILES)
    db.save(str(folder), storage_format=storage_format)
    return folder


def simple(folder, storage_format="csv"):
    db = with_speakers(database())
    add(db, "emotion", files(), {"emotion": ("emotion", ["anger", "neutral", "sadness"])})
    return save(db, folder, storage_format)


class TestAudformat(CorpusSuite):
    plugin = Audformat

    def make(self, folder):
        simple(folder)


class TestPublishedSplit(CorpusSuite):
    plugin = Audformat
    parameters = {"table": "emotion.categories.*"}  # noqa: RUF012

    def make(self, folder):
        save(emodb_like(), folder)


@pytest.mark.parametrize("storage_format", ["csv", "parquet"])
def test_labels_and_speakers_of_filewise_tables(tmp_path, storage_format):
    corpus, clips = read(simple(tmp_path, storage_format))
    assert [(c.name, c.label, c.speaker) for c in clips] == [
        ("wav/a.wav", "anger", "3"),
        ("wav/b.wav", "neutral", "8"),
        ("wav/c.wav", "sadness", "8"),
    ]
    assert clips[0].recording.path == tmp_path / "wav/a.wav"
    assert clips[0].attributes == {"gender": "male", "age": "31"}
    assert corpus.columns_used == {"label": "emotion", "speaker": "speaker"}


def test_several_tables_of_labels_need_a_choice_and_their_parts_are_the_split(tmp_path):
    save(emodb_like(), tmp_path)
    with pytest.raises(CorpusError, match=r"table emotion, column emotion; table emotion.categ"
                       r"ories.\*.gold_standard, column emotion") as caught:  # fmt: skip
        read(tmp_path)
    assert "--set audformat.table='emotion'" in (caught.value.hint or "")
    _, clips = read(tmp_path, table="emotion.categories.*.gold_standard")
    assert {c.name: c.split for c in clips} == {
        "wav/a.wav": "train",
        "wav/b.wav": "test",
        "wav/c.wav": "test",
    }
    _, clips = read(tmp_path, table="emotion")
    assert {c.split for c in clips} == {None}
    assert clips[0].attributes["emotion.confidence"] == "0.9"
    with pytest.raises(UnknownNameError, match="table 'emotions'.*Did you mean 'emotion'"):
        read(tmp_path, table="emotions")


def test_the_names_of_tables_state_the_split_without_a_split_of_the_header(tmp_path):
    db = with_speakers(database())
    add(db, "dev", files(FILES[1:2]), {"emotion": ("emotion", ["anger"])})
    add(db, "train", files(FILES[:1]), {"emotion": ("emotion", ["anger"])})
    add(db, "test", files(FILES[2:]), {"emotion": ("emotion", ["anger"])})
    _, clips = read(save(db, tmp_path))
    assert {c.name: c.split for c in clips} == {
        "wav/a.wav": "train",
        "wav/b.wav": "val",
        "wav/c.wav": "test",
    }


def test_parts_of_files_have_times_and_an_open_end(tmp_path):
    db = with_speakers(database())
    index = audformat.segmented_index(
        ["wav/a.wav", "wav/a.wav", "wav/b.wav"], ["0s", "1.25s", "0s"], ["1.25s", pd.NaT, pd.NaT]
    )
    add(db, "segments", index, {"emotion": ("emotion", ["anger", "neutral", "sadness"])})
    _, clips = read(save(db, tmp_path))
    assert [(c.name, c.recording.start, c.recording.end, c.speaker) for c in clips] == [
        ("wav/a.wav@0-1.25", 0.0, 1.25, "3"),
        ("wav/a.wav@1.25-", 1.25, None, "3"),
        ("wav/b.wav", 0.0, None, "8"),
    ]


def test_speakers_of_parts_of_files(tmp_path):
    db = database()
    index = audformat.segmented_index(["wav/a.wav"] * 2, ["0s", "1s"], ["1s", "2s"])
    columns = {"emotion": ("emotion", ["anger"] * 2), "speaker": ("speaker", [3, 8])}
    add(db, "segments", index, columns)
    _, clips = read(save(db, tmp_path))
    assert [(c.speaker, c.attributes["gender"]) for c in clips] == [("3", "male"), ("8", "female")]


def test_labels_of_schemes_may_be_the_index_of_a_miscellaneous_table(tmp_path):
    db = audformat.Database("mini", source="here", usage="research")
    db.schemes["emotion"] = audformat.Scheme(labels=["anger", "sadness"])
    db.schemes["gender"] = audformat.Scheme(labels=["female", "male"])
    db["people"] = audformat.MiscTable(pd.Index(["anna", "ben"], name="who"))
    db["people"]["gender"] = audformat.Column(scheme_id="gender")
    db["people"]["gender"].set(["female", "male"])
    db.schemes["speaker"] = audformat.Scheme("str", labels="people")
    columns = {"emotion": ("emotion", ["anger", "sadness"]), "who": ("speaker", ["anna", "ben"])}
    add(db, "all", files(FILES[:2]), columns)
    corpus, clips = read(save(db, tmp_path))
    assert [(c.speaker, c.attributes) for c in clips] == [
        ("anna", {"gender": "female"}),
        ("ben", {"gender": "male"}),
    ]
    assert corpus.columns_used["speaker"] == "who"


def test_a_miscellaneous_table_of_files_states_the_speakers(tmp_path):
    db = database()
    add(db, "emotion", files(), {"emotion": ("emotion", ["anger"] * 3)})
    db["persons"] = audformat.MiscTable(pd.Index(FILES, name="file"))
    db["persons"]["speaker"] = audformat.Column(scheme_id="speaker")
    db["persons"]["speaker"].set([3, 8, 3])
    _, clips = read(save(db, tmp_path))
    assert [c.speaker for c in clips] == ["3", "8", "3"]


def test_labels_and_speakers_may_be_attributes_of_labels(tmp_path):
    sessions = {"s1": {"speaker": "anna", "mood": "anger"}, "s2": {"speaker": "ben"}}
    db = database(session=audformat.Scheme(labels=sessions))
    add(db, "all", files(FILES[:2]), {"session": ("session", ["s1", "s2"])})
    corpus, (clip,) = read(save(db, tmp_path), ColumnChoice({"label": "mood"}))
    assert (clip.label, clip.speaker) == ("anger", "anna")
    assert corpus.columns_used == {"label": "mood", "speaker": "speaker"}
    assert corpus.passed_over == {"no label": ["wav/b.wav"]}


def test_names_of_coded_labels(tmp_path):
    db = with_speakers(database())
    db.schemes["code"] = audformat.Scheme(labels={"W": "anger", "N": "neutral"})
    add(db, "all", files(), {"emo": ("code", ["W", "N", None])})
    corpus, clips = read(save(db, tmp_path))
    assert [c.label for c in clips] == ["anger", "neutral"]
    assert corpus.passed_over == {"no label": ["wav/c.wav"]}


def test_columns_are_chosen_by_parameters_or_roles_and_ignored(tmp_path):
    db = with_speakers(database())
    columns = {
        "emotion.r1": ("emotion", ["anger"] * 3),
        "emotion.r2": ("emotion", ["neutral"] * 3),
        "note": (None, ["x", "y", "z"]),
    }
    add(db, "all", files(), columns)
    save(db, tmp_path)
    with pytest.raises(CorpusError, match="table all, column emotion.r1; table all, column"):
        read(tmp_path)
    _, clips = read(tmp_path, column="emotion.r2")
    assert (clips[0].label, clips[0].attributes["note"]) == ("neutral", "x")
    _, clips = read(tmp_path, ColumnChoice({"label": "emotion.r1"}, ("note", "emotion.r2", "age")))
    assert (clips[0].label, clips[0].attributes) == ("anger", {"gender": "male"})
    with pytest.raises(UnknownNameError, match="column 'who'"):
        read(tmp_path, ColumnChoice({"label": "emotion.r1", "speaker": "who"}))
    _, clips = read(tmp_path, column="emotion.r1", speaker=r"wav/(\w)")
    assert [c.speaker for c in clips] == ["a", "b", "c"]


def test_transcripts_are_found_like_speakers(tmp_path):
    db = database(transcription=audformat.Scheme(labels={"a01": "Der Lappen.", "a02": "Das."}))
    add(db, "emotion", files(), {"emotion": ("emotion", ["anger"] * 3)})
    columns = {"speaker": ("speaker", [3, 8, 8]),
               "transcription": ("transcription", ["a01", "a02", "a01"])}  # fmt: skip
    add(db, "files", files(), columns)
    _, clips = read(save(db, tmp_path))
    assert clips[0].attributes == {"gender": "male", "age": "31", "transcript": "Der Lappen."}


def test_missing_files_are_passed_over_and_all_missing_is_an_error(tmp_path):
    simple(tmp_path)
    (tmp_path / FILES[0]).unlink()
    corpus, clips = read(tmp_path)
    assert (len(clips), corpus.passed_over) == (2, {"the file does not exist": ["wav/a.wav"]})
    for name in FILES[1:]:
        (tmp_path / name).unlink()
    with pytest.raises(CorpusError, match="does not exist: 3, for example wav/a.wav") as caught:
        read(tmp_path)
    assert "audb.load" in (caught.value.hint or "")


def test_files_outside_the_database_are_not_read(tmp_path):
    root = simple(tmp_path / "db")
    touch(tmp_path, "secret.wav")
    for table, end in (("emotion", "anger"), ("files", "3")):
        with (root / f"db.{table}.csv").open("a") as stream:
            stream.write(f"../secret.wav,{end}\n{tmp_path}/secret.wav,{end}\n")
    corpus, clips = read(root)
    assert len(clips) == 3
    assert len(corpus.passed_over["outside the folder"]) == 2


class Trap:
    """Object that leaves a file behind when it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return open, (str(self.file), "w")


def test_pickled_tables_are_never_read(tmp_path):
    import pickle

    simple(tmp_path)
    for table in ("emotion", "files"):
        (tmp_path / f"db.{table}.pkl").write_bytes(pickle.dumps(Trap(tmp_path / "ran")))
        os.utime(tmp_path / f"db.{table}.pkl", (4e9, 4e9))
    _, clips = read(tmp_path)
    assert len(clips) == 3
    assert not (tmp_path / "ran").exists()
    (tmp_path / "db.emotion.csv").unlink()
    with pytest.raises(CorpusError, match="'emotion' exists only as .*db.emotion.pkl") as caught:
        read(tmp_path)
    assert "storage_format='csv'" in (caught.value.hint or "")
    assert not (tmp_path / "ran").exists()
    (tmp_path / "db.emotion.pkl").unlink()
    with pytest.raises(CorpusError, match=r"no file of the table 'emotion'.*db.emotion.csv or"):
        read(tmp_path)


def test_the_header_can_not_construct_objects(tmp_path):
    simple(tmp_path)
    header = (tmp_path / "db.yaml").read_text()
    code = f'description: !!python/object/apply:os.mkdir ["{tmp_path}/ran"]\n'
    (tmp_path / "db.yaml").write_text(header + code)
    with pytest.raises(CorpusError, match="not valid YAML"):
        read(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("[1]", "not a header"),
        ("name: x\nsource: y\nusage: nothing\n", "not a header of audformat"),
        ("name: x\nsource: y\nusage: research\ntables:\n  ../x: {type: filewise}\n", "valid name"),
        (
            "name: x\nsource: y\nusage: research\ntables:\n  t:\n    type: filewise\n"
            "    columns: {emotion: {scheme_id: z}}\n",
            "scheme 'z', which is not defined",
        ),
        ("name: x\nsource: y\nusage: research\n", "Tables and columns: none"),
        ("a: [", "not valid YAML"),
        ("a: " + "[" * 5000, "not valid YAML"),
    ],
)
def test_headers_that_are_wrong_are_errors(tmp_path, header, message):
    (tmp_path / "db.yaml").write_text(header)
    with pytest.raises(CorpusError, match=message):
        read(tmp_path)


def test_errors_name_what_is_missing_and_what_to_do(tmp_path):
    db = database()
    add(db, "emotion", files(), {"emotion": ("emotion", ["anger"] * 3)})
    save(db, tmp_path / "a")
    _, clips = read(tmp_path / "a")
    assert {clip.speaker for clip in clips} == {""}  # unknown
    db = with_speakers(database())
    add(db, "other", files(), {"mood": (None, ["x"] * 3)})
    save(db, tmp_path / "b")
    with pytest.raises(CorpusError, match="files: speaker; other: mood") as caught:
        read(tmp_path / "b")
    assert "audformat.column=" in (caught.value.hint or "")
    db = with_speakers(database())
    add(db, "emotion", files(), {"emotion": ("emotion", ["anger"] * 3)})
    add(db, "more", files(FILES[:1]), {"speaker": ("speaker", [8])})
    save(db, tmp_path / "c")
    with pytest.raises(CorpusError, match="wav/a.wav has the speaker '3' in the table files, and"):
        read(tmp_path / "c")
    simple(tmp_path / "d")
    (tmp_path / "d/db.emotion.csv").write_text('file,emotion\n"wav/a.wav\n')
    with pytest.raises(CorpusError):
        read(tmp_path / "d")


def test_text_that_is_not_utf_8_is_an_error(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    simple(tmp_path, "parquet")
    for file in tmp_path.glob("db.*.parquet"):
        parquet.write_table(parquet.read_table(file), file, compression="none")
        file.write_bytes(file.read_bytes().replace(b"wav/b.wav", b"wav/\xff.wav"))
    with pytest.raises(CorpusError, match="UTF-8|can't be read"):
        read(tmp_path)


def test_only_headers_of_audformat_are_recognised(tmp_path):
    simple(tmp_path / "a")
    assert Audformat.detect(tmp_path / "a")
    touch(tmp_path / "b", "db.yaml")
    assert not Audformat.detect(tmp_path / "b")
    assert not Audformat.detect(tmp_path)
    assert not Audformat.detect(tmp_path / "a/db.yaml")


def test_the_error_without_the_package_names_the_extra(tmp_path, monkeypatch):
    simple(tmp_path)
    monkeypatch.setitem(sys.modules, "audformat", None)
    with pytest.raises(ParameterError, match="audformat") as caught:
        read(tmp_path)
    assert "pip install 'modal-fusion[audformat]'" in (caught.value.hint or "")
