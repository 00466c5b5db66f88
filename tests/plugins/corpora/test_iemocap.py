"""IEMOCAP: labels in text files, and the speaker of each turn."""

import pytest
from touched import touch

from fusion.core.contracts.errors import CorpusError
from fusion.core.data.corpora import load_dataset
from fusion.core.data.sources import parse_source
from fusion.plugins.corpora.iemocap import Iemocap
from fusion.testing import CorpusSuite

CORPORA = {"iemocap": Iemocap}
EVALUATION = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\t{0}_F000\tneu\t[2.5000, 2.0000, 3.5000]
C-E2:\tNeutral;\t()
A-E3:\tval 3; act 2; dom  2;\t()

[10.0100 - 11.3925]\t{0}_M001\texc\t[4.0000, 3.5000, 2.5000]
[12.1000 - 13.0000]\t{0}_F001\txxx\t[2.5000, 2.5000, 2.5000]
[14.1000 - 15.0000]\t{0}_M002\tang\t[1.5000, 4.0000, 4.5000]
"""
TURNS = ("F000", "M001", "F001", "M002")


def session(folder, dialogue="Ses01F_impro01", turns=TURNS):
    home = folder / f"Session{dialogue[4]}"
    labels = home / f"dialog/EmoEvaluation/{dialogue}.txt"
    labels.parent.mkdir(parents=True, exist_ok=True)
    labels.write_text(EVALUATION.format(dialogue))
    touch(home, *(f"sentences/wav/{dialogue}/{dialogue}_{turn}.wav" for turn in turns))
    return folder


class TestIemocap(CorpusSuite):
    plugin = Iemocap

    def make(self, folder):
        session(session(folder), "Ses05M_script01_1b")


def load(folder, **parameters):
    sources = [parse_source(str(folder), CORPORA)]
    return load_dataset(sources, CORPORA, labels="native", parameters={"iemocap": parameters})


def test_the_speaker_is_the_person_of_the_turn_and_not_of_the_dialogue(tmp_path):
    session(session(tmp_path / "IEMOCAP_full_release"), "Ses02M_script01_1b")
    assert [(c.name.rpartition("/")[2], c.label, c.speaker) for c in load(tmp_path).clips] == [
        ("Ses01F_impro01_F000.wav", "neutral", "Ses01F"),
        ("Ses01F_impro01_M001.wav", "excited", "Ses01M"),
        ("Ses01F_impro01_M002.wav", "angry", "Ses01M"),
        ("Ses02M_script01_1b_F000.wav", "neutral", "Ses02F"),
        ("Ses02M_script01_1b_M001.wav", "excited", "Ses02M"),
        ("Ses02M_script01_1b_M002.wav", "angry", "Ses02M"),
    ]


def test_ratings_and_scenario_are_attributes(tmp_path):
    data = load(session(session(tmp_path), "Ses01F_script02_2"))
    improvised, scripted = data.clips[0], data.clips[3]
    assert improvised.attributes == {
        "scenario": "improvised", "dialogue": "Ses01F_impro01",
        "valence": "2.5000", "activation": "2.0000", "dominance": "3.5000",
    }  # fmt: skip
    assert scripted.attributes["scenario"] == "scripted"
    assert scripted.attributes["dialogue"] == "Ses01F_script02_2"


def test_excited_counts_as_happy_on_request(tmp_path):
    data = load(session(tmp_path), excited="happy")
    assert data.classes == ("angry", "happy", "neutral")


def test_every_other_file_is_counted_with_its_reason(tmp_path):
    home = session(tmp_path, turns=TURNS[:3]) / "Session1"
    touch(home, "dialog/wav/Ses01F_impro01.wav", "sentences/wav/Ses01F_impro01_FXX0.wav", "x.wav")
    touch(home, "dialog/EmoEvaluation/._Ses01F_impro01.txt")
    assert load(tmp_path).passed_over["iemocap"] == {
        "not a recording (.txt)": ["Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"],
        "hidden": ["Session1/dialog/EmoEvaluation/._Ses01F_impro01.txt"],
        "recording of a whole dialogue": ["Session1/dialog/wav/Ses01F_impro01.wav"],
        "not evaluated": ["Session1/sentences/wav/Ses01F_impro01_FXX0.wav"],
        "not a file name of iemocap": ["Session1/x.wav"],
        "no agreement of the raters (xxx)": [
            "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F001.wav"
        ],
        "label without a recording": ["Ses01F_impro01_M002"],
    }


def test_a_folder_without_labels_is_refused(tmp_path):
    touch(tmp_path, "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav")
    assert not Iemocap.detect(tmp_path)
    with pytest.raises(CorpusError, match="has no labels of IEMOCAP"):
        load_dataset([parse_source(f"iemocap={tmp_path}", CORPORA)], CORPORA)
