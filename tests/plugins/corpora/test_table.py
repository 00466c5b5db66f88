"""Tables and EmoBox manifests. No test here opens a recording."""

import csv
import json

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from touched import touch

from fusion.core.contracts.data import ColumnChoice
from fusion.core.contracts.errors import CorpusError, SplitError
from fusion.core.data.corpora import load_dataset
from fusion.core.data.sources import parse_source
from fusion.core.data.speakers import is_unknown
from fusion.core.data.splits import make_splits
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


def test_clips_of_a_long_file_have_names_of_their_own(tmp_path):
    text = "path,label,speaker,start,end\na.wav,sad,1,3600.001,3600.002\n"
    data = load(write(tmp_path, text + "a.wav,happy,1,3600.003,3600.004\n"))
    assert [c.name for c in data.clips] == ["a.wav@3600.001-3600.002", "a.wav@3600.003-3600.004"]


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
    table.write_text("path,label,speaker\nx/deep/a.wav,happy,1\nb.wav,sad,2\n")
    result = [c.recording.path for c in load(table, root=str(tmp_path / "audio")).clips]
    assert sorted(p.name for p in result) == ["a.flac", "b.wav"]


HEAD = "path,label,speaker,start,split\na.wav,happy,1,,\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + "b.wav,sad,2,soon,\n", "line 3: Column start holds 'soon', which is not a time"),
        (HEAD + "b.wav,sad,2,nan,\n", "line 3: Column start holds 'nan', which is not a time"),
        (HEAD + "b.wav,sad,2,,tset\n", "line 3: The split 'tset' is unknown(.|\n)*ignore-column"),
        (HEAD + "b.wav,sad,2\n", "line 3: 3 cells, but the first line names 5"),
        (HEAD + "a.wav,sad,2,,\n", "line 3: The clip 'a.wav' is also in line 2, with the label"),
        (HEAD + "a.wav,happy,2,,\n", "line 3: .* also in line 2, with the speaker '1' instead"),
        (HEAD + 'b.wav,"sad,2,,\n', "line 3: "),
        ("path,emotional,speaker\na.wav,happy,1\n", "line 1: There is no column label. Columns: "),
        ("File,Emotional\na.wav,happy\n", "no column label. Columns: File, Emotional\\."),
        ("clip_id,label,speaker\na,happy,1\n", r"no column path(.|\n)*--column path=NAME"),
        ("path,label,speaker\na.wav,,1\nb.wav,,2\n", "all 2 rows have no label"),
        ("path,label,Path,speaker\na.wav,happy,b.wav,1\n", "line 1: Two columns are called 'path'"),
        ("path,label,speaker\n", "holds no rows"),
        ("", "holds no rows"),
    ],
)
def test_a_bad_row_names_file_and_line(tmp_path, text, message):
    fails(message, write(tmp_path, text))


def test_incomplete_and_repeated_rows_are_passed_over_and_counted(tmp_path):
    text = (
        "path,label,speaker,start,end\na.wav,happy,1,,\nb.wav,sad,2,,\nb.wav,,2,1,2\n"
        ",sad,2,,\nsub/c.flac,sad,,,\na.wav,happy,1,,\nb.wav,sad,2,3,3\n"
    )
    data = load(write(tmp_path, text))
    assert [clip.name for clip in data.clips] == ["a.wav", "b.wav"]
    lines = {
        reason: [item.rpartition("line ")[2] for item in items]
        for reason, items in data.passed_over["table"].items()
    }
    assert lines == {
        "no label": ["4"], "no path": ["5"], "no speaker": ["6"],
        "repeats an earlier row": ["7"], "ends before it starts": ["8"],
    }  # fmt: skip


