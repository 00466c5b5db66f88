"""Sources, detection, pooling and labels."""

import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion import Clip, Corpus, Recording
from fusion.core.contracts.data import ColumnChoice
from fusion.core.contracts.errors import CorpusError, ParameterError, PluginError, UnknownNameError
from fusion.core.data.corpora import load_dataset
from fusion.core.data.sources import Source, absolute_source, parse_source
from fusion.core.toolkit.emotions import SHARED
from fusion.plugins.corpora import crema_d, demo, folder, ravdess, savee, table

PLUGINS = (crema_d, demo, folder, ravdess, savee)
CORPORA = {cls.name: cls for plugin in PLUGINS for cls in plugin.fusion_corpora()}


class Made(Corpus):
    """Corpus of clips that the test gives as (name, label, speaker)."""

    name = "made"
    needs_path = False
    rows = ()

    def clips(self):
        for name, label, speaker in self.rows:
            yield Clip(Recording(Path(name)), name, label, speaker, self.name)


def made(*rows, **attributes):
    return {"made": type("It", (Made,), {"rows": rows, **attributes})}


def load(*sources, **options):
    return load_dataset([parse_source(str(s), CORPORA) for s in sources], CORPORA, **options)


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def actors(*numbers, folder="", suffix="wav"):
    return [f"{folder}Actor_{n:02}/03-01-0{e}-01-01-01-{n:02}.{suffix}" for n in numbers
            for e in (3, 4)]  # fmt: skip


# -- sources -------------------------------------------------------------------------


def test_sources_are_parsed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse_source("demo", CORPORA) == Source("demo", None)
    assert parse_source("ravdess=a=b", CORPORA).path.name == "a=b"
    assert parse_source("some/where=3", CORPORA).corpus is None
    for name in ("demo", "ravdess=x"):
        (tmp_path / name).mkdir()
        assert parse_source(name, CORPORA).path.name == name  # an existing path takes precedence


def test_absolute_sources_do_not_depend_on_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b").mkdir()
    assert absolute_source("demo", CORPORA) == "demo"
    for text, path in (("a=b", "a=b"), ("not/there", "not/there"), (str(tmp_path), "")):
        assert absolute_source(text, CORPORA) == str(tmp_path / path)
    text = absolute_source("ravdess=x y", CORPORA)
    assert text == f"ravdess={tmp_path / 'x y'}" and absolute_source(text, CORPORA) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [("ravdess=", "needs a path"), ("ravdess", "needs a path"), ("demo=x", "takes no path"),
     ("", "empty")],
)  # fmt: skip
def test_an_incomplete_source_is_refused(text, message):
    with pytest.raises(CorpusError, match=message):
        parse_source(text, CORPORA)


def test_an_unknown_corpus_is_refused():
    with pytest.raises(UnknownNameError, match="'ravdes'.*Did you mean 'ravdess'"):
        parse_source("ravdes=x", CORPORA)


# -- detection -----------------------------------------------------------------------


def test_paths_without_recordings_are_refused(tmp_path):
    with pytest.raises(CorpusError, match="The path .*nowhere does not exist"):
        load(tmp_path / "nowhere")
    with pytest.raises(CorpusError, match="The path .*nowhere does not exist"):
        load(f"ravdess={tmp_path / 'nowhere'}")
    with pytest.raises(CorpusError, match="empty"):
        load(tmp_path)
    touch(tmp_path, "talk.wav")
    with pytest.raises(CorpusError, match=r"none of the corpora(.|\n)*--data CORPUS="):
        load(tmp_path)
    with pytest.raises(CorpusError, match="no recordings of the corpus 'ravdess'"):
        load(f"ravdess={tmp_path}")
    touch(tmp_path, "03-02-04-01-01-01-01.wav", "03-02-03-01-01-01-01.wav")
    passed_over = "Passed over: not wanted: song 2, not a file name of ravdess 1."
    with pytest.raises(CorpusError, match=passed_over):
        load(f"ravdess={tmp_path}")


