"""Tables and EmoBox manifests. No test here opens a recording."""

import csv
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from touched import touch

from fusion.core.contracts.errors import CorpusError
from fusion.core.data.corpora import load_dataset, parse_source
from fusion.plugins.corpora.table import Table
from fusion.testing import CorpusSuite

CORPORA = {"table": Table}


def load(*paths, labels="native", **parameters):
    sources = [parse_source(str(path), CORPORA) for path in paths]
    return load_dataset(sources, CORPORA, labels=labels, parameters={"table": parameters})


def write(folder, text, name="clips.csv", encoding="utf-8"):
    for recording in ("a.wav", "b.wav", "sub/c.flac"):
        (folder / recording).parent.mkdir(exist_ok=True)
        (folder / recording).touch()
    (folder / name).write_text(text, encoding=encoding)
    return folder / name


def fails(message, table, **options):
    with pytest.raises(CorpusError, match=message):
        load(table, **options)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "path,label,speaker\na.wav,happy,1\nsub/c.flac,sad,2\n"),
        ("t.csv", "Speaker_ID;Emotion;File\r\n1;happy;a.wav\r\n\r\n2;sad;sub/c.flac\r\n"),
        ("T.CSV", "\ufeffwav, class ,spk\na.wav , happy,1\nsub/c.flac,sad,2"),
        ("t.tsv", "audio\temo\tspeaker\na.wav\thappy\t1\nsub/c.flac\tsad\t2\n"),
        ("t.jsonl", '{"wav": "a.wav", "emo": "happy", "spk": 1}\n\n'
                    '{"wav": "sub/c.flac", "emo": "sad", "spk": "2"}\n'),
    ],
)  # fmt: skip
def test_kinds_of_tables(tmp_path, name, text):
    data = load(write(tmp_path, text, name))
    assert [(c.name, c.label, c.speaker) for c in data.clips] == [
        ("a.wav", "happy", "1"),
        ("sub/c.flac", "sad", "2"),
    ]
    assert data.clips[1].recording.path == tmp_path / "sub/c.flac"


def test_all_columns(tmp_path):
    text = (
        "path,label,speaker,split,fold,start,end,name,sentence,session,age\n"
        "a.wav,happy,1,Training,3,0.5,2,one,dogs,4,\n"
        "a.wav,sad,2,dev,4,2,,two,kids,4,30\n"
    )
    one, two = load(write(tmp_path, text)).clips
    assert (one.name, one.split, one.fold) == ("one", "train", "3")
    assert (one.recording.start, one.recording.end) == (0.5, 2.0)
    assert (two.recording.start, two.recording.end, two.split) == (2.0, None, "val")
    assert one.attributes == {"sentence": "dogs", "session": "4"}
    assert two.attributes == {"sentence": "kids", "session": "4", "age": "30"}


def test_clips_of_one_file_are_named_after_their_seconds(tmp_path):
    text = "path,label,speaker,start,end\na.wav,happy,1,0,1.5\na.wav,sad,1,1.5,\nb.wav,sad,2,,\n"
    data = load(write(tmp_path, text))
    assert [c.name for c in data.clips] == ["a.wav@0-1.5", "a.wav@1.5-", "b.wav"]


def test_root(tmp_path):
    (tmp_path / "lists").mkdir()
    write(tmp_path, "")
    table = tmp_path / "lists/t.csv"
    table.write_text("path,label,speaker\na.wav,happy,1\nb.wav,sad,2\n")
    fails(r"t\.csv, line 2: None of the 2 files exists(.|\n)*table\.root", table)
    assert len(load(table, root=str(tmp_path)).clips) == 2


def test_some_missing_files_are_no_error(tmp_path):
    text = "path,label,speaker\na.wav,happy,1\nnone.wav,sad,2\n"
    assert [c.recording.path.is_file() for c in load(write(tmp_path, text)).clips] == [True, False]