def test_without_speakers_only_splits_that_need_none_are_possible(tmp_path):
    names = [f"{i}.wav" for i in range(20)]
    touch(tmp_path, *names)
    rows = [f"{name},{'sad' if i % 2 else 'happy'}\n" for i, name in enumerate(names)]
    table = tmp_path / "t.csv"
    table.write_text("path,label\n" + "".join(rows))
    data = load(table)
    assert len(data.speakers()) == 20 and all(is_unknown(clip) for clip in data.clips)
    for mode in ("speaker", "corpus"):
        with pytest.raises(SplitError, match=r"20 of 20 clips are unknown") as caught:
            make_splits(data.clips, data.classes, mode=mode)
        assert "--column speaker=NAME" in caught.value.hint and "table.speaker" in caught.value.hint
    (split,) = make_splits(data.clips, data.classes, mode="random")
    assert not split.speaker_independent
    assert split.describe(data.clips)["test"] == {"clips": 4, "speakers": 0}
    with_split = [row.strip() + f",{('train', 'dev', 'test')[i % 3]}\n"
                  for i, row in enumerate(rows)]  # fmt: skip
    table.write_text("path,label,split\n" + "".join(with_split))
    data = load(table)
    (split,) = make_splits(data.clips, data.classes, mode="published")
    assert not split.speaker_independent


# -- tables as people have them --------------------------------------------------------

FIELD = {
    "pandas index": ",path,label,speaker\n0,a.wav,happy,1\n1,b.wav,sad,2\n",
    "unnamed index": "Unnamed: 0,path,label,speaker\n0,a.wav,happy,1\n1,b.wav,sad,2\n",
    "Excel": "sep=;\nFileName;EmoClass;SpkrID;;\na.wav;happy;1;;\nb.wav;sad;2;;\n",
    "NeMo .json": '{"audio_filepath": "a.wav", "label": "happy", "speaker": "1"}\n'
                  '{"audio_filepath": "b.wav", "label": "sad", "speaker": "2"}\n',
    "NeMo": '{"audio_filepath": "a.wav", "Emotions": "happy", "speaker_id": 1}\n'
            '{"audio_filepath": "b.wav", "Emotions": "sad", "speaker_id": 2}\n',
    "MELD": 'file,Utterance,speaker,emotion\na.wav,"Hi, ""you""\nthere",1,happy\nb.wav,Oh.,2,sad\n',
    "Windows": "path,label,speaker\nC:\\data\\a.wav,happy,1\nC:\\data\\b.wav,sad,2\n",
    "another machine": "path,label,speaker\n/home/x/a.wav,happy,1\n/home/x/b.wav,sad,2\n",
}  # fmt: skip


@pytest.mark.parametrize("kind", FIELD)
def test_tables_from_the_field(tmp_path, kind):
    name = {"NeMo": "t.jsonl", "NeMo .json": "t.json"}.get(kind, "t.csv")
    data = load(write(tmp_path, FIELD[kind], name))
    assert [(c.recording.path.name, c.label, c.speaker) for c in data.clips] == [
        ("a.wav", "happy", "1"), ("b.wav", "sad", "2"),
    ]  # fmt: skip
    assert all(c.recording.path.is_file() for c in data.clips)
    assert not {"", "unnamed: 0"} & set(data.clips[0].attributes)
    if kind == "MELD":
        assert data.clips[0].attributes["transcript"] == 'Hi, "you"\nthere'
        assert data.clips[0].name == "a.wav"
    if kind == "Excel":
        assert data.columns["table"] == {"path": "FileName", "label": "EmoClass",
                                         "speaker": "SpkrID"}  # fmt: skip


@pytest.mark.parametrize(
    ("start", "end"),
    [("3.795", "5.004"), ("00:00:03.795", "00:00:05.004"), ("00:00:03,795", "00:00:05,004"),
     ("0 days 00:00:03.795", "0 days 00:00:05.004000")],
)  # fmt: skip
def test_times_in_every_usual_form(tmp_path, start, end):
    text = f"path\tlabel\tspeaker\tStart_Time\tEnd_Time\na.wav\tsad\t1\t{start}\t{end}\n"
    clip = load(write(tmp_path, text + "b.wav\thappy\t2\t\tNaT\n", "t.tsv")).clips[0]
    assert (clip.recording.start, clip.recording.end) == (3.795, 5.004)


def test_a_duration_is_an_end_if_there_is_a_start(tmp_path):
    text = "path,label,speaker,offset,duration\na.wav,sad,1,1.5,2\nb.wav,happy,2,,2\n"
    one, two = load(write(tmp_path, text)).clips
    assert (one.recording.start, one.recording.end) == (1.5, 3.5)
    assert (two.recording.start, two.recording.end) == (0.0, None)
    assert two.attributes == {"duration": "2"}


