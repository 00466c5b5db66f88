"""Corpora in SpeechBrain's JSON files: identifiers, placeholders, splits, spans in samples."""

import json
from functools import partial

import numpy as np
import pytest
import soundfile
from made_recordings import encode, voice
from read_corpora import read_corpus
from touched import touch

from fusion.core.contracts.data import ColumnChoice
from fusion.core.contracts.errors import CorpusError, UnknownNameError
from fusion.plugins.corpora.speechbrain import SpeechBrain
from fusion.testing import CorpusSuite

read = partial(read_corpus, SpeechBrain)

# As the recipe recipes/IEMOCAP/emotion_recognition of SpeechBrain writes its files.
IEMOCAP = {
    "Ses01F_impro01_F000": {"wav": "{data_root}/s1/a.wav", "length": 1.9, "emo": "neu"},
    "Ses02M_impro01_M000": {"wav": "{data_root}/s2/b.wav", "length": 2.4, "emo": "ang"},
}
ENTRIES = {
    "one": {"wav": "a.wav", "emo": "happy", "spk_id": "anna", "age": 30},
    "two": {"wav": "b.wav", "emo": "sad", "spk_id": "ben", "age": None},
}


def write(folder, entries, name="clips.json", encoding="utf-8"):
    touch(folder, "a.wav", "b.wav", name)
    (folder / name).write_text(json.dumps(entries), encoding=encoding)
    return folder / name


class TestSpeechBrain(CorpusSuite):
    plugin = SpeechBrain

    def make(self, folder):
        return write(folder, ENTRIES)


class TestFolderOfSplits(CorpusSuite):
    plugin = SpeechBrain

    def make(self, folder):
        for name, entry in zip(("train.json", "valid.json"), ENTRIES.items(), strict=True):
            write(folder, dict([entry]), name)


def test_identifiers_are_names_and_other_fields_attributes(tmp_path):
    corpus, (one, two) = read(write(tmp_path, ENTRIES, encoding="utf-8-sig"))
    assert (one.name, one.label, one.speaker) == ("one", "happy", "anna")
    assert one.recording.path == tmp_path / "a.wav"
    assert (one.attributes, two.attributes) == ({"age": "30"}, {})
    assert corpus.columns_used == {"path": "wav", "label": "emo", "speaker": "spk_id"}


def test_placeholders_are_replaced_by_the_root_and_the_pattern_finds_the_speaker(tmp_path):
    file = write(tmp_path / "lists", IEMOCAP)
    touch(tmp_path / "audio", "s1/a.wav", "s2/b.wav")
    _, clips = read(file, root=str(tmp_path / "audio"), speaker=r"(Ses\d\d.)")
    assert [c.speaker for c in clips] == ["Ses01F", "Ses02M"]
    assert [c.recording.path.relative_to(tmp_path).as_posix() for c in clips] == [
        "audio/s1/a.wav",
        "audio/s2/b.wav",
    ]


def test_the_files_of_a_folder_are_the_splits(tmp_path):
    for name in ("train", "valid", "test"):
        write(tmp_path, ENTRIES, f"{name}.json")
    write(tmp_path, {"hyperparameters": {}}, "settings.json")
    _, clips = read(tmp_path)
    assert [(c.name, c.split) for c in clips if c.label == "sad"] == [
        ("test/two", "test"),
        ("train/two", "train"),
        ("valid/two", "val"),
    ]


def test_paths_of_another_machine_are_found_by_their_last_components(tmp_path):
    entries = {
        "1": {"wav": "/home/x/corpus/DC/a01.wav", "emo": "sad", "speaker": "DC"},
        "2": {"wav": r"C:\corpus\JE\a01.wav", "emo": "sad", "speaker": "JE"},
    }
    file = write(tmp_path, entries)
    touch(tmp_path / "root", "DC/a01.wav", "JE/a01.wav")
    _, clips = read(file, root=str(tmp_path / "root"))
    assert [c.recording.path.parent.name for c in clips] == ["DC", "JE"]
    entries["3"] = {"wav": "a01.wav", "emo": "sad", "speaker": "XX"}
    corpus, clips = read(write(tmp_path, entries), root=str(tmp_path / "root"))
    assert len(clips) == 2 and corpus.passed_over == {"the file does not exist": ["3"]}
    with pytest.raises(CorpusError, match=r"entry '3'.*DC/a01.wav or .*JE/a01.wav"):
        read(write(tmp_path, {"3": entries["3"]}), root=str(tmp_path / "root"))


