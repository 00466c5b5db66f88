"""Corpora whose published file names contain all labels. No test here opens a recording."""

from collections import Counter

import pytest

from fusion.core.data.corpora import load_dataset
from fusion.core.data.sources import parse_source
from fusion.core.toolkit import filenames
from fusion.plugins.corpora import (
    aesdd,
    crema_d,
    emodb,
    emovo,
    esd,
    folder,
    iemocap,
    meld,
    msp_podcast,
    ravdess,
    savee,
    table,
    tess,
)

PLUGINS = (aesdd, crema_d, emodb, emovo, esd, folder, iemocap, meld, msp_podcast, ravdess, savee,
           table, tess)  # fmt: skip
CORPORA = {cls.name: cls for plugin in PLUGINS for cls in plugin.fusion_corpora()}

# Corpus -> file -> native label, speaker.
FILES = {
    "ravdess": {
        "Actor_12/03-01-06-01-02-01-12.wav": ("fearful", "12"),
        "Actor_01/03-01-02-02-01-02-01.WAV": ("calm", "01"),
        "Actor_02/03-01-08-01-01-01-02.flac": ("surprised", "02"),
        "03-01-01-01-01-01-03.wav": ("neutral", "03"),
    },
    "crema_d": {
        "AudioWAV/1001_DFA_ANG_XX.wav": ("angry", "1001"),
        "AudioWAV/1040_ITH_SAD_X.wav": ("sad", "1040"),
        "AudioWAV/1091_IEO_HAP_HI.wav": ("happy", "1091"),
        "AudioWAV/1091_IEO_FEA_LO.wav": ("fearful", "1091"),
        "AudioWAV/1091_IEO_DIS_MD.wav": ("disgust", "1091"),
        "AudioWAV/1002_WSI_NEU_XX.wav": ("neutral", "1002"),
    },
    "savee": {
        "AudioData/DC/a01.wav": ("angry", "DC"),
        "AudioData/JE/sa15.wav": ("sad", "JE"),
        "AudioData/JK/su03.wav": ("surprised", "JK"),
        "AudioData/KL/n30.wav": ("neutral", "KL"),
        "ALL/DC_d02.wav": ("disgust", "DC"),
        "ALL/KL_f07.wav": ("fearful", "KL"),
        "ALL/KL_h07.wav": ("happy", "KL"),
    },
    "tess": {
        "OAF_angry/OAF_back_angry.wav": ("angry", "OAF"),
        "OAF_neutral/OA_bite_neutral.wav": ("neutral", "OAF"),
        "YAF_pleasant_surprised/YAF_back_ps.wav": ("surprised", "YAF"),
        "YAF_fear/YAF_back_fear.wav": ("fearful", "YAF"),
    },
    "emodb": {
        "wav/03a01Fa.wav": ("happy", "03"),
        "wav/16b10Wb.wav": ("angry", "16"),
        "wav/08a02La.wav": ("bored", "08"),
        "wav/08a02Ta.wav": ("sad", "08"),
        "wav/09a02Ea.wav": ("disgust", "09"),
        "wav/09a02Ab.wav": ("fearful", "09"),
        "wav/10a02Nc.wav": ("neutral", "10"),
    },
    "emovo": {
        "f1/dis-f1-b1.wav": ("disgust", "F1"),
        "f2/gio-f2-d2.wav": ("happy", "F2"),
        "f3/pau-f3-l4.wav": ("fearful", "F3"),
        "m1/rab-m1-n5.wav": ("angry", "M1"),
        "m2/sor-m2-b3.wav": ("surprised", "M2"),
        "m3/tri-m3-l1.wav": ("sad", "M3"),
        "m3/neu-m3-l2.wav": ("neutral", "M3"),
    },
    "aesdd": {
        "anger/a03 (4).wav": ("angry", "4"),
        "disgust/d05 (5)b.wav": ("disgust", "5"),
        "fear/f18 (5).wav": ("fearful", "5"),
        "happiness/h20 (6).wav": ("happy", "6"),
        "sadness/s01 (1).wav": ("sad", "1"),
    },
    "esd": {
        "0011/Angry/0011_000351.wav": ("angry", "0011"),
        "0011/Happy/train/0011_000751.wav": ("happy", "0011"),
        "0020/Sad/evaluation/0020_001051.wav": ("sad", "0020"),
        "0010/0010_000001.wav": ("neutral", "0010"),
        "0001/Surprise/test/0001_001421.wav": ("surprise", "0001"),
    },
}  # fmt: skip
NOT_SHARED = {"calm", "surprised", "surprise", "bored"}


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def load(*sources, **options):
    return load_dataset([parse_source(str(s), CORPORA) for s in sources], CORPORA, **options)