def test_the_highest_priority_wins_and_a_tie_is_an_error(tmp_path):
    touch(tmp_path, *actors(1, 2))
    assert CORPORA["folder"].detect(tmp_path)  # priority 0
    assert load(tmp_path).corpora == ("ravdess",)
    twin = type("Twin", (CORPORA["ravdess"],), {"name": "twin"})
    with pytest.raises(CorpusError, match=r"ravdess and like twin(.|\n)*--data ravdess="):
        load_dataset([Source(None, tmp_path)], {**CORPORA, "twin": twin})


def test_a_corpus_that_fails_to_detect_is_reported(tmp_path):
    class Broken(Corpus):
        name = "broken"

        @classmethod
        def detect(cls, path):
            raise ValueError("boom")

    touch(tmp_path, *actors(1, 2))
    with pytest.raises(PluginError, match="'broken'.*boom"):
        load_dataset([Source(None, tmp_path)], {**CORPORA, "broken": Broken})


def test_a_folder_with_two_corpora_is_detected_as_neither(tmp_path):
    touch(tmp_path, *actors(*range(1, 24), folder="RAVDESS/"))
    touch(tmp_path, *[f"CREMA-D/10{n:02}_DFA_{e}_XX.wav" for n in range(1, 80)
                      for e in ("ANG", "SAD")])  # fmt: skip
    assert not any(CORPORA[name].detect(tmp_path) for name in ("ravdess", "crema_d"))


# -- pooling -------------------------------------------------------------------------


def test_pooled_corpora_have_separate_speakers(tmp_path):
    a = touch(tmp_path / "a", *actors(1, 2))
    b = touch(tmp_path / "b", "happy/01/x.wav", "sad/01/y.wav")
    data = load(a, b)
    assert data.corpora == ("ravdess", "folder")
    assert data.speakers() == ("folder/01", "ravdess/01", "ravdess/02")
    assert [(c.corpus, c.name) for c in data.clips] == sorted(
        (c.corpus, c.name) for c in data.clips
    )


def test_one_corpus_from_two_paths(tmp_path):
    """Equal speaker names are one speaker; clips with equal names get a number."""
    a = touch(tmp_path / "a", *actors(1, 2))
    b = touch(tmp_path / "b", *actors(2, 3))
    data = load(a, b)
    assert data.corpora == ("ravdess",) and len(data.speakers()) == 3
    names = [c.name for c in data.clips]
    assert len(set(names)) == 8 and sum(name.endswith("#2") for name in names) == 2
    assert len({c.recording.path for c in data.clips}) == 8


def test_a_path_given_twice_is_refused(tmp_path):
    touch(tmp_path, *actors(1, 2))
    with pytest.raises(CorpusError, match="is named twice"):
        load(tmp_path, f"ravdess={tmp_path}/.")
    with pytest.raises(CorpusError, match="is named twice"):
        load("demo", "demo")


def test_an_unknown_parameter_is_refused(tmp_path):
    touch(tmp_path, *actors(1, 2))
    with pytest.raises(UnknownNameError, match="parameter of ravdess 'chanel'.*'channel'"):
        load(tmp_path, parameters={"ravdess": {"chanel": "song"}})


# -- speakers and recordings ---------------------------------------------------------


