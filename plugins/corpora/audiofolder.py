"""Corpus in Hugging Face's layouts: AudioFolder with metadata, or parquet with audio bytes."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ...cache.exchange.columns import plain
from ...cache.exchange.tables import read_table
from ...core.contracts.data import Clip, Corpus
from ...core.contracts.errors import CorpusError
from ...core.contracts.hooks import hookimpl
from ._audio_parquet import AudioParquet
from ._cells import clean_name, inner_path, split_of
from ._examples import Example, Roles, read_clips, speaker_pattern

_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_SHARD = re.compile(r".*-\d{5}-of-\d{5}\.parquet")
_FOLDERS = 200  # folders, at most two levels deep, that are searched for files of metadata
_HEAD = 65536  # bytes of a file that detect reads


class AudioFolder(Corpus):
    """Hugging Face data sets on disk: AudioFolder with metadata, or parquet with audio bytes.

    AudioFolder: a file ``metadata.csv``, ``metadata.jsonl`` or ``metadata.parquet`` with a column
    ``file_name``, in the folder or in its subfolders (one for each part of a split). File names
    are relative to the folder of the metadata.

    Parquet: ``data/train-00000-of-00001.parquet`` and other parquet files whose column ``audio``
    holds ``bytes`` and ``path``; needs the extra ``parquet``. Names of classes (ClassLabel) are
    read from the schema. The recordings are unpacked once, by content, into the folder
    ``unpacked`` beside the feature cache (environment variable ``FUSION_UNPACKED``); the folder
    may be deleted at any time.

    Other columns are recognised by name (``label``, ``emotion``, ``speaker``, ``speaker_id``,
    ``split``, ``start``, ``end`` ...) or chosen by the user; unused columns become attributes. The
    split follows from the column ``split``, else from the names of files and folders if every clip
    has a part, and training and test both occur. A folder with one folder per class and without
    metadata is read by the corpus ``folder``.

    Parameters
    ----------
    path : Path
        The folder, or one parquet file.
    speaker : str
        Regular expression that is searched in each clip's name. The match of its group (of the
        group called ``speaker``, if there are several) is the speaker. If empty, a column is used.

    References
    ----------
    https://huggingface.co/docs/datasets/audio_dataset
    """

    name = "audiofolder"
    priority = 5

    def __init__(self, path: Path | None, *, speaker: str = "") -> None:
        super().__init__(path)
        self._speaker = speaker_pattern(speaker, self.name)

    @classmethod
    def detect(cls, path: Path) -> bool:
        if not path.is_dir():
            return path.suffix.lower() == ".parquet" and _has_audio(path)
        parquets = itertools.islice(_parquets_in(path), 3)
        return any(map(_has_file_names, _metadata_in(path))) or any(map(_has_audio, parquets))

    def clips(self) -> Iterable[Clip]:
        assert self.path is not None
        parquets = list(_parquets_in(self.path)) if self.path.is_dir() else [self.path]
        tables = [file for file in map(AudioParquet, parquets) if file.has_audio(self.columns)]
        examples: Iterable[Example]
        if tables:
            examples = itertools.chain.from_iterable(
                table.examples(self, self._inner(table.file)) for table in tables
            )
        else:
            files = list(_metadata_in(self.path))
            if not files:
                raise CorpusError(
                    f"{self.path} has neither {', '.join(_METADATA)} nor a parquet file with a "
                    "column of recordings.",
                    hint="A folder with one folder per class is read by --data folder=PATH.",
                )
            examples = itertools.chain.from_iterable(map(self._listed, files))
        return read_clips(
            self,
            examples,
            speaker=self._speaker,
            hint="The names in the column file_name start at the folder of the metadata.",
        )

    def _inner(self, file: Path) -> str:
        """Return the path of a file in the corpus, with slashes."""
        assert self.path is not None
        return file.relative_to(self.path if self.path.is_dir() else file.parent).as_posix()

    def _listed(self, file: Path) -> Iterator[Example]:
        """Yield the examples of one file of metadata."""
        inner = self._inner(file)
        rows = _metadata(file)
        roles = Roles((column for row in rows for column in row), self.columns)
        official = next((c for c in roles.columns if plain(c) == "filename"), None)
        column = self.columns.names.get("path") or official or roles.use("path")
        if column is None:
            raise CorpusError(
                f"{file} has no column file_name. Columns: {roles.listed()}.",
                hint="Name the column: --column path=COLUMN",
            )
        self.columns_used["path"] = column
        for number, row in enumerate(rows, 1):
            where = f"{inner}, row {number}"
            inside = inner_path(row.get(column, ""))
            if inside is None:
                name = row.get(column)
                reason = "outside the folder" if name else "no recording"
                self.pass_over(clean_name(name) if name else where, reason)
                continue
            name = clean_name(f"{Path(inner).parent.as_posix()}/{inside}")
            split = split_of(*reversed(name.split("/")[:-1]))
            yield Example(row, where, name, file.parent / inside, split=split)


# -- files -----------------------------------------------------------------------------


def _folders(root: Path) -> list[Path]:
    """Return a folder and its subfolders, two levels deep and bounded in number, sorted."""
    level = folders = [root]
    for _ in range(2):
        level = [inner for folder in level for inner in _subfolders(folder)]
        folders = (folders + level)[:_FOLDERS]
        level = level[:_FOLDERS]
    return folders


def _subfolders(folder: Path) -> list[Path]:
    """Return the visible subfolders of a folder, sorted; none if it can't be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(e.path) for e in entries if e.name[0] != "." and e.is_dir())
    except OSError:
        return []


def _metadata_in(root: Path) -> Iterator[Path]:
    """Yield the files of metadata: one for each folder, the first of the accepted names."""
    for folder in _folders(root):
        files = [folder / name for name in _METADATA if (folder / name).is_file()]
        yield from files[:1]


def _parquets_in(root: Path) -> Iterator[Path]:
    for folder in _folders(root):
        files = sorted(folder.glob("*.parquet"))
        yield from (f for f in files if f.name not in _METADATA and f.name[0] != ".")


def _has_audio(file: Path) -> bool:
    """Return True if a parquet file has a column of recordings, without reading rows."""
    if importlib.util.find_spec("pyarrow") is None:
        return bool(_SHARD.fullmatch(file.name))  # reading then names the missing package
    try:
        return AudioParquet(file).has_audio()
    except CorpusError:
        return False


def _has_file_names(file: Path) -> bool:
    """Return True if a file of metadata has the column file_name."""
    try:
        if file.suffix == ".parquet":
            if importlib.util.find_spec("pyarrow") is None:
                return False
            columns: Iterable[str] = AudioParquet(file).schema().names
        else:
            with file.open("rb") as stream:
                line = stream.readline(_HEAD).decode("utf-8-sig").strip()
            columns = re.split(r'[,;\t"]+', line)
            if file.suffix == ".jsonl":
                first = json.loads(line)
                columns = list(first) if isinstance(first, dict) else []
    except (OSError, ValueError, RecursionError, CorpusError):
        return False
    return any(plain(column) == "filename" for column in columns)


# -- metadata --------------------------------------------------------------------------


def _metadata(file: Path) -> list[dict[str, str]]:
    """Return the rows of a file of metadata as text by column, without empty cells.

    Raises
    ------
    CorpusError
        If the file can't be read in the format of its suffix.
    """
    table = read_table(file, {}, fault=CorpusError)
    return [{table.names[c]: text for c, text in row.cells.items()} for row in table.rows]


@hookimpl
def fusion_corpora() -> list[type[Corpus]]:
    return [AudioFolder]
