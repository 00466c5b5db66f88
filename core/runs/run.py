"""The run directory: everything that one run was asked, did and found.

::

    RUN/
      run.json            configuration, versions, modalities, split, models
      clips.csv           every clip: class, speaker, corpus, content digest, part in each fold
      metrics.jsonl       one line per epoch of each training
      fold0/mel/          one folder per training: modalities, fused, control
        epochs.jsonl      its epochs
        checkpoint.pt     while it trains; trial3.pt where it is tuned
        trials.jsonl      where it is tuned: what was tried, and how it went
        model.safetensors when it is done
        training.json     when it is done: best epoch, seconds, parameters
        val.npz, test.npz what it says about the fold's clips, once it was asked
      selection.json      what validation chose, written before test is read
      predictions.csv     per clip and model: predicted class and probabilities, on test
      confusion.csv       confusion matrix of each model, on test
      results.json        the table, the comparison and the verdict
      diagnosis.json      what may be wrong: findings, rules, numbers
      report.html         all of it, for people
      explain.json        what fusion explain found, where it was asked
      trace.jsonl         with --trace-hooks: what plugins' hooks took
      model.safetensors   the model handed out
      speakers/           of a speaker-adapted run: each speaker's mean and variance, by modality
"""

from __future__ import annotations

import contextlib
import csv
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from ...cache.shards.csv_lines import csv_lines
from ..contracts import Clip, Recording
from ..contracts.errors import RunError, StorageError
from ..data.dataset import RunData
from ..data.presence import Flags
from ..data.split_modes import PARTS
from ..data.splits import Split
from ..registry.registry import Registry
from ..registry.trace import FILE as TRACE
from ..registry.trace import about
from ..toolkit import run_files
from .config import RunConfig
from .record import Member, RunRecord

RECORD = "run.json"
CLIPS = "clips.csv"
RESULTS = "results.json"
WEIGHTS = "model.safetensors"
_LOCK = ".lock"
_CLIP_COLUMNS = ("name", "corpus", "speaker", "label", "key", "path", "start", "end")
_ABSENT = "absent"  # a column that is there where some clip lacks a modality: their names


