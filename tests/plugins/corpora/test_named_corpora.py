"""Corpora whose published file names contain all labels. No test here opens a recording."""

from collections import Counter

import pytest

from fusion.core.data.corpora import load_dataset, parse_source
from fusion.plugins.corpora import crema_d, emodb, folder, ravdess, savee, table, tess

PLUGINS = (crema_d, emodb, folder, ravdess, savee, table, tess)
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
}  # fmt: skip
NOT_SHARED = {"calm", "surprised", "bored"}


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