def test_files_below_root_are_found_by_name_with_any_extension(tmp_path):
    (tmp_path / "audio/deep").mkdir(parents=True)
    (tmp_path / "audio/deep/a.flac").touch()
    (tmp_path / "audio/b.wav").touch()
    table = tmp_path / "t.csv"
    table.write_text("path,label,speaker\nx/y/a.wav,happy,1\nb.wav,sad,2\n")
    result = [c.recording.path for c in load(table, root=str(tmp_path / "audio")).clips]
    assert sorted(p.name for p in result) == ["a.flac", "b.wav"]


HEAD = "path,label,speaker,start,split\na.wav,happy,1,,\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + "b.wav,,2,,\n", "line 3: The label is missing"),
        (HEAD + "b.wav,sad,,,\n", r"line 3: The speaker is missing(.|\n)*table\.speaker"),
        (HEAD + "b.wav,sad,2,soon,\n", "line 3: Column start holds 'soon', which is not"),
        (HEAD + "b.wav,sad,2,nan,\n", "line 3: Column start holds 'nan', which is not"),
        (HEAD + "b.wav,sad,2,-1,\n", "line 3: .*has no length"),
        (HEAD + "b.wav,sad,2,,tset\n", "line 3: The split 'tset' is unknown"),
        (HEAD + "b.wav,sad,2\n", "line 3: 3 cells, but the first line names 5"),
        (HEAD + "a.wav,sad,2,,\n", "line 2: The clip 'a.wav' is in 2 rows"),
        (HEAD + 'b.wav,"sad,2,,\n', "line 3: "),
        ("path,emotional,speaker\na.wav,happy,1\n", "line 2: The label is missing"),
        ("path,label,Path,speaker\na.wav,happy,b.wav,1\n", "line 1: duplicate column: path"),
        ("path,label,speaker\n", "no recordings"),
        ("", "no recordings"),
    ],
)
def test_a_bad_row_names_file_and_line(tmp_path, text, message):
    fails(message, write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "line 1: .* not valid JSON"), ("[1]", "line 1: .* not a JSON object")],
)
def test_invalid_json_is_refused(tmp_path, text, message):
    fails(message, write(tmp_path, text, "t.jsonl"))


def test_an_encoding_other_than_utf_8_is_refused(tmp_path):
    text = "path,label,speaker\na.wav,happy,J\u00f6rg\n"
    fails("not encoded in UTF-8", write(tmp_path, text, encoding="latin-1"))


def test_line_numbers_after_a_cell_of_two_lines(tmp_path):
    text = 'path,label,speaker,text\na.wav,happy,1,"two\nlines"\nb.wav,,2,x\n'
    fails("line 4: The label is missing", write(tmp_path, text))


@settings(max_examples=50)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"])), min_size=2, max_size=6))
def test_any_text_in_a_cell_is_read_unchanged(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("any")
    table = write(folder, "")
    with table.open("w", newline="", encoding="utf-8") as file:
        rows = [(("a.wav", "b.wav")[i % 2], f"l{i}", "1", f"n{i}", t) for i, t in enumerate(texts)]
        csv.writer(file).writerows([("path", "label", "speaker", "name", "note"), *rows])
    clips = load(table).clips
    assert [c.attributes.get("note", "") for c in clips] == [t.strip() for t in texts]


# -- EmoBox, with published records ----------------------------------------------------


def emobox(root, name, parts, speakers=None, label_map=None):
    """Write EmoBox/data/NAME from `parts`, (fold, part) -> records (key, wav, emo)."""
    folder = root / "EmoBox/data" / name
    for (fold, part), records in parts.items():
        file = folder / f"fold_{fold}/{name}_{part}_fold_{fold}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w") as stream:
            for key, wav, emo in records:
                (root / "EmoBox" / wav).parent.mkdir(parents=True, exist_ok=True)
                (root / "EmoBox" / wav).touch()
                record = {"key": key, "dataset": name, "wav": wav, "type": "raw",
                          "sample_rate": 16000, "num_frame": 33978.0, "task": "category",
                          "length": 2.123625, "emo": emo, "channel": 1}  # fmt: skip
                stream.write(json.dumps(record) + "\n")
    if speakers is not None:
        lines = [
            f"{k} 1 {s} 0 2.0 <id={k},lang=en,spk={s},emotion=x> x\n" for k, s in speakers.items()
        ]
        (folder / "data.seg.wrd.stm").write_text("".join(lines))
    if label_map is not None:
        (folder / "label_map.json").write_text(json.dumps(label_map))
    return folder


