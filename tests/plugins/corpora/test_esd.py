"""ESD: emotions by folder or by number, languages, and the conformance suite."""

import pytest
from touched import touch

from fusion.core.data.corpora import load_dataset
from fusion.core.data.sources import parse_source
from fusion.plugins.corpora.esd import Esd
from fusion.testing import CorpusSuite

CORPORA = {"esd": Esd}


class TestEsd(CorpusSuite):
    plugin = Esd

    def make(self, folder):
        touch(folder, "0011/Angry/0011_000351.wav", "0011/Sad/0011_001051.wav", "0011/0011.txt")
        touch(folder, "0001/Neutral/0001_000001.wav", "0001/Surprise/0001_001401.wav")


def load(folder, **parameters):
    sources = [parse_source(str(folder), CORPORA)]
    return load_dataset(sources, CORPORA, labels="native", parameters={"esd": parameters})


def test_the_published_parts_become_an_attribute_and_not_a_split(tmp_path):
    touch(tmp_path, "0011/Angry/train/0011_000401.wav", "0011/Angry/test/0011_000371.wav")
    touch(tmp_path, "0012/Happy/evaluation/0012_000701.wav")
    clips = load(tmp_path).clips
    assert [clip.attributes.get("part") for clip in clips] == ["test", "train", "evaluation"]
    assert {clip.split for clip in clips} == {None}


@pytest.mark.parametrize(
    ("number", "emotion"),
    [(1, "neutral"), (350, "neutral"), (351, "angry"), (700, "angry"), (701, "happy"),
     (1050, "happy"), (1051, "sad"), (1400, "sad"), (1401, "surprise"), (1750, "surprise")],
)  # fmt: skip
def test_without_folders_of_emotions_the_number_is_the_emotion(tmp_path, number, emotion):
    touch(tmp_path, f"0020/0020_{number:06}.wav")
    (clip,) = Esd(tmp_path).clips()
    assert (clip.label, clip.speaker) == (emotion, "0020")


def test_one_sentence_in_five_emotions_has_one_name(tmp_path):
    names = [f"0015/0015_{number:06}.wav" for number in (3, 353, 703, 1053, 1403)]
    touch(tmp_path, *names, "0005/0005_000003.wav")
    clips = load(tmp_path).clips
    assert [clip.attributes["sentence"] for clip in clips] == ["mandarin-003"] + 5 * ["english-003"]


def test_the_language_can_be_chosen(tmp_path):
    touch(tmp_path, *(f"00{s}/Sad/00{s}_001051.wav" for s in ("01", "10", "11", "20")))
    touch(tmp_path, *(f"00{s}/Happy/00{s}_000701.wav" for s in ("01", "10", "11", "20")))
    data = load(tmp_path, language="english")
    assert data.speakers() == ("esd/0011", "esd/0020")
    assert len(data.passed_over["esd"]["not wanted: mandarin"]) == 4


def test_a_recording_in_two_layouts_is_read_once(tmp_path):
    touch(tmp_path, "a/0011/Angry/0011_000351.wav", "b/0011/Angry/train/0011_000351.wav")
    touch(tmp_path, "a/0011/Sad/0011_001051.wav", "0011/0011_009000.wav")
    data = load(tmp_path)
    assert [c.name for c in data.clips] == [
        "a/0011/Angry/0011_000351.wav", "a/0011/Sad/0011_001051.wav",
    ]  # fmt: skip
    assert data.passed_over["esd"] == {
        "not wanted: emotion unknown": ["0011/0011_009000.wav"],
        "second file of the same recording": ["b/0011/Angry/train/0011_000351.wav"],
    }


def test_numbers_without_a_folder_of_the_speaker_are_not_detected_as_esd(tmp_path):
    touch(tmp_path, "clips/0011_000351.wav", "clips/0012_000352.wav")
    assert not Esd.detect(tmp_path) and len(list(Esd(tmp_path).clips())) == 2
