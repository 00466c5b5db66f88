"""Corpus in WebDataset's tar shards: each recording beside its metadata, with equal stem."""

from __future__ import annotations

import glob
import itertools
import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ...core.contracts.data import Clip, Corpus
from ...core.contracts.errors import CorpusError
from ...core.contracts.hooks import hookimpl
from ...core.toolkit.filenames import is_audio, some_audio_files
from ._cells import clean_name, inner_path, split_of, text_of
from ._examples import Example, read_clips, speaker_pattern
from ._recordings import LARGEST, unpack

_TEXTS = (".json", ".cls", ".txt")
_LARGEST_TEXT = 1 << 20  # bytes of one file of metadata
_FIRST_MEMBERS = 20  # members of a shard that detect reads
_MOST_SHARDS = 100_000
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")


class WebDataset(Corpus):
    """Tar shards of WebDataset: ``0001.flac`` beside ``0001.json``, ``0001.cls``, ``0001.txt``.

    The path is a tar file, or a folder with tar files. The fields of a JSON object are columns
    (``label``, ``emotion``, ``speaker``, ``split``, ``start`` ...; a field of an inner object is
    called ``outer.field``). The text of ``.cls`` is the column ``cls``, which is the label if no
    field is; the text of ``.txt`` is the transcript. Compressed shards are not read. The
    split follows from a field, else from the names of shards and folders (``train-0001.tar``) if
    every shard has a part, and training and test both occur.

    A clip's name is the name of the shard, then the name of the recording in it. The recordings
    are unpacked once, by content, into the folder ``unpacked`` beside the feature cache
    (environment variable ``FUSION_UNPACKED``); the folder may be deleted at any time.

    Parameters
    ----------
    path : Path
        The tar file, or the folder of tar files.
    shards : str
        Names of the shards in the folder, with ranges in braces or wildcards:
        ``train-{000..010}.tar``, ``*/train-*.tar``. Empty means all tar files in the folder and
        in its subfolders train, val and test.
    speaker : str
        Regular expression that is searched in each clip's name. The match of its group (of the
        group called ``speaker``, if there are several) is the speaker. If empty, a field is used.

    References
    ----------
    https://github.com/webdataset/webdataset
    """

    name = "webdataset"
    priority = 5

    def __init__(self, path: Path | None, *, shards: str = "", speaker: str = "") -> None:
        super().__init__(path)
        self._shards = shards
        self._speaker = speaker_pattern(speaker, self.name)

    @classmethod
    def detect(cls, path: Path) -> bool:
        if not path.is_dir():
            return path.suffix.lower() == ".tar" and _looks_right(path)
        shard = next(iter(_tars_in(path)), None)
        return shard is not None and _looks_right(shard) and not some_audio_files(path)

    def clips(self) -> Iterable[Clip]:
        shards = self._files()
        return read_clips(
            self,
            itertools.chain.from_iterable(map(self._examples, shards)),
            speaker=self._speaker,
            hint="Expected are a recording and its metadata with equal names: 0001.flac and "
            "0001.json (fields label and speaker) or 0001.cls.",
        )

    def _files(self) -> list[Path]:
        assert self.path is not None
        if not self.path.is_dir():
            return [self.path]
        shards = list(_named(self.path, self._shards)) if self._shards else _tars_in(self.path)
        if not shards:
            raise CorpusError(
                f"{self.path} has no shard {self._shards or '*.tar'}.",
                hint="--set webdataset.shards='train-{000..010}.tar' names the shards.",
            )
        return shards

    def _examples(self, shard: Path) -> Iterator[Example]:
        assert self.path is not None
        folder = self.path if self.path.is_dir() else self.path.parent
        inner = shard.relative_to(folder).as_posix()
        split = split_of(*reversed(PurePosixPath(inner).with_suffix("").parts))
        samples = self._read(shard, inner)
        for stem, (name, recording) in sorted(samples.recordings.items()):
            where = f"{inner}, {name}"
            cells = _cells(samples.texts_of(stem), where)
            yield Example(cells, where, f"{inner}/{name}", recording, split=split)

    def _read(self, shard: Path, inner: str) -> _Samples:
        """Read all members of a shard in one pass; unpack the recordings.

        Raises
        ------
        CorpusError
            If the shard is not a tar file, or is cut short.
        """
        samples = _Samples()
        try:
            size = shard.stat().st_size
            with shard.open("rb") as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
                for member in tar:
                    if tar.offset > size:  # tarfile would read on to the stated end
                        raise CorpusError(f"{shard} ends within {clean_name(member.name)}.")
                    if reason := _refusal(member):
                        if not member.isdir():
                            self.pass_over(f"{inner}/{clean_name(member.name)}", reason)
                        continue
                    content = tar.extractfile(member)
                    assert content is not None
                    samples.add(clean_name(member.name), content.read(member.size))
            _check_end(shard, tar.offset)
        except (tarfile.TarError, EOFError, ValueError) as error:
            raise CorpusError(
                f"{shard} can't be read as a tar file: {error}.",
                hint="Compressed shards (.tar.gz) must be decompressed first.",
            ) from None
        except OSError as error:
            raise CorpusError(f"{shard} can't be read: {error.strerror or error}.") from error
        return samples


