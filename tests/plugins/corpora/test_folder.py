"""Folders by class and speaker: the meaning of each level, copies, and the conformance suite."""

from typing import ClassVar

import pytest
from touched import touch

from fusion.core.contracts.errors import CorpusError, ParameterError
from fusion.core.data.corpora import load_dataset
from fusion.core.data.sources import parse_source
from fusion.plugins.corpora.folder import Folder
from fusion.testing import CorpusSuite


class TestFolder(CorpusSuite):
    plugin = Folder

    def make(self, folder):
        touch(folder, "happy/anna/1.wav", "sad/anna/2.wav", "sad/ben/1.wav")


class TestFolderWithPattern(CorpusSuite):
    plugin = Folder
    parameters: ClassVar = {"speaker": r"spk(\d+)"}

    def make(self, folder):
        touch(folder, "happy/spk1_1.wav", "sad/spk1_1.wav", "sad/spk2_1.wav")


class TestFolderBySpeaker(CorpusSuite):
    plugin = Folder

    def make(self, folder):
        touch(folder, "anna/Happy/1.wav", "anna/Sad/2.wav", "ben/Sad/1.wav")


def clips(folder, *names, **parameters):
    """Return label, speaker and split of each file."""
    touch(folder, *names)
    return {c.name: (c.label, c.speaker, c.split) for c in Folder(folder, **parameters).clips()}


@pytest.mark.parametrize(
    "names",
    [("0011/Angry/0011_000351.wav", "0012/Happy/0012_000701.wav"),
     ("0011/Angry/train/0011_000351.wav", "0012/Happy/test/0012_000701.wav")],
)  # fmt: skip
def test_the_level_whose_names_are_emotions_is_the_class(tmp_path, names):
    assert clips(tmp_path, *names) == {
        names[0]: ("Angry", "0011", None), names[1]: ("Happy", "0012", None),
    }  # fmt: skip


@pytest.mark.parametrize("names", [("happy/anna/1.wav", "sad/ben/1.wav"),
                                   ("good/anna/1.wav", "bad/ben/1.wav"),
                                   ("calm/joy/1.wav", "surprise/ben/1.wav")])  # fmt: skip
def test_otherwise_the_first_level_is_the_class(tmp_path, names):
    result = clips(tmp_path, *names)
    assert [value[:2] for value in result.values()] == [
        tuple(name.split("/")[:2]) for name in sorted(names)
    ]


def test_other_emotions_than_the_shared_ones_count(tmp_path):
    result = clips(tmp_path, "anna/calm/1.wav", "anna/surprise/1.wav", "ben/boredom/1.wav")
    assert {label for label, _, _ in result.values()} == {"calm", "surprise", "boredom"}


@pytest.mark.parametrize("inner", ["happy/anna", "anna/happy"])
def test_a_first_level_of_parts_is_the_split(tmp_path, inner):
    other = "sad/ben" if inner.startswith("happy") else "ben/sad"
    result = clips(tmp_path, f"Train/{inner}/1.wav", f"dev/{other}/1.wav", f"test/{other}/2.wav")
    assert result == {
        f"Train/{inner}/1.wav": ("happy", "anna", "train"),
        f"dev/{other}/1.wav": ("sad", "ben", "val"),
        f"test/{other}/2.wav": ("sad", "ben", "test"),
    }


def test_parts_beside_other_folders_are_no_split(tmp_path):
    result = clips(tmp_path, "train/anna/1.wav", "test/ben/1.wav", "more/ben/1.wav")
    assert set(result.values()) == {
        ("train", "anna", None), ("test", "ben", None), ("more", "ben", None),
    }  # fmt: skip


def test_a_folder_around_all_files_is_neither_class_nor_speaker(tmp_path):
    result = clips(tmp_path, "data/happy/anna/1.wav", "data/sad/ben/1.wav")
    assert set(result.values()) == {("happy", "anna", None), ("sad", "ben", None)}


def test_two_levels_of_emotions_are_refused_until_one_is_chosen(tmp_path):
    names = ("happy/sad/1.wav", "sad/happy/1.wav")
    with pytest.raises(
        CorpusError, match=r"level 1 \(happy, sad\) and level 2 \(happy, sad\)"
    ) as e:
        clips(tmp_path, *names)
    assert e.value.hint.endswith("--set folder.label_level=1 or --set folder.label_level=2")
    assert clips(tmp_path, label_level=2)["happy/sad/1.wav"] == ("sad", "happy", None)
    assert clips(tmp_path, speaker_level=2)["happy/sad/1.wav"] == ("happy", "sad", None)


def test_two_levels_of_speakers_are_refused_until_one_is_chosen(tmp_path):
    names = ("male/happy/ben/1.wav", "female/sad/anna/1.wav")
    with pytest.raises(CorpusError, match=r"speaker: level 1 \(female, male\) and level 3") as e:
        clips(tmp_path, *names)
    assert e.value.hint.endswith("--set folder.speaker_level=1 or --set folder.speaker_level=3")
    assert clips(tmp_path, speaker_level=3)["male/happy/ben/1.wav"] == ("happy", "ben", None)
    assert clips(tmp_path, speaker=r"(\w+)/1")["male/happy/ben/1.wav"] == ("happy", "ben", None)


@pytest.mark.parametrize("wrong", [{"label_level": -1}, {"speaker_level": -2},
                                   {"label_level": 2, "speaker_level": 2}])  # fmt: skip
def test_impossible_levels_are_refused(wrong):
    with pytest.raises(ParameterError, match=r"folder\.(label|speaker)_level"):
        Folder(None, **wrong)


def test_a_level_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(CorpusError, match=r"label_level=3, but the folders in .* have 2 levels"):
        clips(tmp_path, "happy/anna/1.wav", label_level=3)


def test_every_file_is_a_clip_or_counted_with_its_reason(tmp_path):
    touch(tmp_path, "0011/Angry/1.wav", "0012/Sad/1.wav", "0012/Sad/1.mp3", "0012/2.wav")
    touch(tmp_path, "0011/0011.txt", "0011/Angry/1 (1).wav", "0011/Angry/2 (1).wav")
    (tmp_path / "0011/Angry/3.wav").write_bytes(b"one")
    (tmp_path / "0011/Angry/3 (1).wav").write_bytes(b"two")
    corpus = Folder(tmp_path)
    assert [clip.name for clip in corpus.clips()] == [
        "0011/Angry/1.wav", "0011/Angry/2 (1).wav", "0011/Angry/3 (1).wav", "0011/Angry/3.wav",
        "0012/Sad/1.wav",
    ]  # fmt: skip
    assert corpus.passed_over == {
        "not a recording (.txt)": ["0011/0011.txt"],
        "copy of a recording that is read": ["0011/Angry/1 (1).wav"],
        "another format of the same recording": ["0012/Sad/1.mp3"],
        "not in the folder of a class": ["0012/2.wav"],
    }


def test_chinese_folders_are_classes_and_speakers(tmp_path):
    touch(tmp_path, "感01/生气/1.wav", "感02/快乐/1.wav")
    source = parse_source(str(tmp_path), {"folder": Folder})
    data = load_dataset([source], {"folder": Folder})
    assert {(c.label, c.speaker) for c in data.clips} == {("angry", "感01"), ("happy", "感02")}