class OutputFolder:
    """A folder that one command writes to, and no other at the same time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: BinaryIO | None = None

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make a new folder; it is locked, until the end of a ``with`` block or :meth:`release`.

        Raises
        ------
        RunError
            If there is something in it already, or another process works in it.
        StorageError
            If it can't be made.
        """
        _check_free(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"The run directory {path} can't be made: {error.strerror or error}.",
                hint="Name a folder that you may write to with --out.",
            ) from error
        folder = cls(path)
        folder._acquire()
        try:
            _check_free(path)  # again: another process may have been quicker, and is done
        except RunError:
            folder.release()
            raise
        return folder

    # -- files -----------------------------------------------------------------------

    def read_json(self, name: str) -> dict[str, Any]:
        return run_files.read_json(self.path / name)

    def write_json(self, name: str, data: Mapping[str, Any]) -> None:
        run_files.write_json(self.path, name, data)

    def write_text(self, name: str, text: str) -> None:
        """Replace a file by `text`, whole or not at all."""
        run_files.write_text(self.path, name, text)

    def write_csv(self, name: str, rows: Iterable[Sequence[Any]]) -> None:
        self.write_text(name, "".join(csv_lines(rows)))

    # -- the lock --------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep the folder to this process; a lock goes with the process that holds it.

        A folder that is locked already stays so afterwards.

        Raises
        ------
        RunError
            If another process works in it.
        """
        held = self._lock is not None
        self._acquire()
        try:
            yield
        finally:
            if not held:
                self.release()

    def release(self) -> None:
        """Let other processes work in the folder."""
        if self._lock is None:
            return
        import fcntl

        fcntl.flock(self._lock, fcntl.LOCK_UN)  # a process forked meanwhile has the file as well
        self._lock.close()
        self._lock = None

    def _acquire(self) -> None:
        about(self.path)
        if self._lock is not None:
            return
        try:
            import fcntl
        except ImportError:  # no such locks on Windows
            return
        path = self.path / _LOCK
        try:
            # Never through a link: the file that it names would be overwritten.
            number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise StorageError(
                f"The lock {path} can't be opened: {error.strerror or error}.",
                hint="Delete it, if it is a link, or mend the permissions of the folder.",
            ) from error
        file = os.fdopen(number, "r+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = file.read(200).decode("utf-8", errors="replace").strip()
            file.close()
            by = f" ({holder})" if holder else ""
            raise RunError(
                f"Another process works on the run {self.path}{by}.",
                hint="Wait for it, or name another folder.",
            ) from error
        file.truncate()
        since = datetime.now().strftime("%Y-%m-%d %H:%M:%S")
        file.write(f"process {os.getpid()} on {platform.node()}, since {since}\n".encode())
        file.flush()
        self._lock = file


class Run(OutputFolder):
    """A run directory: what was asked, its clips, its trainings, its outcome; read once.

    Made by :meth:`create` or :meth:`open`, and handed on from there.

    Parameters
    ----------
    registry : Registry, optional
        Where the run's methods are found; by default among the plugins that the run names.
    """

    def __init__(self, path: Path, registry: Registry | None = None) -> None:
        super().__init__(path)
        self._registry = registry

    @classmethod
    def create(cls, path: Path, registry: Registry | None = None) -> Self:
        """Make a new run directory, locked; :meth:`begin` makes it one that can be opened."""
        run = super().create(path)
        run._registry = registry
        return run

    @classmethod
    def open(cls, path: Path, registry: Registry | None = None) -> Self:
        """Open a run directory that is there.

        Raises
        ------
        RunError
            If it is none, was written by a newer version, or its run.json is damaged.
        """
        if not cls.exists(path):
            raise RunError(
                f"{path} is no run directory: it holds no run.json.",
                hint="Give a folder that fusion run made (runs/... by default).",
            )
        run = cls(path, registry)
        _ = run.record
        return run

    @staticmethod
    def exists(path: Path) -> bool:
        """Whether there is a run at `path`, begun at least."""
        return (path / RECORD).is_file()

    def begin(self, record: RunRecord, data: RunData) -> None:
        """Write down what trainings read: the clips and the record."""
        self.write_csv(CLIPS, _clip_rows(data))
        self._write_record(record)

    def finish(self, handed_out: Sequence[Member], seconds: float) -> None:
        """Write down the models handed out: this makes the run finished."""
        self._write_record(self.record.finished(handed_out, seconds))

    def _write_record(self, record: RunRecord) -> None:
        self.write_json(RECORD, record.to_json())
        # As another process reads it: in JSON a tuple is a list, and records are compared.
        self.record = self._read_record()

    # -- what it was asked -----------------------------------------------------------

    @cached_property
    def record(self) -> RunRecord:
        """What run.json holds."""
        return self._read_record()

    def _read_record(self) -> RunRecord:
        return RunRecord.from_json(self.read_json(RECORD), self.path / RECORD)

    @property
    def config(self) -> RunConfig:
        """Return the configuration, which is what was asked for."""
        return self.record.config

    @cached_property
    def registry(self) -> Registry:
        """Where the run's methods are found."""
        return self._registry or Registry(self.config.plugins)

    def with_plugins(self, requests: Sequence[str]) -> Run:
        """The run with the plugins that were asked for, which another process may have named."""
        if tuple(requests) == self.registry.requests:
            return self
        return Run.open(self.path, Registry(requests))

    @cached_property
    def data(self) -> RunData:
        """Clips and splits as the run was prepared with.

        Raises
        ------
        RunError
            If clips.csv is damaged, or another run's.
        """
        record, path = self.record, self.path / CLIPS
        try:
            with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
                rows = list(csv.DictReader(file))
            clips = tuple(_clip(row) for row in rows)
            keys = tuple(row["key"] for row in rows)
            number = {name: i for i, name in enumerate(record.classes)}
            targets = np.array([number[clip.label] for clip in clips], dtype=np.int64)
            splits = tuple(
                _split(rows, fold, record.split.speaker_independent)
                for fold in range(record.split.folds)
            )
            absent = _absent(rows)
        except (OSError, KeyError, ValueError, TypeError, csv.Error) as error:
            raise RunError(f"{path} can't be read: {error!r}") from error
        if tuple(split.digest(clips) for split in splits) != record.split.digests:
            raise RunError(f"{path} is not the split that this run was made with.")
        return RunData(clips, keys, targets, record.classes, splits, absent)

    # -- its trainings and its outcome -------------------------------------------------

    def training(self, name: str) -> Path:
        """Folder of one training, e.g. ``"fold0/mel"``."""
        return self.path / name

    def finished(self, name: str) -> bool:
        """Whether that training is done."""
        return (self.training(name) / "training.json").is_file()

    def summary(self, name: str) -> dict[str, Any]:
        """What training.json says of a training that is done."""
        return self.read_json(f"{name}/training.json")

    def is_complete(self) -> bool:
        """Whether the run is finished and nothing of its outcome is missing."""
        self.record = self._read_record()  # another process may have finished it
        files = (self.path / RESULTS, self.path / WEIGHTS)
        return self.record.handed_out is not None and all(file.is_file() for file in files)