class _Samples:
    """Recordings and metadata of one shard."""

    def __init__(self) -> None:
        self.recordings: dict[str, tuple[str, Path]] = {}  # name in the shard and file, by stem
        self._texts: dict[str, dict[str, bytes]] = {}  # by stem and suffix
        self._texts_by_key: dict[str, dict[str, bytes]] = {}
        self._keys: Counter[str] = Counter()  # number of recordings

    def add(self, name: str, data: bytes) -> None:
        """Add a member; a later member of the same name replaces an earlier one, as in tar."""
        path = PurePosixPath(name)
        stem, suffix = str(path.with_suffix("")), path.suffix.lower()
        if suffix in _TEXTS:
            self._texts.setdefault(stem, {})[suffix] = data
            self._texts_by_key.setdefault(_key(stem), {})[suffix] = data
        else:
            self._keys[_key(stem)] += stem not in self.recordings
            self.recordings[stem] = (name, unpack(data, name))

    def texts_of(self, stem: str) -> Mapping[str, bytes]:
        """Return the metadata of a recording by suffix.

        WebDataset's own rule is that a sample's name ends at the first dot (``1.audio.wav``,
        ``1.meta.json``). The rule is used if no metadata has the recording's stem, and the sample
        has one recording.
        """
        if stem in self._texts or self._keys[_key(stem)] > 1:
            return self._texts.get(stem, {})
        return self._texts_by_key.get(_key(stem), {})


def _key(stem: str) -> str:
    """Return the name of a sample by WebDataset's rule."""
    folder, _, name = stem.rpartition("/")
    return f"{folder}/{name.partition('.')[0]}"


def _refusal(member: tarfile.TarInfo) -> str | None:
    """Return why a member of a shard is not read; None for a good member."""
    if not member.isreg() or member.issparse():
        return "not a regular file"
    if inner_path(member.name) is None:
        return "outside the folder"
    suffix = PurePosixPath(member.name).suffix.lower()
    if suffix not in _TEXTS and not is_audio(PurePosixPath(member.name).name):
        return f"not a recording ({suffix or 'no suffix'})"
    largest = _LARGEST_TEXT if suffix in _TEXTS else LARGEST
    return None if member.size <= largest else f"larger than {largest >> 20} MiB"


def _check_end(shard: Path, offset: int) -> None:
    """Raise if the members of a shard end before the shard does.

    The standard library treats a damaged header as the end of the archive. A good archive ends with
    zeros.
    """
    with shard.open("rb") as stream:
        stream.seek(offset)
        if any(stream.read(tarfile.BLOCKSIZE)):
            raise CorpusError(f"{shard} is damaged at byte {offset}.")


