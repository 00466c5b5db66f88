"""MSP-Podcast: labels by code, published split, unknown speakers."""

import pytest
from touched import touch

from fusion.core.contracts.errors import CorpusError
from fusion.core.data.corpora import load_dataset
from fusion.core.data.sources import parse_source
from fusion.plugins.corpora.msp_podcast import MspPodcast
from fusion.testing import CorpusSuite

CORPORA = {"msp_podcast": MspPodcast}
ROWS = (
    "1.wav,A,5.4,2.8,5.2,46,Male,Train", "2.wav,H,4,5,4,46,Male,Train",
    "3.wav,U,4.8,4.2,4,7,Female,Development", "4.wav,N,3,3.6,2.8,9,Male,Test1",
    "5.wav,S,2.4,3,3.8,10,Male,Test2", "6.wav,X,3,3,3,11,Male,Train",
    "7.wav,F,3,3,3,Unknown,Unknown,Train",
)  # fmt: skip


def make(folder, rows=ROWS, table="labels_consensus.csv"):
    header = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set"
    (folder / "Labels").mkdir()
    (folder / "Labels" / table).write_text("\n".join([header, *rows, ""]))
    touch(folder, *(f"Audios/{row.split(',')[0]}" for row in rows))
    return folder


class TestMspPodcast(CorpusSuite):
    plugin = MspPodcast

    def make(self, folder):
        make(folder)


def load(folder, **parameters):
    sources = [parse_source(str(folder), CORPORA)]
    return load_dataset(sources, CORPORA, labels="native", parameters={"msp_podcast": parameters})


@pytest.mark.parametrize("table", ["labels_consensus.csv", "labels_concensus.csv"])
def test_codes_become_labels_and_the_published_split_is_set(tmp_path, table):
    data = load(make(tmp_path, table=table))
    assert [(c.name, c.label, c.speaker, c.split) for c in data.clips] == [
        ("Audios/1.wav", "angry", "46", "train"), ("Audios/2.wav", "happy", "46", "train"),
        ("Audios/3.wav", "surprised", "7", "val"), ("Audios/4.wav", "neutral", "9", "test"),
    ]  # fmt: skip
    assert data.clips[0].attributes == {
        "activation": "5.4", "valence": "2.8", "dominance": "5.2", "gender": "male",
    }  # fmt: skip
    assert data.columns["msp_podcast"]["speaker"] == "SpkrID"


def test_every_other_file_is_counted_with_its_reason(tmp_path):
    touch(make(tmp_path), "Audios/8.wav", "Audios/1.flac")
    (tmp_path / "Audios/2.wav").unlink()
    assert load(tmp_path).passed_over["msp_podcast"] == {
        "not a recording (.csv)": ["Labels/labels_consensus.csv"],
        "not wanted: Test2": ["Audios/5.wav"],
        "no agreement of the raters (X)": ["Audios/6.wav"],
        "speaker unknown": ["Audios/7.wav"],
        "not in the table": ["Audios/8.wav"],
        "another format of the same recording": ["Audios/1.flac"],
        "row without a recording": ["labels_consensus.csv: 2"],
    }


def test_the_second_test_set_and_unknown_speakers_are_read_on_request(tmp_path):
    data = load(make(tmp_path), test="both", unknown_speakers=True)
    assert {(c.name, c.speaker, c.split) for c in data.clips} >= {
        ("Audios/5.wav", "10", "test"),
        ("Audios/7.wav", "unknown speaker of Audios/7.wav", "train"),
    }  # fmt: skip
    assert len(load(tmp_path, test="test2").clips) == 4


def test_a_table_without_the_labels_is_refused(tmp_path):
    (tmp_path / "labels_consensus.csv").write_text("FileName,EmoAct\n1.wav,3\n")
    with pytest.raises(CorpusError, match="has no column EmoClass; its columns: FileName, EmoAct"):
        load(tmp_path)