def _check_free(path: Path) -> None:
    """Raise unless a folder is empty, or not there, or one in which a run failed at once."""
    if not path.exists():
        return
    if path.is_dir() and {file.name for file in path.iterdir()} <= {CLIPS, TRACE, _LOCK}:
        return
    raise RunError(
        f"The run directory {path} exists already and is not empty.",
        hint=f"Go on with that run: fusion run --resume {path}; or name another: --out."
        if Run.exists(path)
        else "Name another folder with --out.",
    )


# -- clips.csv -----------------------------------------------------------------------


def _clip_rows(data: RunData) -> Iterator[Sequence[Any]]:
    """The header, and a row per clip."""
    parts = np.full((len(data.clips), len(data.splits)), "", dtype="<U5")
    for fold, split in enumerate(data.splits):
        for part in PARTS:
            parts[getattr(split, part), fold] = part
    lacking = [_ABSENT] if data.absent else []
    yield [*_CLIP_COLUMNS, *lacking, *(f"fold{fold}" for fold in range(len(data.splits)))]
    for index, (clip, key, row) in enumerate(zip(data.clips, data.keys, parts, strict=True)):
        place = clip.recording
        end = "" if place.end is None else place.end
        gone = [" ".join(m for m, flags in data.absent.items() if flags[index])]
        yield [clip.name, clip.corpus, clip.speaker, clip.label, key, place.path, place.start,
               end, *gone[: len(lacking)], *row]  # fmt: skip


def _clip(row: Mapping[str, str]) -> Clip:
    end = float(row["end"]) if row["end"] else None
    recording = Recording(Path(row["path"]), float(row["start"]), end)
    return Clip(recording, row["name"], row["label"], row["speaker"], row["corpus"])


def _absent(rows: Sequence[Mapping[str, str]]) -> dict[str, Flags]:
    lacking = [(row.get(_ABSENT) or "").split() for row in rows]  # None in a row cut short
    names = dict.fromkeys(name for each in lacking for name in each)
    return {m: np.array([m in each for each in lacking], dtype=np.bool_) for m in names}


def _split(rows: Sequence[Mapping[str, str]], fold: int, speaker_independent: bool) -> Split:
    column = np.array([row[f"fold{fold}"] for row in rows])
    train, val, test = (np.flatnonzero(column == part).astype(np.int64) for part in PARTS)
    return Split(train, val, test, fold, speaker_independent)