def test_times_in_an_episode_are_not_times_in_the_clip_s_own_file(tmp_path):
    text = "file,emotion,Speaker,StartTime,EndTime\n"
    for number, label in enumerate(("joy", "anger", "joy", "anger")):
        soundfile.write(tmp_path / f"{number}.wav", np.zeros(1600), 1600)
        text += f'{number}.wav,{label},{number},"00:16:{number:02},059","00:16:{number + 1:02},5"\n'
    (tmp_path / "meld.csv").write_text(text)
    data = load(tmp_path / "meld.csv")
    assert {(c.recording.start, c.recording.end) for c in data.clips} == {(0.0, None)}
    assert [c.name for c in data.clips] == ["0.wav", "1.wav", "2.wav", "3.wav"]
    assert data.clips[0].attributes["start elsewhere"] == "00:16:00,059"
    assert data.columns["table"]["start, not in the file"] == "StartTime"
    # A file that is long enough: these are times within the files.
    soundfile.write(tmp_path / "0.wav", np.zeros(1600 * 1000), 1600)
    assert {c.recording.start > 0 for c in load(tmp_path / "meld.csv").clips} == {True}


def test_times_in_milliseconds_are_refused_with_advice(tmp_path):
    for number in range(2):
        soundfile.write(tmp_path / f"{number}.wav", np.zeros(16000), 16000)
    text = "path,label,speaker,start,end\n0.wav,sad,1,50,350\n1.wav,happy,2,20,400\n"
    (tmp_path / "t.csv").write_text(text)
    fails(r"within the files as milliseconds(.|\n)*350 ms", tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text(text.replace("50,350", "50 ms,350 ms"))
    assert load(tmp_path / "t.csv").clips[0].recording.start == 0.05


def test_a_bare_name_of_several_files_is_an_error_that_names_them(tmp_path):
    touch(tmp_path, "DC/a01.wav", "JE/a01.wav")
    (tmp_path / "t.csv").write_text("path,label,speaker\na01.wav,sad,DC\na01.wav,sad,JE\n")
    fails("line 3: 'a01.wav' could be .*DC/a01.wav or .*JE/a01.wav", tmp_path / "t.csv")


def test_names_that_repeat_are_attributes(tmp_path):
    text = "path,label,speaker,id\na.wav,sad,1,7\nb.wav,happy,2,7\n"
    clips = load(write(tmp_path, text)).clips
    assert [(c.name, c.attributes) for c in clips] == [("a.wav", {"id": "7"}),
                                                      ("b.wav", {"id": "7"})]  # fmt: skip


def test_columns_and_labels_are_chosen_by_the_user(tmp_path):
    text = "path,label,mood,who,fold\na.wav,0,joy,1,x\nb.wav,0,sad,2,y\n"
    source = [parse_source(str(write(tmp_path, text)), CORPORA)]
    choice = ColumnChoice({"label": "mood", "speaker": "Who"}, ("fold",))
    data = load_dataset(source, CORPORA, columns=choice, label_map={"joy": "happy"})
    assert [(c.label, c.speaker, c.fold) for c in data.clips] == [
        ("happy", "1", None), ("sad", "2", None),
    ]  # fmt: skip
    assert data.columns["table"] == {"path": "path", "label": "mood", "speaker": "who"}
    with pytest.raises(CorpusError, match="no column 'moood'. Columns: path, label, mood"):
        load_dataset(source, CORPORA, columns=ColumnChoice({"label": "moood"}))


def test_a_split_of_numbers_is_an_attribute(tmp_path):
    text = "path,label,speaker,split\na.wav,sad,1,0\nb.wav,happy,2,2\n"
    data = load(write(tmp_path, text))
    assert [c.attributes for c in data.clips] == [{"split number": "0"}, {"split number": "2"}]
    assert {c.split for c in data.clips} == {None}
    assert data.columns["table"]["not a split"] == "split"


def test_a_file_of_the_same_name_in_another_folder_is_never_taken(tmp_path):
    root = tmp_path / "audio"
    touch(root, "DC/a01.wav", "JE/a01.wav", "DC/a02.wav", "KL/x/s01.wav")
    table = tmp_path / "t.csv"
    head = "path,label,speaker\n"
    rows = "SAVEE/DC/a01.wav,sad,DC\nSAVEE\\JE\\a01.wav,happy,JE\n"
    table.write_text(head + rows + "SAVEE/JE/a02.wav,sad,JE\nDC/a02.wav,sad,DC\n")
    found = {c.name: c.recording.path for c in load(table, root=str(root)).clips}
    assert found["SAVEE/DC/a01.wav"] == root / "DC/a01.wav"
    assert found["SAVEE\\JE\\a01.wav"] == root / "JE/a01.wav"
    assert not found["SAVEE/JE/a02.wav"].exists()  # DC/a02.wav is another speaker's
    table.write_text(head + "a01.wav,sad,DC\nDC/a02.wav,happy,DC\n")
    fails(r"line 2: 'a01.wav' could be .*DC/a01.wav or .*JE/a01.wav", table, root=str(root))


def test_parquet_and_excel(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({
        "file": ["a.wav", "b.wav"], "emotion": ["happy", "sad"], "speaker": [1, 2],
        "start": pandas.to_timedelta([1.5, 0.0], unit="s"), "loud": [0.5, None],
    })  # fmt: skip
    write(tmp_path, "")
    for suffix, module in ((".parquet", "pyarrow"), (".xlsx", "openpyxl")):
        pytest.importorskip(module)
        table = tmp_path / f"t{suffix}"
        if suffix == ".xlsx":
            frame.assign(start=[1.5, 0.0]).to_excel(table)  # with its index
        else:
            frame.to_parquet(table)
        one, two = load(table).clips
        assert (one.speaker, one.recording.start, one.attributes) == ("1", 1.5, {"loud": "0.5"})
        assert (two.speaker, two.recording.start, two.attributes) == ("2", 0.0, {})


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
    text = 'path,label,speaker,split,text\na.wav,happy,1,,"two\nlines"\nb.wav,sad,2,?,x\n'
    fails("line 4: The split", write(tmp_path, text))


@settings(max_examples=50)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"])), min_size=2, max_size=6))
def test_any_text_in_a_cell_is_read_unchanged(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("any")
    table = write(folder, "")
    with table.open("w", newline="", encoding="utf-8") as file:
        rows = [("a.wav", f"l{i}", "1", i, f"n{i}", t) for i, t in enumerate(texts)]
        header = ("path", "label", "speaker", "start", "name", "note")
        csv.writer(file).writerows([header, *rows])
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


def test_emobox_folds_that_share_speakers_are_followed_on_request(tmp_path):
    """Published folds of CREMA-D, MELD, EmoDB, AESDD and ASED: every fold has each speaker."""
    records = [(f"cremad-{s}-{t}-{e}", f"crema/{s}_{t}_{e}.wav", e)
               for s in (1001, 1002) for t in range(3) for e in ("HAP", "SAD")]  # fmt: skip
    parts = {}
    for fold in (1, 2, 3):
        test = [r for r in records if f"-{fold - 1}-" in r[0]]
        parts[fold, "test"], parts[fold, "train"] = test, [r for r in records if r not in test]
    folder = emobox(tmp_path, "cremad", parts, {key: key[7:11] for key, _, _ in records},
                    {"HAP": "Happy", "SAD": "Sad"})  # fmt: skip
    data = load(folder, labels="shared")
    with pytest.raises(SplitError, match="2 of 2 speakers are in more than one part") as caught:
        make_splits(data.clips, data.classes)
    assert "--split published" in caught.value.hint
    splits = make_splits(data.clips, data.classes, mode="published")
    tested = [{data.clips[i].name.split("-")[2] for i in split.test} for split in splits]
    assert tested == [{"0"}, {"1"}, {"2"}]
    assert not any(split.speaker_independent for split in splits)


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


def test_emobox_clips_without_speakers_have_unknown_speakers(tmp_path):
    """MER2023 lists each clip as a separate speaker, which is not a speaker label."""
    records = [(f"mer2023-s{i}.mp4", f"downloads/mer2023/s{i}.mp4", e)
               for i, e in enumerate(("happy", "sad"))]  # fmt: skip
    parts = {(1, "train"): records[:1], (1, "test"): records[1:]}
    folder = emobox(tmp_path, "mer2023", parts, {k: k[8:] for k, _, _ in records})
    assert all(is_unknown(clip) for clip in load(folder).clips)
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
