"""Run directory: the configuration, clips, trainings and results of one run.

::

    RUN/
      run.json            configuration, versions, modalities, split, models
      clips.csv           every clip: class, speaker, corpus, content digest, part in each fold
      signals.csv         length, level, clipping and constant parts of each recording, if measured
      windows.csv         windows of the long clips, if any: start and end in the file, digest
      metrics.jsonl       one line per epoch of each training
      fold0/mel/          one folder per training: modalities, fused, control
        epochs.jsonl      one line per epoch of this training
        checkpoint.pt     during training only; trial3.pt in trial 3 of a tuned training
        trials.jsonl      for a tuned training: settings and outcome of each trial
        model.safetensors weights of the best epoch, written when the training is done
        training.json     written when the training is done: best epoch, seconds, parameters
        val.npz, test.npz predictions for the fold's validation and test clips
      selection.json      choices on validation, written before the test clips are read
      predictions.csv     per clip and model: predicted class and probabilities, on test
      confusion.csv       confusion matrix of each model, on test
      results.json        the table, the comparisons and the verdict
      diagnosis.json      possible problems: findings, rules, numbers
      report.html         the report as a web page
      explain.json        written by fusion explain
      trace.jsonl         with --trace-hooks: time spent in the hooks of each plugin
      model.safetensors   the chosen model
      speakers/           for a speaker-adapted run: each speaker's mean and variance, by modality
"""

from __future__ import annotations

import contextlib
import csv
import os
import platform
import stat
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
from ..data.windows import Window
from ..registry.registry import Registry
from ..registry.trace import FILE as TRACE
from ..registry.trace import about
from ..toolkit import run_files
from ..toolkit.signal import Signal
from .config import RunConfig
from .record import Member, RunRecord
from .signals_file import SIGNALS, read_signals, signal_rows
from .stored_records import Record, TrainingSummary, check_record
from .trust import registry_of, without_places

RECORD = "run.json"
CLIPS = "clips.csv"
WINDOWS = "windows.csv"
RESULTS = "results.json"
WEIGHTS = "model.safetensors"
Location = tuple[Path, tuple[str, ...]]
"""Path of a run directory, and the plugin requests of its registry; for another process."""
_LOCK = ".lock"
_CLIP_COLUMNS = ("name", "corpus", "speaker", "label", "key", "path", "start", "end")
_ABSENT = "absent"  # column of missing modalities; omitted if no clip lacks a modality


