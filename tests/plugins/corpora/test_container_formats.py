"""Detection among all corpora, and example layouts: each format is recognised by its own reader."""

import importlib.util
import json
import tarfile
from functools import partial

import pytest
from places import ROOT
from touched import touch

from fusion import Clip
from fusion.core.contracts import Recording
from fusion.core.contracts.data import ColumnChoice
from fusion.core.contracts.errors import CorpusError
from fusion.core.data.corpora import load_dataset
from fusion.core.data.sources import parse_source
from fusion.plugins.corpora import (
    audformat,
    audiofolder,
    crema_d,
    emodb,
    folder,
    ravdess,
    savee,
    speechbrain,
    table,
    tess,
    webdataset,
)

PLUGINS = (audformat, audiofolder, crema_d, emodb, folder, ravdess, savee, speechbrain, table, tess,
           webdataset)  # fmt: skip
CORPORA = {cls.name: cls for plugin in PLUGINS for cls in plugin.fusion_corpora()}
HEADER = "name: x\nsource: y\nusage: research\n"


def load(path, **options):
    source = parse_source(str(path), CORPORA)
    return load_dataset([source], CORPORA, labels="native", **options)


def write_audiofolder(root, names=("happy/anna/1.wav", "sad/ben/1.wav")):
    touch(root, *names)
    rows = [
        f"{name},{label},{n}\n" for n, (name, label) in enumerate(zip(names, "hs", strict=True))
    ]
    (root / "metadata.csv").write_text("file_name,emotion,speaker\n" + "".join(rows))


def write_speechbrain(root):
    touch(root, "happy/anna/1.wav", "sad/ben/1.wav")
    for part, name, label in (("train", "happy/anna", "happy"), ("test", "sad/ben", "sad")):
        entry = {"wav": f"{{data_root}}/{name}/1.wav", "emo": label, "spk_id": name[-3:]}
        (root / f"{part}.json").write_text(json.dumps({part: entry}))


def write_webdataset(root):
    touch(root, "parts/a.wav", "parts/b.wav")
    for name, label in (("a", "happy"), ("b", "sad")):
        fields = {"label": label, "speaker": name}
        (root / f"parts/{name}.json").write_text(json.dumps(fields))
    (root / "shards").mkdir()
    with tarfile.open(root / "shards/0.tar", "w") as tar:
        for name in ("a.wav", "a.json", "b.wav", "b.json"):
            tar.add(root / "parts" / name, name)


@pytest.mark.parametrize(
    ("write", "inner", "corpus"),
    [
        (write_audiofolder, "", "audiofolder"),  # the folders are classes as well
        (write_speechbrain, "", "speechbrain"),
        (write_speechbrain, "train.json", None),  # one clip: recognised, too small to be loaded
        (write_webdataset, "shards", "webdataset"),
        (write_webdataset, "shards/0.tar", "webdataset"),
    ],
)
def test_each_format_is_recognised_among_all_corpora(tmp_path, write, inner, corpus):
    write(tmp_path)
    if corpus is None:
        with pytest.raises(CorpusError, match="of one class, 'happy'"):
            load(tmp_path / inner)
        return
    data = load(tmp_path / inner)
    assert {clip.corpus for clip in data.clips} == {corpus}
    assert len({clip.speaker for clip in data.clips}) == 2


def test_named_corpora_keep_their_recordings_beside_metadata(tmp_path):
    names = ("wav/03a01Fa.wav", "wav/16b10Wb.wav")
    write_audiofolder(tmp_path, names)
    (tmp_path / "db.yaml").write_text(HEADER)
    assert {clip.corpus for clip in load(tmp_path).clips} == {"emodb"}
    data = load(f"audiofolder={tmp_path}")
    assert {clip.label for clip in data.clips} == {"h", "s"}


def test_tables_and_class_folders_are_read_as_before(tmp_path):
    touch(tmp_path, "x/happy/anna/1.wav", "x/sad/ben/1.wav")
    assert {clip.corpus for clip in load(tmp_path / "x").clips} == {"folder"}
    (tmp_path / "metadata.csv").write_text(
        "file_name,label,speaker\nx/happy/anna/1.wav,happy,1\nx/sad/ben/1.wav,sad,2\n"
    )
    assert {clip.corpus for clip in load(tmp_path / "metadata.csv").clips} == {"table"}


def test_columns_and_what_is_passed_over_are_in_the_dataset(tmp_path):
    write_audiofolder(tmp_path)
    with (tmp_path / "metadata.csv").open("a") as stream:
        stream.write("gone.wav,h,1\n")
    data = load(tmp_path, columns=ColumnChoice({"speaker": "speaker"}))
    assert data.passed_over == {"audiofolder": {"the file does not exist": ["gone.wav"]}}
    assert data.columns == {
        "audiofolder": {"path": "file_name", "label": "emotion", "speaker": "speaker"}
    }


@pytest.mark.parametrize("layout", ["folder", "audiofolder", "audformat"])
def test_the_example_writes_layouts_with_the_same_clips(tmp_path, layout):
    if layout == "audformat":
        pytest.importorskip("audformat")
    spec = importlib.util.spec_from_file_location("made", ROOT / "examples/make_recordings.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    touch(tmp_path, "source.wav")
    make = partial(Clip, Recording(tmp_path / "source.wav"), corpus="demo")
    clips = [
        make(f"speaker_{speaker}/{label}_01.wav", label, speaker)
        for speaker in ("01", "02")
        for label in ("happy", "sad")
    ]
    example.LAYOUTS[layout](tmp_path / "made", clips)
    data = load(tmp_path / "made")
    assert {clip.corpus for clip in data.clips} == {layout}
    assert sorted((c.speaker.removeprefix("speaker_"), c.label) for c in data.clips) == [
        ("01", "happy"), ("01", "sad"), ("02", "happy"), ("02", "sad"),
    ]  # fmt: skip