def recorded(root, *names):
    """Write files of noise; files with the same first letter have the same content."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(random.Random(Path(name).name[0]).randbytes(4000))
    return root


def test_spellings_of_one_speaker_are_one_speaker(tmp_path):
    nfc, nfd = "Zo\u00eb", "Zoe\u0308"
    rows = [("1", "Joy", "01"), ("2", "anger", "1"), ("3", "Joy", nfc), ("4", "anger", nfd),
            ("5", "Joy", "Anna01"), ("6", "anger", " anna01 "), ("7", "Joy", "2")]  # fmt: skip
    data = load_dataset([Source("made", None)], made(*rows))
    assert data.speakers() == ("made/ anna01 ", "made/01", "made/2", f"made/{nfd}")
    assert data.merged_speakers == {"made": ((" anna01 ", "Anna01"), ("01", "1"), (nfd, nfc))}
    assert [c.speaker for c in data.clips] == ["01", "01", nfd, nfd, " anna01 ", " anna01 ", "2"]


def test_a_corpus_without_other_spellings_has_no_merged_speakers(tmp_path):
    data = load(touch(tmp_path, *actors(1, 2)))
    assert data.merged_speakers == {} and data.shared_recordings == ()


def test_ravdess_has_a_recording_twice_but_no_speaker_twice(ravdess):
    data = load(f"ravdess={ravdess}")
    assert data.merged_speakers == {}
    pairs = [{data.clips[i].speaker for i in group} for group in data.shared_recordings]
    assert all(len(speakers) == 1 for speakers in pairs) and len(pairs) <= 1


def test_speakers_who_share_a_recording_are_one_speaker(tmp_path):
    recorded(tmp_path, "happy/ann/a.wav", "sad/bob/a2.wav", "sad/bob/b.wav", "happy/cy/b2.wav",
             "sad/dan/d.wav")  # fmt: skip
    data = load(tmp_path)
    assert data.merged_speakers == {"folder": (("ann", "bob", "cy"),)}
    assert data.speakers() == ("folder/ann", "folder/dan")
    named = [[data.clips[i].name for i in group] for group in data.shared_recordings]
    assert named == [["happy/ann/a.wav", "sad/bob/a2.wav"], ["happy/cy/b2.wav", "sad/bob/b.wav"]]


def test_overlapping_segments_of_a_table_have_one_speaker(tmp_path):
    recorded(tmp_path, "d.wav")
    (tmp_path / "t.csv").write_text(
        "path,name,label,speaker,start,end\n"
        "d.wav,1,happy,ann,0,2\nd.wav,2,sad,bob,1.5,3\nd.wav,3,sad,cy,3,4\n"
    )
    data = load_dataset([Source("table", tmp_path / "t.csv")], {"table": table.Table})
    assert data.speakers() == ("table/ann", "table/cy")
    assert data.shared_recordings == ((0, 1),)


def test_recordings_that_two_corpora_share_are_refused(tmp_path):
    a = recorded(tmp_path / "a", *actors(1, 2))
    b = recorded(tmp_path / "b", "happy/ann/x.wav", "sad/bob/0.wav")
    assert len(load(a).clips) == 4  # recordings of one corpus may be copies
    with pytest.raises(CorpusError) as caught:
        load(a, b)
    assert caught.value.message.startswith(
        "The corpora 'folder' and 'ravdess' share 1 recording, so that one person would be two "
        f"speakers. First: folder/sad/bob/0.wav ({b}/sad/bob/0.wav) is ravdess/Actor_01/"
    )
    assert "leave out --data of folder or of ravdess" in caught.value.hint


def test_one_folder_under_two_names_is_refused(tmp_path):
    for label in ("happy", "sad"):
        recorded(tmp_path, f"{label}/ann/{label}.wav", f"{label}/bob/{label}2.wav")
    with pytest.raises(CorpusError, match="'folder' and 'made' share 2 recordings"):
        path = str(tmp_path / "happy/ann/happy.wav")
        rows = [(path, "happy", "x"), (str(tmp_path / "sad/ann/sad.wav"), "sad", "y")]
        load_dataset([Source("made", None), Source("folder", tmp_path)], {**CORPORA, **made(*rows)})


# -- labels --------------------------------------------------------------------------

ROWS = [("1", "Joy", "a"), ("2", "anger", "a"), ("3", "calm", "b"), ("4", "Joy", "b")]


def classes(chosen, *rows, **attributes):
    corpora = made(*(rows or ROWS), **attributes)
    data = load_dataset([Source("made", None)], corpora, labels=chosen)
    return data.classes, {c.name: c.label for c in data.clips}, data.dropped


def test_shared_labels_have_a_fixed_order_and_other_clips_are_counted():
    assert classes("shared") == (
        ("happy", "angry"), {"1": "happy", "2": "angry", "4": "happy"}, {"made": {"calm": 1}},
    )  # fmt: skip


def test_native_labels_are_sorted_and_complete():
    result = classes("native")
    assert result[0] == ("Joy", "anger", "calm") and len(result[1]) == 4 and not result[2]


MIXED = [("1", "angry", "a"), ("2", "Angry", "a"), ("3", " angry", "b"), ("4", "calm", "b"),
         ("5", "Angry", "b")]  # fmt: skip


def test_native_labels_that_differ_in_case_and_blanks_are_one_class():
    data = load_dataset([Source("made", None)], made(*MIXED), labels="native")
    assert data.classes == ("Angry", "calm")
    assert [clip.label for clip in data.clips] == ["Angry", "Angry", "Angry", "calm", "Angry"]
    assert data.spellings == {"Angry": (" angry", "angry")}


def test_a_chosen_label_matches_every_spelling():
    data = load_dataset([Source("made", None)], made(*MIXED), labels="CALM, aNgry")
    assert data.classes == ("calm", "angry") and len(data.clips) == 5
    assert load_dataset([Source("made", None)], made(*MIXED), labels="Calm,calm,Angry").classes == (
        "calm", "Angry",
    )  # fmt: skip


def test_joined_spellings_do_not_change_the_mapping_of_a_corpus():
    rows = [("1", "Joy", "a"), ("2", "joy", "a"), ("3", "joy", "a"), ("4", "calm", "a")]
    labels = {"Joy": "happy", "calm": "neutral"}
    assert classes("happy,calm", *rows, labels=labels) == (
        ("happy", "calm"), {"1": "happy", "4": "calm"}, {"made": {"joy": 2}},
    )  # fmt: skip
    assert load_dataset([Source("made", None)], made(*rows, labels=labels)).spellings == {}


def test_names_that_are_no_utf8_become_readable(tmp_path):
    strange = os.fsdecode(b"\xe9")
    rows = [(f"{strange}/1.wav", "happy", strange), ("感/2.wav", "sad", "感")]
    data = load_dataset([Source("made", None)], made(*rows))
    assert [(c.name, c.speaker) for c in data.clips] == [
        ("%E9/1.wav", "%E9"), ("感/2.wav", "感"),
    ]  # fmt: skip


def test_chosen_labels_keep_their_order_and_may_be_native_or_shared():
    assert classes("calm, happy") == (
        ("calm", "happy"), {"1": "happy", "3": "calm", "4": "happy"}, {"made": {"anger": 1}},
    )  # fmt: skip


def test_a_chosen_native_label_overrides_its_shared_label():
    assert classes("Joy,happy,calm", *ROWS, ("5", "happiness", "c"))[1] == {
        "1": "Joy", "3": "calm", "4": "Joy", "5": "happy",
    }  # fmt: skip


def test_the_mapping_of_a_corpus_overrides_the_spelling():
    assert classes("shared", labels={"calm": "neutral", "Joy": "sad"})[0] == ("neutral", "sad")


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [("shared", CorpusError, "one class"), ("happy", CorpusError, "one class"),
     ("happy,angri", UnknownNameError, "Did you mean"), (",", CorpusError, "No clip")],
)  # fmt: skip
def test_labels_that_leave_too_few_classes_are_refused(labels, error, message):
    with pytest.raises(error, match=message):
        classes(labels, ("1", "Joy", "a"), ("2", "calm", "b"), ("3", "angry birds", "b"))


def test_labels_that_map_to_no_shared_label_are_refused():
    with pytest.raises(CorpusError, match=r"made: good 1, so-so 1(.|\n)*--labels native"):
        classes("shared", ("1", "good", "a"), ("2", "so-so", "b"))


@given(st.lists(st.sampled_from([*SHARED, "calm", "bored", "Anger"]), min_size=1, max_size=30))
def test_every_clip_is_in_a_class_or_counted(labels):
    rows = [(str(i), label, "s") for i, label in enumerate(labels)]
    try:
        data = load_dataset([Source("made", None)], made(*rows))
    except CorpusError:
        assert len({"angry" if x == "Anger" else x for x in labels} & set(SHARED)) < 2
        return
    assert len(data.clips) + sum(data.dropped.get("made", {}).values()) == len(labels)
    assert data.classes == tuple(c for c in SHARED if c in {clip.label for clip in data.clips})
    assert [data.classes[i] for i in data.targets()] == [clip.label for clip in data.clips]


# -- a folder per class ----------------------------------------------------------------


def test_classes_and_speakers_are_folders(tmp_path):
    touch(tmp_path, "happy/anna/1.wav", "Anger/ben/deep/2.flac", "calm/ben/3.ogg", "calm/notes.txt")
    data = load(tmp_path, labels="native")
    assert {(c.name, c.label, c.speaker) for c in data.clips} == {
        ("happy/anna/1.wav", "happy", "anna"),
        ("Anger/ben/deep/2.flac", "Anger", "ben"),
        ("calm/ben/3.ogg", "calm", "ben"),
    }


@pytest.mark.parametrize("pattern", [r"/spk(\d+)_", r"(a|b)?/spk(?P<speaker>\d+)"])
def test_the_speaker_is_found_by_a_pattern(tmp_path, pattern):
    touch(tmp_path, "happy/spk7_1.wav", "sad/spk12_1.wav")
    data = load(tmp_path, parameters={"folder": {"speaker": pattern}})
    assert {c.speaker for c in data.clips} == {"7", "12"}
    with pytest.raises(CorpusError, match="finds no speaker in 'happy/spk7_1.wav'"):
        load(tmp_path, parameters={"folder": {"speaker": "(anna)"}})


@pytest.mark.parametrize("pattern", ["(", "anna", "(a)(b)"])
def test_wrong_patterns_are_refused(pattern):
    with pytest.raises(ParameterError, match=r"folder\.speaker"):
        CORPORA["folder"](None, speaker=pattern)


def test_folders_without_speaker_or_class_are_refused(tmp_path):
    touch(tmp_path, "happy/1.wav", "sad/2.wav")
    unknown = r"speaker of happy/1\.wav is unknown(.|\n)*folder\.speaker"
    with pytest.raises(CorpusError, match=unknown):
        load(tmp_path)
    touch(tmp_path, "a.wav")
    with pytest.raises(CorpusError, match=r"a\.wav is not in the folder of a class"):
        load(f"folder={tmp_path}")


# -- choices of the user ---------------------------------------------------------------


def test_labels_are_renamed_to_shared_emotions_in_corpora_with_labels_of_their_own(tmp_path):
    touch(tmp_path, "Actor_01/03-01-08-01-01-01-01.wav", "Actor_02/03-01-05-01-01-01-02.wav")
    source = [parse_source(f"ravdess={tmp_path}", CORPORA)]
    data = load_dataset(source, CORPORA, label_map={"surprised": "happy"})
    assert data.classes == ("happy", "angry")


def test_choices_that_have_no_effect_are_errors(tmp_path):
    touch(tmp_path, "Actor_01/03-01-08-01-01-01-01.wav", "Actor_02/03-01-05-01-01-01-02.wav")
    source = [parse_source(f"ravdess={tmp_path}", CORPORA)]
    with pytest.raises(UnknownNameError, match="'surprise'.*Did you mean 'surprised'"):
        load_dataset(source, CORPORA, label_map={"surprise": "happy"})
    for choice in (ColumnChoice({"label": "x"}), ColumnChoice({}, ("age",))):
        with pytest.raises(CorpusError, match="none of these corpora is read from a table"):
            load_dataset(source, CORPORA, columns=choice)