@pytest.mark.parametrize("name", FILES)
def test_published_names(name, tmp_path):
    touch(tmp_path, *FILES[name], "README.md", "ReadMe.txt", ".DS_Store")
    data = load(tmp_path, labels="native")
    assert data.corpora == (name,)
    assert {c.name: (c.label, c.speaker) for c in data.clips} == FILES[name]
    assert all("sentence" in c.attributes for c in data.clips)
    assert [c.name for c in data.clips] == sorted(FILES[name])


@pytest.mark.parametrize("name", FILES)
def test_shared_labels_and_dropped_clips(name, tmp_path):
    data = load(touch(tmp_path, *FILES[name]))
    labels = [label for label, _ in FILES[name].values()]
    assert {c.name: c.label for c in data.clips} == {
        file: label for file, (label, _) in FILES[name].items() if label not in NOT_SHARED
    }
    left_out = Counter(label for label in labels if label in NOT_SHARED)
    assert data.dropped == ({name: dict(left_out)} if left_out else {})


@pytest.mark.parametrize("name", FILES)
def test_only_its_own_corpus_recognises_a_folder(name, tmp_path):
    touch(tmp_path, *FILES[name], "notes/talk.wav")  # one unknown file is tolerated
    result = [n for n, cls in CORPORA.items() if cls.detect(tmp_path) and cls.priority > 0]
    assert result == [name]


@pytest.mark.parametrize(
    "stranger",
    ["03-01-09-01-01-01-01.wav", "03-01-06-01-02-01.wav", "1001_DFA_JOY_XX.wav",
     "1001_DFA_ANG.wav", "DC_x01.wav", "XX/a01.wav", "OAF_back_joy.wav", "03c01Fa.wav",
     "03a01Xa.wav", "speech.wav"],
)  # fmt: skip
def test_unknown_file_names_belong_to_no_corpus(stranger, tmp_path):
    touch(tmp_path, stranger)
    assert not [n for n, cls in CORPORA.items() if cls.detect(tmp_path) and cls.priority > 0]


def test_songs_are_excluded_by_default(tmp_path):
    speech = [f"03-01-0{e}-01-01-01-0{actor}.wav" for e in (3, 4) for actor in (1, 2, 3)]
    touch(tmp_path, *speech, "03-02-04-01-01-01-01.wav")
    count = {
        channel: len(load(tmp_path, parameters={"ravdess": {"channel": channel}}).clips)
        for channel in ("speech", "both")
    }
    assert count == {"speech": 6, "both": 7}


def test_every_file_of_a_corpus_is_a_clip_or_counted_with_its_reason(tmp_path):
    names = ["Actor_01/03-01-03-01-01-01-01.wav", "Actor_01/03-01-04-01-01-01-01.wav"]
    touch(tmp_path, *names, "Actor_01/03-01-03-01-01-01-01 (1).wav", "talk.wav", ".DS_Store")
    touch(tmp_path, "03-02-03-01-01-01-01.wav", "03-01-03-01-01-01-01.flac", "README.md", "LICENSE")
    touch(tmp_path, "copy/03-01-04-01-01-01-01.wav", "Actor_01/03-01-05-01-01-01-01 - Copy.wav")
    data = load(tmp_path)
    assert [c.name for c in data.clips] == [names[0], names[1],
                                            "Actor_01/03-01-05-01-01-01-01 - Copy.wav"]  # fmt: skip
    assert data.passed_over["ravdess"] == {
        "copy of a recording that is read": ["Actor_01/03-01-03-01-01-01-01 (1).wav"],
        "not a file name of ravdess": ["talk.wav"],
        "hidden": [".DS_Store"],
        "not wanted: song": ["03-02-03-01-01-01-01.wav"],
        "another format of the same recording": ["03-01-03-01-01-01-01.flac"],
        "not a recording (.md)": ["README.md"],
        "not a recording (no suffix)": ["LICENSE"],
        "second file of the same recording": ["copy/03-01-04-01-01-01-01.wav"],
    }
    files = sum(path.is_file() for path in tmp_path.rglob("*"))
    assert files == len(data.clips) + sum(map(len, data.passed_over["ravdess"].values()))