RAVDESS = [(f"ravdess-03-01-0{e}-02-02-02-{a}",
            f"downloads/ravdess/audio/Actor_{a}/03-01-0{e}-02-02-02-{a}.wav", emo)
           for a in (11, 12, 13) for e, emo in ((3, "Happy"), (6, "Fearful"))]  # fmt: skip
RAVDESS_SPEAKERS = {key: key[-2:] for key, _, _ in RAVDESS}


def ravdess(root):
    parts = {}
    for fold in (1, 2, 3):
        test = RAVDESS[2 * fold - 2 : 2 * fold]
        parts[fold, "test"], parts[fold, "train"] = test, [r for r in RAVDESS if r not in test]
    return emobox(root, "ravdess", parts, RAVDESS_SPEAKERS, {"Happy": "Happy", "Fearful": "Fear"})


def test_emobox_folds(tmp_path):
    folder = ravdess(tmp_path)
    assert Table.detect(folder)
    data = load(folder, labels="shared")
    assert data.classes == ("happy", "fearful") and len(data.clips) == 6
    assert {(c.speaker, c.fold) for c in data.clips} == {
        ("ravdess-11", "1"), ("ravdess-12", "2"), ("ravdess-13", "3"),
    }  # fmt: skip
    assert {c.split for c in data.clips} == {None}


def test_emobox_one_fold_is_a_split(tmp_path):
    records = [(f"urdu-{s}_F1_{e}01", f"downloads/urdu/{s}_F1_{e}01.wav", e)
               for s, e in (("SM1", "N"), ("SM2", "H"), ("SF1", "H"))]  # fmt: skip
    parts = {(1, p): [r] for p, r in zip(("train", "valid", "test"), records, strict=True)}
    folder = emobox(tmp_path, "urdu", parts, {k: k[5:8] for k, _, _ in records},
                    {"N": "Neutral", "H": "Happy"})  # fmt: skip
    clips = load(folder, labels="shared").clips
    assert {(c.speaker, c.split, c.label) for c in clips} == {
        ("urdu-SM1", "train", "neutral"), ("urdu-SM2", "val", "happy"),
        ("urdu-SF1", "test", "happy"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "key", "wav", "listed", "speaker"),
    [
        ("cremad", "cremad-1008-ITS-DIS-XX", "cremad/AudioWAV/1008_ITS_DIS_XX.wav", "1008", "1008"),
        ("esd", "esd-0018-001749", "esd/0018/Surprise/0018_001749.wav", "0018", "0018"),
        ("emovo", "emovo-rab-f2-d2", "emovo/f2/rab-f2-d2.wav", "f2", "f2"),
        ("emodb", "emodb-03a02Wb", "emodb/wav/03a02Wb.wav", "03", "03"),
        # The published list has the leading speaker of the dialogue, not the speaker of the clip,
        ("iemocap", "iemocap-Ses01F_impro04_M000", "iemocap/Ses01F_impro04_M000.wav", "Ses01F",
         "Ses01M"),
        ("iemocap", "iemocap-Ses01M_script01_1_F004", "iemocap/Ses01M_script01_1_F004.wav",
         "Ses01M", "Ses01F"),
        # and OA for OAF if the file name lacks the letter.
        ("tess", "tess-OA-bite-neutral", "tess/OA_bite_neutral.wav", "OA", "OA"),
        ("tess", "tess-OAF-tip-happy", "tess/OAF_tip_happy.wav", "OAF", "OA"),
        ("m3ed", "m3ed-A_an_1_1", "m3ed/A_an_1_1.wav", "an_Fang, Mr. S", "an_Fang, Mr. S"),
    ],
)  # fmt: skip
def test_emobox_speakers(tmp_path, name, key, wav, listed, speaker):
    other = (f"{name}-Ses05M_impro01_F021-YAF-x", f"downloads/{name}/other.wav", "sad")
    parts = {(1, "train"): [(key, f"downloads/{wav}", "happy")], (1, "test"): [other]}
    folder = emobox(tmp_path, name, parts, {key: listed, other[0]: "other"})
    if name == "iemocap":
        other_key = "iemocap-Ses05M_impro01_F021"
        parts[1, "test"] = [(other_key, *other[1:])]
        folder = emobox(tmp_path, name, parts, {key: listed, other_key: "Ses05M"})
    result = {c.name: c.speaker for c in load(folder).clips}
    assert result[key] == f"{name}-{speaker}"


