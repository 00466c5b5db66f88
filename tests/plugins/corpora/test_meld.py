"""MELD: rows and recordings are joined by part, dialogue and utterance."""

import pytest
from touched import touch

from fusion.core.contracts.errors import CorpusError
from fusion.core.data.corpora import load_dataset
from fusion.core.data.sources import parse_source
from fusion.core.toolkit import filenames
from fusion.plugins.corpora import _metadata
from fusion.plugins.corpora.meld import Meld
from fusion.testing import CorpusSuite

HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode"
ROWS = {
    "train": (
        '1,"Well, hello!",Ross,joy,positive,0,0,8,21',
        "2,No.,Rachel,anger,negative,0,1,8,21",
    ),
    "dev": ("1,Oh my God,Phoebe,surprise,negative,0,0,4,7",),
    "test": ("1,Fine\x92s,Ross,sadness,negative,0,0,3,19",),
}


def tables(folder, places=("", "", "")):
    for (part, rows), place in zip(ROWS.items(), places, strict=True):
        file = folder / place / f"{part}_sent_emo.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes("\r\n".join([HEADER, *rows, ""]).encode("latin-1"))
    return folder


def published(folder, suffix="wav"):
    touch(folder, f"train_splits/dia0_utt0.{suffix}", f"train_splits/dia0_utt1.{suffix}")
    touch(folder, f"dev_splits_complete/dia0_utt0.{suffix}")
    touch(folder, f"output_repeated_splits_test/dia0_utt0.{suffix}")


class TestMeld(CorpusSuite):
    plugin = Meld

    def make(self, folder):
        published(tables(folder))


def load(folder):
    return load_dataset(
        [parse_source(str(folder), {"meld": Meld})], {"meld": Meld}, labels="native"
    )


def test_each_recording_gets_the_row_of_its_part(tmp_path):
    published(tables(tmp_path))
    assert {(c.name, c.label, c.speaker, c.split) for c in load(tmp_path).clips} == {
        ("train_splits/dia0_utt0.wav", "joy", "Ross", "train"),
        ("train_splits/dia0_utt1.wav", "anger", "Rachel", "train"),
        ("dev_splits_complete/dia0_utt0.wav", "surprise", "Phoebe", "val"),
        ("output_repeated_splits_test/dia0_utt0.wav", "sadness", "Ross", "test"),
    }
    assert load(tmp_path).columns == {
        "meld": {"label": "Emotion", "speaker": "Speaker", "transcript": "Utterance"}
    }


def test_a_comma_in_a_transcript_is_text(tmp_path):
    published(tables(tmp_path))
    clip = next(c for c in load(tmp_path).clips if c.label == "joy")
    assert clip.attributes == {
        "text": "Well, hello!", "sentiment": "positive", "dialogue": "train-0",
    }  # fmt: skip


def test_tables_and_videos_may_be_in_the_folders_of_the_archives(tmp_path, monkeypatch):
    monkeypatch.setattr(filenames, "AUDIO", tuple(dict.fromkeys((*filenames.AUDIO, ".mp4"))))
    tables(tmp_path, ("train", "dev", ""))
    published(tmp_path, "mp4")
    assert Meld.detect(tmp_path) and len(load(tmp_path).clips) == 4


def test_tables_are_searched_in_a_bounded_number_of_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(_metadata, "_MOST_PER_FOLDER", 2)
    touch(tmp_path, ".hidden/x", "1/1/x", "2/x", "3/x", "4/x")
    (tmp_path / ".hidden").rename(tmp_path / "1/.hidden")
    near = [folder.relative_to(tmp_path).as_posix() for folder in _metadata.folders_near(tmp_path)]
    assert near[0] == "." and len([name for name in near[1:] if "/" not in name]) == 2
    assert not any("hidden" in name for name in near)


def test_files_and_rows_without_a_partner_are_counted(tmp_path):
    published(tables(tmp_path))
    touch(tmp_path, "train_splits/dia9_utt9.wav", "train_splits/dia0_utt0.flac", "dia0_utt0.wav")
    touch(tmp_path, "output_repeated_splits_test/final_videos_testdia0_utt0.wav")
    (tmp_path / "dev_splits_complete/dia0_utt0.wav").unlink()
    assert load(tmp_path).passed_over["meld"] == {
        "not a recording (.csv)": [f"{part}_sent_emo.csv" for part in ("dev", "test", "train")],
        "in no folder of train, dev or test": ["dia0_utt0.wav"],
        "not a file name of meld": ["output_repeated_splits_test/final_videos_testdia0_utt0.wav"],
        "not in the table": ["train_splits/dia9_utt9.wav"],
        "another format of the same recording": ["train_splits/dia0_utt0.flac"],
        "row without a recording": ["dev, dia0_utt0"],
    }


def test_a_table_without_a_column_is_refused(tmp_path):
    (tmp_path / "train_sent_emo.csv").write_text("Utterance,Speaker\nHi,Ross\n")
    with pytest.raises(
        CorpusError, match=r"train_sent_emo\.csv has no column Emotion; its columns"
    ):
        load(tmp_path)


def test_a_row_without_a_number_is_refused(tmp_path):
    (tmp_path / "dev_sent_emo.csv").write_text(f"{HEADER}\n1,Hi,Ross,joy,positive,x,0\n")
    with pytest.raises(CorpusError, match="without a number of the dialogue"):
        load(tmp_path)