@pytest.mark.parametrize(
    ("modality", "expected"),
    [("both", {"03-01-03-01-01-01-01.wav", "01-01-04-01-01-01-01.mp4"}),
     ("audio", {"03-01-03-01-01-01-01.wav"}),
     ("video", {"01-01-03-01-01-01-01.mp4", "01-01-04-01-01-01-01.mp4"})],
)  # fmt: skip
def test_videos_are_read_where_no_audio_file_exists(tmp_path, monkeypatch, modality, expected):
    monkeypatch.setattr(filenames, "AUDIO", tuple(dict.fromkeys((*filenames.AUDIO, ".mp4"))))
    touch(tmp_path, "03-01-03-01-01-01-01.wav", "01-01-03-01-01-01-01.mp4")
    touch(tmp_path, "01-01-04-01-01-01-01.mp4", "02-01-04-01-01-01-01.mp4")
    corpus = ravdess.RAVDESS(tmp_path, modality=modality)
    clips = list(corpus.clips())
    assert {clip.name for clip in clips} == expected
    assert all("modality" not in clip.attributes for clip in clips)
    assert corpus.passed_over["not wanted: video without sound"] == ["02-01-04-01-01-01-01.mp4"]
    assert len(clips) + sum(map(len, corpus.passed_over.values())) == 4


def test_four_corpora_in_one_folder_are_read_as_four(tmp_path):
    speakers = {"Crema": "1001", "Ravdess": "Actor_12", "Savee": "DC", "Tess": "OAF"}
    touch(tmp_path, "Crema/1001_DFA_ANG_XX.wav", "Ravdess/Actor_12/03-01-06-01-02-01-12.wav")
    touch(tmp_path, "Savee/DC_a01.wav", "Savee/DC_n01.wav", "Tess/OAF_Sad/OAF_back_sad.wav")
    touch(tmp_path, "other/talk.wav", "docs/readme.txt", "notes.txt")
    data = load(tmp_path)
    assert data.corpora == ("crema_d", "ravdess", "savee", "tess")
    assert len(data.clips) == 5 and len(data.speakers()) == len(speakers)
    assert data.passed_over == {"crema_d": {
        "folder of no known corpus": ["other"],
        "folder without recordings": ["docs"],
        "outside the folders of the corpora": ["notes.txt"],
    }}  # fmt: skip


def test_a_large_corpus_does_not_hide_a_small_one_beside_it(tmp_path):
    words = [f"{a}{b}" for a in "abcde" for b in "abcde"]
    touch(tmp_path, *(f"Tess/{s}_{e}/{s}_{w}_{e}.wav" for s in ("OAF", "YAF")
                      for e in ("angry", "sad") for w in words))  # fmt: skip
    touch(tmp_path, "Savee/DC_a01.wav", "Savee/DC_n01.wav")
    assert tess.Tess.detect(tmp_path)
    data = load(tmp_path)
    assert data.corpora == ("savee", "tess") and len(data.clips) == 102


def test_a_corpus_with_one_folder_of_other_recordings_is_no_collection(tmp_path):
    touch(tmp_path, *FILES["savee"], "AudioData/DC/n01.wav", "AudioData/DC/n02.wav", "more/x.wav")
    data = load(tmp_path)
    assert data.corpora == ("savee",)
    assert data.passed_over == {"savee": {"not a file name of savee": ["more/x.wav"]}}


def test_a_folder_per_class_is_no_collection_of_corpora(tmp_path):
    touch(tmp_path, "happy/anna/1.wav", "sad/anna/1.wav", "angry/ben/03-01-05-01-01-01-01.wav")
    assert load(tmp_path).corpora == ("folder",)


def test_real_ravdess(ravdess):
    data = load(ravdess)
    assert data.corpora == ("ravdess",)
    assert data.classes == ("neutral", "happy", "sad", "angry", "fearful", "disgust")
    counts = Counter(clip.label for clip in data.clips)
    # 18 actors say two sentences twice, in two intensities (neutral in one)
    assert counts == {c: 72 if c == "neutral" else 144 for c in data.classes}
    assert len({clip.speaker for clip in data.clips}) == 18
    assert data.targets().shape == (792,) and data.targets().max() == 5


@pytest.mark.parametrize("word", ["native", "happy,sad"])
def test_real_ravdess_other_labels(ravdess, word):
    data = load(ravdess, labels=word)
    assert data.classes == (
        ("happy", "sad") if word == "happy,sad" else tuple(sorted(data.classes))
    )
    assert len(data.clips) == (288 if word == "happy,sad" else 792)