class OutputFolder:
    """Output folder that a lock reserves for one process at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: BinaryIO | None = None

    @classmethod
    def create(cls, path: Path) -> Self:
        """Create a new folder and lock it until a ``with`` block ends or :meth:`release` is called.

        Raises
        ------
        RunError
            If the folder is not empty, or another process holds its lock.
        StorageError
            If the folder can't be created.
        """
        _check_free(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"The run directory {path} can't be created: {error.strerror or error}.",
                hint="Name a folder that you may write to: --out DIR",
            ) from error
        folder = cls(path)
        folder._acquire()
        try:
            _check_free(path)  # again: the folder may have been filled before the lock was held
        except RunError:
            folder.release()
            raise
        return folder

    # -- files -----------------------------------------------------------------------

    def read_json(self, name: str) -> dict[str, Any]:
        """Read the JSON object in the file `name` of the folder."""
        return run_files.read_json(self.path / name)

    def write_json(self, name: str, data: Mapping[str, Any]) -> None:
        """Write `data` as JSON to the file `name` of the folder, completely or not at all."""
        run_files.write_json(self.path, name, data)

    def write_text(self, name: str, text: str) -> None:
        """Replace the file `name` by `text`, completely or not at all."""
        run_files.write_text(self.path, name, text)

    def write_csv(self, name: str, rows: Iterable[Sequence[Any]]) -> None:
        """Write rows to the CSV file `name` of the folder, completely or not at all."""
        self.write_text(name, "".join(csv_lines(rows)))

    # -- the lock --------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder for this process during a ``with`` block.

        If this process held the lock before the block, it keeps the lock afterwards. The
        operating system releases the lock when the process ends.

        Raises
        ------
        RunError
            If another process holds the lock.
        """
        was_locked = self._lock is not None
        self._acquire()
        try:
            yield
        finally:
            if not was_locked:
                self.release()

    def release(self) -> None:
        """Release the lock, so that other processes can write to the folder."""
        if self._lock is None:
            return
        import fcntl

        # Unlock explicitly: a process that was forked meanwhile still has the file open.
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        self._lock.close()
        self._lock = None

    def _acquire(self) -> None:
        about(self.path)
        if self._lock is not None:
            return
        try:
            import fcntl
        except ImportError:  # Windows has no fcntl
            return
        path = self.path / _LOCK
        try:
            # Never follow a symbolic link: its target would be overwritten.
            number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise StorageError(
                f"The lock {path} can't be opened: {error.strerror or error}.",
                hint="If it is a link, delete it; otherwise correct the folder's permissions.",
            ) from error
        if not stat.S_ISREG(os.fstat(number).st_mode):
            os.close(number)
            raise StorageError(f"The lock {path} is not a regular file.", hint="Delete it.")
        file = os.fdopen(number, "r+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = file.read(200).decode("utf-8", errors="replace").strip()
            file.close()
            by = f" ({holder})" if holder else ""
            raise RunError(
                f"Another process works on the run {self.path}{by}.",
                hint="Wait until that process has finished, or name another folder.",
            ) from error
        file.truncate()
        since = datetime.now().strftime("%Y-%m-%d %H:%M:%S")
        file.write(f"process {os.getpid()} on {platform.node()}, since {since}\n".encode())
        file.flush()
        self._lock = file


class Run(OutputFolder):
    """Run directory with its configuration, clips, trainings and results, each read once.

    Create an instance with :meth:`create` or :meth:`open`.

    Parameters
    ----------
    registry : Registry, optional
        Registry that holds the run's plugins; by default, a registry of the installed plugins. An
        error is raised if run.json lists other plugins (:mod:`fusion.core.runs.trust`).
    """

    def __init__(self, path: Path, registry: Registry | None = None) -> None:
        super().__init__(path)
        self._registry = registry

    @classmethod
    def create(cls, path: Path, registry: Registry | None = None) -> Self:
        """Create a new, locked run directory, which can be opened after :meth:`begin`."""
        run = super().create(path)
        run._registry = registry
        return run

    @classmethod
    def open(cls, path: Path, registry: Registry | None = None) -> Self:
        """Open an existing run directory.

        Raises
        ------
        RunError
            If `path` holds no run.json, a newer version wrote run.json, or run.json is damaged.
        """
        if not cls.exists(path):
            raise RunError(
                f"{path} is not a run directory: it has no run.json.",
                hint="Name a folder that fusion run made (runs/... by default).",
            )
        run = cls(path, registry)
        _ = run.record
        return run

    @staticmethod
    def exists(path: Path) -> bool:
        """Return whether `path` holds a run that has at least begun."""
        return (path / RECORD).is_file()

    def begin(
        self, record: RunRecord, data: RunData, signals: Mapping[str, Signal] | None = None
    ) -> None:
        """Write clips.csv and run.json, which the trainings read, and signals.csv if measured."""
        self.write_csv(CLIPS, _clip_rows(data))
        if data.windows:
            self.write_csv(WINDOWS, _window_rows(data))
        if signals:
            self.write_csv(SIGNALS, signal_rows(data, signals))
        self._write_record(record)

    def finish(self, handed_out: Sequence[Member], seconds: float) -> None:
        """Write the members of the chosen model to run.json, which marks the run as finished."""
        self._write_record(self.record.finished(handed_out, seconds))

    def _write_record(self, record: RunRecord) -> None:
        self.write_json(RECORD, record.to_json())
        # Read run.json back as another process would. JSON turns tuples into lists, and other code
        # compares records.
        self.record = self._read_record()

    # -- configuration and clips -----------------------------------------------------

    @cached_property
    def record(self) -> RunRecord:
        """Content of run.json."""
        return self._read_record()

    def _read_record(self) -> RunRecord:
        return RunRecord.from_json(self.read_json(RECORD), self.path / RECORD)

    @property
    def config(self) -> RunConfig:
        """Configuration of the run, without places that a run directory can't choose.

        ``record.config`` has the configuration as requested. See
        :func:`~fusion.core.runs.trust.without_places`.
        """
        return without_places(self.record.config)

    @cached_property
    def registry(self) -> Registry:
        """Registry that holds the run's plugins."""
        return self._registry or registry_of(self.path, self.record.config.plugins)

    def with_plugins(self, named: Sequence[str]) -> Run:
        """Return the run with the plugins that the user named, in addition to installed plugins.

        Raises
        ------
        RunError
            If the run needs a plugin that the user did not name.
        """
        stored = self.record.config.plugins
        return Run.open(self.path, registry_of(self.path, stored, named)) if named else self

    @property
    def location(self) -> Location:
        """Path and plugin requests, with which another process opens the run."""
        return self.path.absolute(), self.registry.requests

    @cached_property
    def data(self) -> RunData:
        """Clips and splits of the run, from clips.csv.

        Raises
        ------
        RunError
            If clips.csv or windows.csv is damaged or belongs to another run.
        """
        record, path = self.record, self.path / CLIPS
        try:
            with run_files.open_table(path) as file:
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
            raise RunError(f"{path} and run.json hold different splits.")
        windows = self._windows(clips)
        divided = tuple(record.long_clips.seconds) if windows and record.long_clips else ()
        return RunData(clips, keys, targets, record.classes, splits, absent, windows, divided)

    def _windows(self, clips: Sequence[Clip]) -> dict[int, tuple[Window, ...]]:
        """Read the windows of each divided clip; an empty dict if run.json announces none."""
        expected = 0 if self.record.long_clips is None else self.record.long_clips.windows
        if not expected:
            return {}
        path = self.path / WINDOWS
        number = {(clip.corpus, clip.name): i for i, clip in enumerate(clips)}
        windows: dict[int, list[Window]] = {}
        try:
            with run_files.open_table(path) as file:
                for row in csv.DictReader(file):
                    index = number[row["corpus"], row["clip"]]
                    end = float(row["end"]) if row["end"] else None
                    place = Recording(clips[index].recording.path, float(row["start"]), end)
                    windows.setdefault(index, []).append(Window(place, row["key"]))
        except (OSError, KeyError, ValueError, TypeError, csv.Error) as error:
            raise RunError(f"{path} can't be read: {error!r}") from error
        if (count := sum(map(len, windows.values()))) != expected:
            raise RunError(f"{path} has {count} of the {expected} windows that run.json announces.")
        return {index: tuple(own) for index, own in windows.items()}

    @cached_property
    def signals(self) -> dict[str, Signal]:
        """Measurements of the recordings by key, from signals.csv; empty if nothing was measured.

        Raises
        ------
        RunError
            If signals.csv is damaged.
        """
        return read_signals(self.path / SIGNALS)

    # -- trainings and results ---------------------------------------------------------

    def training(self, name: str) -> Path:
        """Return the folder of the training `name`, e.g. ``"fold0/mel"``."""
        return self.path / name

    def finished(self, name: str) -> bool:
        """Return whether the training `name` is done."""
        return (self.training(name) / "training.json").is_file()

    def summary(self, name: str) -> dict[str, Any]:
        """Read the training.json of the finished training `name`.

        Raises
        ------
        RunError
            If the file is missing or damaged.
        """
        file = f"{name}/training.json"
        summary = self.read_json(file)
        check_record(summary, TrainingSummary, self.path / file)
        return Record(summary, self.path / file)

    def is_complete(self) -> bool:
        """Return whether the run is finished, with its results.json and model.safetensors."""
        self.record = self._read_record()  # another process may have finished the run
        files = (self.path / RESULTS, self.path / WEIGHTS)
        return self.record.handed_out is not None and all(file.is_file() for file in files)


def _check_free(path: Path) -> None:
    """Raise RunError unless `path` is missing, empty, or left by a run that never began."""
    if not path.exists():
        return
    left = {CLIPS, WINDOWS, SIGNALS, TRACE, _LOCK}
    if path.is_dir() and {file.name for file in path.iterdir()} <= left:
        return
    raise RunError(
        f"The run directory {path} already exists and is not empty.",
        hint=f"Resume that run: fusion run --resume {path}; or name another folder: --out DIR"
        if Run.exists(path)
        else "Name another folder: --out DIR",
    )


# -- clips.csv -----------------------------------------------------------------------


def _clip_rows(data: RunData) -> Iterator[Sequence[Any]]:
    """Yield the header of clips.csv, then one row per clip."""
    parts = np.full((len(data.clips), len(data.splits)), "", dtype="<U5")
    for fold, split in enumerate(data.splits):
        for part in PARTS:
            parts[getattr(split, part), fold] = part
    absent_column = [_ABSENT] if data.absent else []
    yield [*_CLIP_COLUMNS, *absent_column, *(f"fold{fold}" for fold in range(len(data.splits)))]
    for index, (clip, key, row) in enumerate(zip(data.clips, data.keys, parts, strict=True)):
        place = clip.recording
        end = "" if place.end is None else place.end
        absent = [" ".join(m for m, flags in data.absent.items() if flags[index])]
        yield [clip.name, clip.corpus, clip.speaker, clip.label, key, place.path, place.start,
               end, *absent[: len(absent_column)], *row]  # fmt: skip


def _window_rows(data: RunData) -> Iterator[Sequence[Any]]:
    """Yield the header of windows.csv, then one row per window."""
    yield "corpus", "clip", "start", "end", "key"
    for index, windows in data.windows.items():
        clip = data.clips[index]
        for place, key in windows:
            end = "" if place.end is None else place.end
            yield clip.corpus, clip.name, place.start, end, key


def _clip(row: Mapping[str, str]) -> Clip:
    end = float(row["end"]) if row["end"] else None
    recording = Recording(Path(row["path"]), float(row["start"]), end)
    return Clip(recording, row["name"], row["label"], row["speaker"], row["corpus"])


def _absent(rows: Sequence[Mapping[str, str]]) -> dict[str, Flags]:
    lacking = [(row.get(_ABSENT) or "").split() for row in rows]  # a truncated row has None here
    names = dict.fromkeys(name for each in lacking for name in each)
    return {m: np.array([m in each for each in lacking], dtype=np.bool_) for m in names}


def _split(rows: Sequence[Mapping[str, str]], fold: int, speaker_independent: bool) -> Split:
    column = np.array([row[f"fold{fold}"] for row in rows])
    train, val, test = (np.flatnonzero(column == part).astype(np.int64) for part in PARTS)
    return Split(train, val, test, fold, speaker_independent)