def test_whole_numbers_in_start_and_stop_are_samples(tmp_path):
    file = write(
        tmp_path,
        {
            "s": {"wav": {"file": "a.wav", "start": 800, "stop": 2400}, "emo": "sad", "spk": "1"},
            "t": {"wav": "a.wav", "start": 0, "stop": 800, "emo": "sad", "spk": "1"},
            "u": {"wav": "a.wav", "start": 0.25, "duration": 0.5, "emo": "sad", "spk": "1"},
        },
    )
    soundfile.write(tmp_path / "a.wav", np.zeros(8000), 8000)
    _, clips = read(file)
    assert [(c.name, c.recording.start, c.recording.end) for c in clips] == [
        ("s@0.1-0.3", 0.1, 0.3),
        ("t@0-0.1", 0.0, 0.1),
        ("u@0.25-0.75", 0.25, 0.75),
    ]


def test_an_unreadable_file_whose_span_is_in_samples_is_passed_over(tmp_path):
    span = {"start": 0, "stop": 800, "emo": "sad", "spk": "1"}
    file = write(tmp_path, {"s": {"wav": "a.wav", **span}, "t": {"wav": "b.wav", **span}})
    soundfile.write(tmp_path / "a.wav", np.zeros(8000), 8000)
    (tmp_path / "b.wav").write_text("no sound")
    corpus, (clip,) = read(file)
    assert (clip.recording.end, corpus.passed_over) == (0.1, {"the file can't be read": ["t"]})
    huge = {"s": {"wav": "a.wav", **span, "stop": 10**400}}
    with pytest.raises(CorpusError, match="entry 's': start or stop is too large"):
        read(write(tmp_path, huge))


def test_a_span_in_samples_is_read_in_every_format(tmp_path):
    pytest.importorskip("av")
    encode(tmp_path / "a.m4a", voice(1.0, 8000), 8000)
    span = {"start": 800, "stop": 2400, "emo": "sad", "spk": "1"}
    _, (clip,) = read(write(tmp_path, {"s": {"wav": "a.m4a", **span}}))
    assert (clip.recording.start, clip.recording.end) == (0.1, 0.3)


def test_the_choice_of_columns_is_honoured(tmp_path):
    entries = {k: {**v, "mood": v["emo"].upper(), "who": k} for k, v in ENTRIES.items()}
    choice = ColumnChoice({"label": "mood", "speaker": "who"}, ("age",))
    corpus, (one, _) = read(write(tmp_path, entries), choice)
    assert (one.label, one.speaker, one.attributes) == (
        "HAPPY",
        "one",
        {"emo": "happy", "spk_id": "anna"},
    )
    assert corpus.columns_used == {"path": "wav", "label": "mood", "speaker": "who"}
    renamed = {k: {"sound": v["wav"], **v} for k, v in ENTRIES.items()}
    corpus, (one, _) = read(write(tmp_path, renamed, "s.json"), ColumnChoice({"path": "sound"}))
    assert (corpus.columns_used["path"], one.attributes["wav"]) == ("sound", "a.wav")
    with pytest.raises(UnknownNameError, match="column 'moods'.*Did you mean 'mood'"):
        read(tmp_path / "clips.json", ColumnChoice({"label": "moods"}))


def test_missing_files_and_labels_are_passed_over_with_the_reason(tmp_path):
    entries = {
        **ENTRIES,
        "three": {"wav": "c.wav", "emo": "sad", "spk_id": "x"},
        "four": {"wav": "a.wav", "emo": "", "spk_id": "x"},
        "five": {"emo": "sad", "spk_id": "x"},
    }
    corpus, clips = read(write(tmp_path, entries))
    assert len(clips) == 2
    assert corpus.passed_over == {
        "the file does not exist": ["three"],
        "no label": ["four"],
        "no recording": ["five"],
    }