def test_emobox_clips_without_speakers_are_refused(tmp_path):
    """MER2023 lists each clip as a separate speaker, which is not a speaker label."""
    records = [(f"mer2023-s{i}.mp4", f"downloads/mer2023/s{i}.mp4", e)
               for i, e in enumerate(("happy", "sad"))]  # fmt: skip
    parts = {(1, "train"): records[:1], (1, "test"): records[1:]}
    folder = emobox(tmp_path, "mer2023", parts, {k: k[8:] for k, _, _ in records})
    fails("The speaker is missing", folder)
    assert {c.speaker for c in load(folder, speaker=r"s(\d)\.mp4").clips} == {"0", "1"}


def test_emobox_labels_are_merged_as_published(tmp_path):
    records = [(f"iemocap-Ses0{i}F_impro01_F000", f"downloads/iemocap/{i}.wav", e)
               for i, e in enumerate(("hap", "exc", "neu"), 1)]  # fmt: skip
    parts = {(i, "test"): [r] for i, r in enumerate(records, 1)}
    folder = emobox(tmp_path, "iemocap", parts, {},
                    {"hap": "Happy", "exc": "Happy", "neu": "Neutral"})  # fmt: skip
    assert [c.label for c in load(folder).clips] == ["Happy", "Happy", "Neutral"]


def test_emobox_pooled_speakers_stay_apart(tmp_path):
    emodb = [(f"emodb-{s}a02{c}b", f"downloads/emodb/wav/{s}a02{c}b.wav", emo)
             for s in (11, 12) for c, emo in (("W", "anger"), ("F", "happy"))]  # fmt: skip
    other = emobox(tmp_path, "emodb", {(1, "test"): emodb[:2], (2, "test"): emodb[2:]},
                   {k: k[6:8] for k, _, _ in emodb})  # fmt: skip
    assert len(load(ravdess(tmp_path), other, labels="shared").speakers()) == 5


def test_inconsistent_emobox_manifests_are_refused(tmp_path):
    folder = ravdess(tmp_path)
    (folder / "fold_2/ravdess_test_fold_2.jsonl").write_text(
        (folder / "fold_1/ravdess_test_fold_1.jsonl").read_text()
    )
    fails("is in fold 1 and in fold 2", folder)
    empty = tmp_path / "nothing"
    empty.mkdir()
    fails("contains no EmoBox fold", f"table={empty}")


class TestTable(CorpusSuite):
    plugin = Table

    def make(self, folder):
        touch(folder, "clips/a.wav", "clips/b.wav")
        rows = "path,label,speaker,start,end\nclips/a.wav,joy,anna,,\n"
        rows += "clips/b.wav,sad,ben,0.5,1.5\nclips/b.wav,anger,ben,1.5,2\n"
        (folder / "clips.csv").write_text(rows)
        return folder / "clips.csv"
