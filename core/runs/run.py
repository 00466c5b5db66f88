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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..contracts import Clip, Recording
from ..contracts.errors import RunError, StorageError
from ..data.dataset import RunData
from ..data.presence import Flags
from ..data.split_modes import PARTS
from ..data.splits import Split
from ..registry.trace import FILE as TRACE
from ..registry.trace import about
from ..toolkit import run_files

FORMAT = 2
_REQUIRED = ("config", "classes", "features", "model", "split", "seconds")
_CLIP_COLUMNS = ("name", "corpus", "speaker", "label", "key", "path", "start", "end")
_ABSENT = "absent"  # a column that is there where some clip lacks a modality: their names


class RunDirectory:
    """Names the files of one run, and reads and writes them whole."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path) -> RunDirectory:
        """Make a new run directory.

        Raises
        ------
        RunError
            If there is something in it already.
        StorageError
            If it can't be made.
        """
        if path.exists() and not _is_free(path):
            raise RunError(
                f"The run directory {path} exists already and is not empty.",
                hint=f"Go on with that run: fusion run --resume {path}; or name another: --out."
                if (path / "run.json").exists()
                else "Name another folder with --out.",
            )
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"The run directory {path} can't be made: {error.strerror or error}.",
                hint="Name a folder that you may write to with --out.",
            ) from error
        about(path)
        return cls(path)

    @classmethod
    def existing(cls, path: Path) -> RunDirectory:
        """Open a run directory that is there.

        Raises
        ------
        RunError
            If it is none, or was written by a newer version.
        """
        run = cls(path)
        if not (path / "run.json").is_file():
            raise RunError(
                f"{path} is no run directory: it holds no run.json.",
                hint="Give a folder that fusion run made (runs/... by default).",
            )
        info = run.info()
        found = info.get("format")
        if not isinstance(found, int) or found > FORMAT:
            raise RunError(
                f"{path} has run format {found!r}, and this version reads up to {FORMAT}.",
                hint="Update fusion: pip install -U modal-fusion",
            )
        missing = [key for key in _REQUIRED if key not in info]
        if missing:
            raise RunError(f"{path / 'run.json'} is damaged: it has no {missing[0]!r}.")
        return run

    # -- small files -----------------------------------------------------------------

    def info(self) -> dict[str, Any]:
        """Read run.json. What older formats left to the version that wrote them is filled in."""
        info = self.read_json("run.json")
        if info.get("format") == 1 and isinstance(info.get("config"), dict):
            # Until format 2 every fused model started untrained.
            settings = info["config"].setdefault("settings", {})
            settings.setdefault("train", {}).setdefault("start", "scratch")
        return info

    def training(self, name: str) -> Path:
        """Folder of one training, e.g. ``"fold0/mel"``."""
        return self.path / name

    def finished(self, name: str) -> bool:
        """Whether that training is done."""
        return (self.training(name) / "training.json").is_file()

    def is_complete(self) -> bool:
        """Whether the run is finished and nothing of its outcome is missing."""
        outcome = ("results.json", "model.safetensors")
        return "handed_out" in self.info() and all((self.path / f).is_file() for f in outcome)

    def read_json(self, name: str) -> dict[str, Any]:
        return run_files.read_json(self.path / name)

    def write_json(self, name: str, data: Mapping[str, Any]) -> None:
        run_files.write_json(self.path, name, data)

    def write_text(self, name: str, text: str) -> None:
        """Replace a file by `text`, whole or not at all."""
        run_files.write_text(self.path, name, text)

    def write_csv(self, name: str, rows: Iterable[Sequence[Any]]) -> None:
        lines = _Lines()
        csv.writer(lines, lineterminator="\n").writerows(rows)
        self.write_text(name, "".join(lines.parts))

    # -- clips -----------------------------------------------------------------------

    def write_clips(self, data: RunData) -> None:
        parts = np.full((len(data.clips), len(data.splits)), "", dtype="<U5")
        for fold, split in enumerate(data.splits):
            for part in PARTS:
                parts[getattr(split, part), fold] = part
        lacking = [_ABSENT] if data.absent else []
        rows: list[Sequence[Any]] = [
            [*_CLIP_COLUMNS, *lacking, *(f"fold{fold}" for fold in range(len(data.splits)))]
        ]
        for index, (clip, key, row) in enumerate(zip(data.clips, data.keys, parts, strict=True)):
            place = clip.recording
            end = "" if place.end is None else place.end
            gone = [" ".join(m for m, flags in data.absent.items() if flags[index])]
            rows.append(
                [clip.name, clip.corpus, clip.speaker, clip.label, key, place.path, place.start,
                 end, *gone[: len(lacking)], *row]
            )  # fmt: skip
        self.write_csv("clips.csv", rows)

    def read_clips(self) -> RunData:
        """Clips and splits as the run was prepared with."""
        info = self.info()
        classes = tuple(info["classes"])
        path = self.path / "clips.csv"
        try:
            with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
                rows = list(csv.DictReader(file))
            clips = tuple(_clip(row) for row in rows)
            keys = tuple(row["key"] for row in rows)
            targets = np.array([classes.index(clip.label) for clip in clips], dtype=np.int64)
            splits = tuple(
                _split(rows, fold, info["split"]["speaker_independent"])
                for fold in range(info["split"]["folds"])
            )
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise RunError(f"{path} can't be read: {error!r}") from error
        if [split.digest(clips) for split in splits] != info["split"]["digests"]:
            raise RunError(f"{path} is not the split that this run was made with.")
        return RunData(clips, keys, targets, classes, splits, _absent(rows))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep the run to this process; a lock goes with the process that holds it.

        Raises
        ------
        RunError
            If another process works on the run.
        """
        about(self.path)
        try:
            import fcntl
        except ImportError:  # no such locks on Windows
            yield
            return
        with (self.path / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise RunError(f"Another process works on the run {self.path}.") from error
            yield


def _is_free(path: Path) -> bool:
    """A folder that is empty, or in which a run failed before it began."""
    return path.is_dir() and {file.name for file in path.iterdir()} <= {"clips.csv", TRACE}


class _Lines:
    """A file-like that collects what csv writes."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def write(self, text: str) -> None:
        self.parts.append(text)


def _clip(row: Mapping[str, str]) -> Clip:
    end = float(row["end"]) if row["end"] else None
    recording = Recording(Path(row["path"]), float(row["start"]), end)
    return Clip(recording, row["name"], row["label"], row["speaker"], row["corpus"])


def _absent(rows: Sequence[Mapping[str, str]]) -> dict[str, Flags]:
    lacking = [row.get(_ABSENT, "").split() for row in rows]
    names = dict.fromkeys(name for each in lacking for name in each)
    return {m: np.array([m in each for each in lacking], dtype=np.bool_) for m in names}


def _split(rows: Sequence[Mapping[str, str]], fold: int, speaker_independent: bool) -> Split:
    column = np.array([row[f"fold{fold}"] for row in rows])
    train, val, test = (np.flatnonzero(column == part).astype(np.int64) for part in PARTS)
    return Split(train, val, test, fold, speaker_independent)