@pytest.mark.parametrize(
    ("entries", "message", "hint"),
    [
        ({"a": {"wav": "x.wav", "emo": "sad", "spk": "1"}}, "does not exist: 1, for example a",
         "speechbrain.root=FOLDER"),
        ({"a": {"wav": "a.wav", "spk": "1"}}, "label. Columns: wav, spk", "--column label="),
        ({"a": {"noise": "a.wav", "spk": "1"}}, "Fields: noise, spk", "--column path="),
        ({"a": {"wav": "a.wav", "emo": "sad", "spk": "1", "split": "x"}}, "split 'x'", "split="),
        ({"a": {"wav": "a.wav", "emo": "sad", "spk": "1", "end": "x"}}, "'x' is not", "clock"),
        ({"a": {"wav": "a.wav", "emo": "sad", "spk": "1", "end": 0}}, "before it starts: 1", ""),
        ({"a": 1}, "not a JSON object of", "Expected"),
        ([], "not a JSON object of", "Expected"),
    ],
)  # fmt: skip
def test_errors_name_what_is_missing_and_what_to_do(tmp_path, entries, message, hint):
    with pytest.raises(CorpusError, match=message) as caught:
        read(write(tmp_path, entries))
    assert hint in (caught.value.hint or "")


def test_entries_without_speaker_are_passed_over_if_others_have_one(tmp_path):
    entries = {**ENTRIES, "three": {"wav": "a.wav", "emo": "sad"}}
    corpus, clips = read(write(tmp_path, entries))
    assert (len(clips), corpus.passed_over) == (2, {"no speaker": ["three"]})


def test_chosen_attributes_and_transcripts_have_the_names_of_their_roles(tmp_path):
    entries = {k: {**v, "words": "Hello.", "dog": "kids"} for k, v in ENTRIES.items()}
    _, clips = read(write(tmp_path, entries), ColumnChoice({"sentence": "dog"}))
    assert clips[1].attributes == {"transcript": "Hello.", "sentence": "kids"}


def test_a_split_of_numbers_is_an_attribute_unless_it_is_chosen(tmp_path):
    entries = {k: {**v, "set": n} for n, (k, v) in enumerate(ENTRIES.items())}
    corpus, clips = read(write(tmp_path, entries))
    assert [(c.split, c.attributes["set"]) for c in clips] == [(None, "0"), (None, "1")]
    assert corpus.columns_used["not a split"] == "set"
    with pytest.raises(CorpusError, match="split '0' is unknown"):
        read(tmp_path / "clips.json", ColumnChoice({"split": "set"}))
    parts = {k: {**v, "set": p} for (k, v), p in zip(ENTRIES.items(), ("Dev", "TEST"), strict=True)}
    _, clips = read(write(tmp_path, parts))
    assert [c.split for c in clips] == ["val", "test"]


def test_damaged_files_are_refused(tmp_path):
    file = write(tmp_path, {})
    for text, message in (
        ('{"a": {"wav": "a.wav"}, "a": {"wav": "b.wav"}}', "'a' occurs twice"),
        ("{", "not valid JSON"),
        ('{"a":' * 100_000, "not valid JSON"),
    ):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(CorpusError, match=message):
            read(file)
    with pytest.raises(CorpusError, match="no JSON file of a part"):
        read(tmp_path)


def test_other_json_files_are_not_recognised(tmp_path):
    touch(tmp_path, "x/train.json")
    texts = ('{"wav": "a.wav"}', '{"a": {"emo": "sad"}}', "[]", "", '{"a": [{"wav": 1}]}')
    for text in texts:
        (tmp_path / "x/train.json").write_text(text, encoding="utf-8")
        assert not SpeechBrain.detect(tmp_path / "x/train.json"), text
        assert not SpeechBrain.detect(tmp_path / "x"), text
    assert not SpeechBrain.detect(tmp_path / "missing.json")
