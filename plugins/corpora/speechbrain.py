"""Corpus in the JSON data files of SpeechBrain: an object of clips by identifier."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ...cache.exchange.columns import plain
from ...cache.exchange.paths import AmbiguousPath, PathFinder
from ...core.contracts.data import Clip, Corpus
from ...core.contracts.errors import CorpusError, RecordingError
from ...core.contracts.hooks import hookimpl
from ...core.toolkit.filenames import AUDIO
from ...core.toolkit.recordings import open_decoder
from ._cells import clean_name, split_of, text_of
from ._examples import ALIASES, Example, Roles, read_clips, speaker_pattern

_PLACEHOLDER = re.compile(r"\{\w+\}")
_HEAD = 4096  # bytes of a file that detect reads
_LARGEST = 1 << 30  # bytes of a file
_PATHS = {plain(alias) for alias in ALIASES["path"]}
_FIRST_KEYS = re.compile(r'\ufeff?\s*\{\s*"(?:[^"\\]|\\.)*"\s*:\s*\{(.*)', re.DOTALL)


class SpeechBrain(Corpus):
    """JSON files of SpeechBrain recipes: ``{"id": {"wav": path, "emo": label, ...}, ...}``.

    The path is a JSON file, or a folder with one file for each part of a split (``train.json``,
    ``valid.json``, ``test.json``); the parts are the split if training and test both exist.
    An entry needs a recording (``wav``, ``file``, ``path``) and a label (``emo``, ``emotion``,
    ``label``); ``spk_id``, ``speaker``, ``split``, ``start``, ``stop`` and ``duration`` are read if
    they exist, and other fields become attributes. The
    clip's name is its identifier. A recording may also be given as
    ``{"file": path, "start": sample, "stop": sample}``.

    Placeholders such as ``{data_root}`` are replaced by the parameter `root`. Relative paths start
    there, or at the folder of the JSON file. A recording that does not exist at its path, for
    instance because the file was prepared on another machine, is searched below `root` by the last
    components of its path. Whole numbers in ``start`` and ``stop`` are samples, as in SpeechBrain;
    other numbers are seconds.

    Parameters
    ----------
    path : Path
        The JSON file, or the folder of JSON files.
    root : str
        Folder of the recordings; empty means the folder of the JSON file.
    speaker : str
        Regular expression that is searched in each identifier. The match of its group (of the
        group called ``speaker``, if there are several) is the speaker. If empty, a field is used.

    References
    ----------
    M. Ravanelli et al., SpeechBrain: A general-purpose speech toolkit, 2021.
    https://speechbrain.readthedocs.io/en/latest/tutorials/basics/data-loading-pipeline.html
    """

    name = "speechbrain"
    priority = 5

    def __init__(self, path: Path | None, *, root: str = "", speaker: str = "") -> None:
        super().__init__(path)
        self._root = Path(root).expanduser() if root else None
        self._speaker = speaker_pattern(speaker, self.name)

    @classmethod
    def detect(cls, path: Path) -> bool:
        if path.is_dir():
            return any(_looks_right(file) for file in _split_files(path))
        return path.suffix.lower() == ".json" and _looks_right(path)

    def clips(self) -> Iterable[Clip]:
        assert self.path is not None
        examples = [example for file in self._files() for example in self._examples(file)]
        return read_clips(
            self,
            examples,
            speaker=self._speaker,
            hint="Give the folder of the recordings: --set speechbrain.root=FOLDER",
        )

    def _files(self) -> list[Path]:
        assert self.path is not None
        if not self.path.is_dir():
            return [self.path]
        files = _split_files(self.path)
        if not files:
            raise CorpusError(
                f"{self.path} has no JSON file of a part of a split.",
                hint="Expected files are train.json, valid.json and test.json; a file with another "
                "name can be given by its path.",
            )
        return files

    def _examples(self, file: Path) -> Iterator[Example]:
        assert self.path is not None
        entries = _read_entries(file)
        cells = {key: _cells(entry) for key, entry in entries.items()}
        roles = Roles((column for c in cells.values() for column in c), self.columns)
        column = roles.use("path")
        if entries and column is None:
            raise CorpusError(
                f"{file}: no field is known to be the recording. Fields: {roles.listed()}.",
                hint="Name the field: --column path=FIELD",
            )
        self.columns_used["path"] = str(column)
        split = split_of(file.stem) if self.path.is_dir() else None
        root = (self._root or file.parent).absolute()
        paths = PathFinder(root, {_path(text, root) for c in cells.values()
                                  if (text := c.get(str(column)))}, suffixes=AUDIO)  # fmt: skip
        for key, fields in cells.items():
            where = f"{file.name}, entry {key!r}"
            name = clean_name(key)
            text = fields.get(str(column), "")
            if not text:
                self.pass_over(name, "no recording")
                continue
            recording = _located(paths, _path(text, root), where)
            value = entries[key][str(column)]
            span = value if isinstance(value, dict) else entries[key]
            try:
                fields |= _span_in_seconds(span, recording, where)
            except RecordingError:
                self.pass_over(name, "the file can't be read")
                continue
            yield Example(fields, where, name, recording, f"{file.stem}/{name}", split)


def _path(text: str, root: Path) -> str:
    """Return the path of a recording, with placeholders replaced."""
    return _PLACEHOLDER.sub(lambda _: str(root), text)


def _located(paths: PathFinder, name: str, where: str) -> Path:
    try:
        return paths.find(name)
    except AmbiguousPath as several:
        raise CorpusError(
            f"{where}: {several}",
            hint="Give the folder at which the paths start: --set speechbrain.root=FOLDER",
        ) from None


def _split_files(folder: Path) -> list[Path]:
    """Return the JSON files of a folder whose names state a part of a split, sorted."""
    try:
        files = sorted(folder.glob("*.json"))
    except OSError:
        return []
    return [file for file in files if split_of(file.stem)]


def _looks_right(file: Path) -> bool:
    """Return True if the first entry of a JSON file is an object with the path of a recording."""
    try:
        with file.open("rb") as stream:
            head = stream.read(_HEAD).decode("utf-8", "replace")
    except OSError:
        return False
    match = _FIRST_KEYS.match(head)
    fields = re.findall(r'"([^"\\]*)"\s*:', match[1]) if match else []
    return any(plain(field) in _PATHS for field in fields)


def _read_entries(file: Path) -> dict[str, dict[str, Any]]:
    """Return the entries of a JSON file by identifier.

    Raises
    ------
    CorpusError
        If the file is not a JSON object of objects, or an identifier occurs twice.
    """
    try:
        if file.stat().st_size > _LARGEST:
            raise CorpusError(f"{file} is larger than {_LARGEST >> 20} MiB.")
        text = file.read_text(encoding="utf-8-sig")
        data = json.loads(text, object_pairs_hook=_Pairs)
    except OSError as error:
        raise CorpusError(f"{file} can't be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{file} is not valid JSON: {error}.") from None
    if not isinstance(data, _Pairs) or not all(isinstance(v, dict) for v in data.values()):
        raise CorpusError(
            f"{file} is not a JSON object of JSON objects.",
            hint='Expected is {"id": {"wav": path, "emo": label, ...}, ...}.',
        )
    if data.repeated:
        raise CorpusError(f"{file}: the identifier {data.repeated!r} occurs twice.")
    return dict(data)


class _Pairs(dict[str, Any]):
    """JSON object that remembers a repeated key."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        repeated = [k for k, n in Counter(k for k, _ in pairs).items() if n > 1]
        self.repeated = repeated[0] if repeated else None


def _cells(entry: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields of an entry as text; a recording with a span gives its file."""
    cells = {}
    for field, value in entry.items():
        text = text_of(value.get("file") if isinstance(value, dict) else value)
        if text:
            cells[field] = text
    return cells


def _span_in_seconds(entry: Any, recording: Path, where: str) -> dict[str, str]:
    """Return start and stop in seconds if an entry states both as whole numbers: samples.

    Raises
    ------
    RecordingError
        If the recording can't be read, so that its sampling rate is unknown.
    CorpusError
        If a number is no time.
    """
    if not isinstance(entry, dict):
        return {}
    span = {key: entry.get(key) for key in ("start", "stop")}
    if not all(type(number) is int for number in span.values()) or not recording.is_file():
        return {}
    with open_decoder(recording) as decoder:
        rate = decoder.rate
    try:
        return {key: repr(number / rate) for key, number in span.items() if number is not None}
    except OverflowError:
        raise CorpusError(f"{where}: start or stop is too large to be a sample.") from None


@hookimpl
def fusion_corpora() -> list[type[Corpus]]:
    return [SpeechBrain]