def _cells(texts: Mapping[str, bytes], where: str) -> dict[str, str]:
    """Return the columns of a sample.

    Raises
    ------
    CorpusError
        If a text is not in UTF-8, or the JSON file holds no object.
    """
    cells: dict[str, str] = {}
    for suffix in _TEXTS:
        try:
            text = texts.get(suffix, b"").decode("utf-8-sig").strip()
            if suffix != ".json":
                cells[suffix[1:]] = text
            elif text:
                cells |= _flat(json.loads(text))
        except (ValueError, RecursionError, AttributeError) as error:
            raise CorpusError(
                f"{where}: the metadata in {suffix} can't be read: {error}.",
                hint='Expected are UTF-8 and, in .json, an object: {"label": "happy", ...}.',
            ) from None
    return {column: text for column, text in cells.items() if text}


def _flat(fields: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return the fields of a JSON object as text; inner objects give ``outer.field``."""
    cells: dict[str, str] = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            cells |= _flat(value, f"{prefix}{name}.")
        else:
            cells[prefix + name] = text_of(value)
    return cells


def _tars_in(folder: Path) -> list[Path]:
    """Return the tar files in a folder and in its subfolders named after parts of a split."""
    try:
        folders = [folder, *(f for f in folder.iterdir() if f.is_dir() and split_of(f.name))]
        files = [file for place in folders for file in place.glob("*.tar")]
    except OSError:
        return []
    return sorted(file for file in files if file.is_file() and not file.name.startswith("."))


def _named(folder: Path, pattern: str) -> list[Path]:
    """Return the shards that a pattern with ranges and wildcards names, in order.

    Raises
    ------
    CorpusError
        If the pattern leaves the folder, has too many names, or a named shard does not exist.
    """
    if inner_path(pattern) is None:
        raise CorpusError(f"webdataset.shards={pattern!r} is not a path in {folder}.")
    names = list(itertools.islice(_expanded(pattern), _MOST_SHARDS + 1))
    if len(names) > _MOST_SHARDS:
        raise CorpusError(f"webdataset.shards={pattern!r} names more than {_MOST_SHARDS} shards.")
    shards: dict[Path, None] = {}  # a set in order
    for name in names:
        try:
            files = sorted(folder.glob(name)) if glob.has_magic(name) else [folder / name]
        except ValueError as error:
            raise CorpusError(f"webdataset.shards={pattern!r} is not a pattern: {error}.") from None
        shards |= dict.fromkeys(files)
    missing = [file for file in shards if not file.is_file()]
    if missing:
        raise CorpusError(f"webdataset.shards={pattern!r}: {missing[0]} does not exist.")
    return list(shards)


def _expanded(pattern: str) -> Iterator[str]:
    """Yield the names of a pattern with ranges: ``{08..10}`` gives 08, 09, 10."""
    match = _BRACES.search(pattern)
    if match is None:
        yield pattern
        return
    for number in range(int(match[1]), int(match[2]) + 1):
        first = f"{pattern[: match.start()]}{number:0{len(match[1])}}"
        yield from (first + rest for rest in _expanded(pattern[match.end() :]))


def _looks_right(shard: Path) -> bool:
    """Return True if the first members of a shard are recordings and their metadata."""
    try:
        with tarfile.open(shard, mode="r:") as tar:
            names = [member.name for member in itertools.islice(tar, _FIRST_MEMBERS)]
    except (tarfile.TarError, OSError, EOFError, ValueError):
        return False
    paths = [PurePosixPath(name) for name in names]
    recordings = {_key(str(p.with_suffix(""))) for p in paths if is_audio(p.name)}
    texts = {_key(str(p.with_suffix(""))) for p in paths if p.suffix.lower() in _TEXTS}
    return bool(recordings & texts)


@hookimpl
def fusion_corpora() -> list[type[Corpus]]:
    return [WebDataset]
