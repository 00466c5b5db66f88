"""Corpora in WebDataset's tar shards: samples by stem, splits by shard, hostile archives."""

import io
import json
import tarfile
from functools import partial

import pytest
from read_corpora import read_corpus

from fusion.core.contracts.data import ColumnChoice
from fusion.core.contracts.errors import CorpusError
from fusion.plugins.corpora.webdataset import WebDataset
from fusion.testing import CorpusSuite

read = partial(read_corpus, WebDataset)

ONE = {"label": "happy", "speaker": "anna"}
TWO = {"label": "sad", "speaker": "ben"}


def member(name, size=0, kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, link
    return info


def write_tar(path, members):
    """Write members in order; contents are bytes, text, or objects for JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            if not isinstance(content, bytes):
                content = content if isinstance(content, str) else json.dumps(content)
                content = content.encode()
            tar.addfile(member(name, len(content)), io.BytesIO(content))
    return path


def shard(path, **extra):
    return write_tar(path, {"a.wav": b"1", "a.json": ONE, "b.flac": b"2", "b.json": TWO, **extra})


class TestWebDataset(CorpusSuite):
    plugin = WebDataset

    def make(self, folder):
        return shard(folder / "shard.tar")


class TestFolderOfShards(CorpusSuite):
    plugin = WebDataset

    def make(self, folder):
        shard(folder / "train-000.tar")
        shard(folder / "test-000.tar")


def test_samples_are_unpacked_once_by_content_and_named_by_shard_and_member(tmp_path, unpacked):
    path = shard(tmp_path / "x.tar", **{"dir/c.wav": b"1", "dir/c.json": {**TWO, "age": 3.0}})
    corpus, clips = read(path)
    assert [(c.name, c.label, c.speaker) for c in clips] == [
        ("x.tar/a.wav", "happy", "anna"),
        ("x.tar/b.flac", "sad", "ben"),
        ("x.tar/dir/c.wav", "sad", "ben"),
    ]
    assert [c.recording.path.read_bytes() for c in clips] == [b"1", b"2", b"1"]
    assert clips[0].recording.path == clips[2].recording.path
    assert clips[2].attributes == {"age": "3"}
    assert len([p for p in unpacked.rglob("*") if p.is_file()]) == 2
    assert corpus.columns_used == {"label": "label", "speaker": "speaker"}
    assert list(tmp_path.iterdir()) == [path]


def test_members_in_any_order_belong_together_by_stem(tmp_path):
    members = {"b.json": TWO, "a.json": ONE, "b.flac": b"2", "a.wav": b"1"}
    _, clips = read(write_tar(tmp_path / "x.tar", members))
    assert [c.label for c in clips] == ["happy", "sad"]


def test_stems_may_have_dots_and_suffixes_may_have_two_parts(tmp_path):
    members = {
        "s1.1.wav": b"1", "s1.1.json": ONE, "s1.2.wav": b"2", "s1.2.json": TWO,
        "k.audio.wav": b"3", "k.meta.json": TWO,
    }  # fmt: skip
    _, clips = read(write_tar(tmp_path / "x.tar", members))
    assert [(c.name, c.label) for c in clips] == [
        ("x.tar/k.audio.wav", "sad"),
        ("x.tar/s1.1.wav", "happy"),
        ("x.tar/s1.2.wav", "sad"),
    ]


def test_class_files_are_labels_unless_a_field_is_and_texts_are_attributes(tmp_path):
    members = {"s1_a.wav": b"1", "s1_a.cls": "angry\n", "s1_a.txt": "Hello.",
               "s2_b.wav": b"2", "s2_b.cls": "3"}  # fmt: skip
    corpus, clips = read(write_tar(tmp_path / "x.tar", members), speaker=r"/(s\d)_")
    assert [(c.label, c.speaker, dict(c.attributes)) for c in clips] == [
        ("angry", "s1", {"transcript": "Hello."}),
        ("3", "s2", {}),
    ]
    assert corpus.columns_used == {"label": "cls", "transcript": "txt"}
    members |= {"s1_a.json": {"emotion": "sad"}, "s2_b.json": {"emotion": "sad"}}
    corpus, clips = read(write_tar(tmp_path / "x.tar", members), speaker=r"/(s\d)_")
    assert (corpus.columns_used["label"], clips[0].label) == ("emotion", "sad")


def test_inner_fields_can_be_chosen(tmp_path):
    fields = {"meta": {"mood": "sad", "who": {"id": 7}}}
    path = write_tar(tmp_path / "x.tar", {"a.wav": b"1", "a.json": fields})
    choice = ColumnChoice({"label": "meta.mood", "speaker": "meta.who.id"})
    _, (clip,) = read(path, choice)
    assert (clip.label, clip.speaker) == ("sad", "7")


def test_splits_follow_the_names_of_shards_and_folders(tmp_path):
    for name in ("train-000.tar", "val/000.tar", "test/000.tar"):
        shard(tmp_path / name)
    _, clips = read(tmp_path)
    assert [(c.name, c.split) for c in clips if c.label == "sad"] == [
        ("test/000.tar/b.flac", "test"),
        ("train-000.tar/b.flac", "train"),
        ("val/000.tar/b.flac", "val"),
    ]


def test_parts_without_test_prescribe_no_split(tmp_path):
    shard(tmp_path / "train-000.tar")
    shard(tmp_path / "val-000.tar")
    assert {c.split for c in read(tmp_path)[1]} == {None}
    shard(tmp_path / "test-000.tar")
    assert {c.split for c in read(tmp_path)[1]} == {"train", "val", "test"}
    choice = ColumnChoice(ignored=("split",))
    assert {c.split for c in read(tmp_path, choice)[1]} == {None}
    shard(tmp_path / "more.tar")
    assert {c.split for c in read(tmp_path)[1]} == {None}


def test_shards_are_named_with_ranges_and_wildcards(tmp_path):
    for number in range(8, 12):
        shard(tmp_path / f"x-{number:03}.tar")
    _, clips = read(tmp_path, shards="x-{009..010}.tar")
    assert sorted({c.name.split("/")[0] for c in clips}) == ["x-009.tar", "x-010.tar"]
    _, clips = read(tmp_path, shards="x-01*.tar")
    assert sorted({c.name.split("/")[0] for c in clips}) == ["x-010.tar", "x-011.tar"]
    for shards, message in (
        ("x-{010..012}.tar", "x-012.tar does not exist"),
        ("y*.tar", r"no shard y\*.tar"),
        ("../x.tar", "not a path in"),
        ("x-{0..999999999999}.tar", "more than 100000 shards"),
    ):
        with pytest.raises(CorpusError, match=message):
            read(tmp_path, shards=shards)


def test_only_regular_members_inside_the_archive_are_read(tmp_path):
    (tmp_path / "secret.wav").write_bytes(b"secret")
    extra = {
        "1": member("link.wav", kind=tarfile.SYMTYPE, link="../secret.wav"),
        "2": member("hard.wav", kind=tarfile.LNKTYPE, link="a.wav"),
        "3": member("fifo.wav", kind=tarfile.FIFOTYPE),
        "folder": member("folder", kind=tarfile.DIRTYPE),
        "../up.wav": b"3",
        "/abs.wav": b"4",
        "big.json": b" " * (1 << 21),
        "notes.md": b"5",
    }
    corpus, clips = read(shard(tmp_path / "x.tar", **extra))
    assert len(clips) == 2
    assert corpus.passed_over == {
        "not a regular file": ["x.tar/link.wav", "x.tar/hard.wav", "x.tar/fifo.wav"],
        "outside the folder": ["x.tar/up.wav", "x.tar/abs.wav"],
        "larger than 1 MiB": ["x.tar/big.json"],
        "not a recording (.md)": ["x.tar/notes.md"],
    }


def test_a_size_beyond_the_archive_is_refused_before_reading(tmp_path):
    path = shard(tmp_path / "x.tar")
    data = bytearray(path.read_bytes())
    huge = member("a.wav", 1 << 50).tobuf(tarfile.GNU_FORMAT)
    for header in (huge, member("a.wav", 1 << 50, tarfile.GNUTYPE_SPARSE).tobuf()):
        data[:512] = header
        path.write_bytes(data)
        with pytest.raises(CorpusError):
            read(path)


@pytest.mark.parametrize("cut", [300, 700, 1536 + 100])
def test_a_shard_that_is_cut_short_is_an_error(tmp_path, cut):
    path = shard(tmp_path / "x.tar")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(CorpusError):
        read(path)


def test_a_damaged_header_is_an_error_and_not_the_end(tmp_path):
    path = shard(tmp_path / "x.tar")
    data = bytearray(path.read_bytes())
    data[2048:2560] = b"x" * 512  # the header of b.flac
    path.write_bytes(data)
    with pytest.raises(CorpusError, match="damaged at byte 2048"):
        read(path)


def test_bytes_of_names_that_are_not_utf_8_are_written_in_hexadecimal(tmp_path):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", encoding="latin-1", format=tarfile.GNU_FORMAT) as tar:
        for name, content in (("röd.wav", b"1"), ("röd.json", json.dumps(ONE).encode())):
            tar.addfile(member(name, len(content)), io.BytesIO(content))
    _, (clip,) = read(path)
    assert clip.name == "x.tar/r%F6d.wav"


@pytest.mark.parametrize(
    ("members", "message", "hint"),
    [
        ({"a.wav": b"1"}, "no column is known to be the label. Columns: none", "--column"),
        ({"a.json": ONE}, "has no clip", "0001.json"),
        ({"a.wav": b"1", "a.json": "[1]"}, "metadata in .json", "an object"),
        ({"a.wav": b"1", "a.json": '{"a":' * 9999}, "metadata in .json", "an object"),
        ({"a.wav": b"1", "a.cls": b"\xff"}, "metadata in .cls", "UTF-8"),
    ],
)
def test_errors_name_what_is_missing_and_what_to_do(tmp_path, members, message, hint):
    with pytest.raises(CorpusError, match=message) as caught:
        read(write_tar(tmp_path / "x.tar", members))
    assert hint in (caught.value.hint or "")


def test_compressed_shards_are_refused_with_advice(tmp_path):
    (tmp_path / "x.tar").write_bytes(b"\x1f\x8b" + bytes(600))
    with pytest.raises(CorpusError, match="as a tar file") as caught:
        read(tmp_path / "x.tar")
    assert "decompressed" in (caught.value.hint or "")


def test_other_archives_and_archives_beside_recordings_are_not_recognised(tmp_path):
    write_tar(tmp_path / "photos/x.tar", {"a.jpg": b"1", "a.json": ONE})
    (tmp_path / "photos/y.tar").write_bytes(b"no tar")
    assert not WebDataset.detect(tmp_path / "photos")
    assert not WebDataset.detect(tmp_path / "photos/x.tar")
    assert not WebDataset.detect(tmp_path / "photos/y.tar")
    shard(tmp_path / "corpus/x.tar")
    assert WebDataset.detect(tmp_path / "corpus")
    (tmp_path / "corpus/a.wav").touch()
    assert not WebDataset.detect(tmp_path / "corpus")


def test_shards_of_the_webdataset_package_are_read(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    with webdataset.ShardWriter(str(tmp_path / "train-%03d.tar"), maxcount=2, verbose=0) as sink:
        for key, fields in (("u1", ONE), ("u2", TWO), ("u3", ONE)):
            sink.write({"__key__": key, "wav": key.encode(), "json": fields})
    assert WebDataset.detect(tmp_path)
    _, clips = read(tmp_path)
    assert [(c.name, c.speaker, c.split) for c in clips] == [
        ("train-000.tar/u1.wav", "anna", None),
        ("train-000.tar/u2.wav", "ben", None),
        ("train-001.tar/u3.wav", "anna", None),
    ]
    assert clips[2].recording.path.read_bytes() == b"u3"
