"""Recordings with features of another program, for tests of the import."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from cache_computations import array_of

from fusion.cache import Fingerprint, digest_recording

VIDEO = Fingerprint("video", "1", {"imported": True}, "float32", (3, 5), {})


def write_table(folder: Path, rows: Sequence[Sequence[Any]], name: str = "clips.csv") -> Path:
    with (folder / name).open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder / name


def plain(folder: Path, count: int = 6) -> Path:
    rows = [(f"{n}.wav", f"{n}.npy") for n in range(count)]
    return write_table(folder, [("path", "feature"), *rows])


def wav_keys(folder: Path, count: int = 6) -> list[str]:
    return [digest_recording(folder / f"{n}.wav") for n in range(count)]


def hdf5(folder: Path, count: int = 6, **columns: Any) -> Path:
    with h5py.File(folder / "all.h5", "w") as file:
        file["video"] = np.stack([array_of(n) for n in range(count)])
        for name, column in columns.items():
            file[name] = column
    return folder / "all.h5"


PATHS = [f"{n}.wav" for n in range(6)]


def saved(folder: Path, array: Any, name: str = "bad.npy", **options: Any) -> str:
    np.save(folder / name, array, **options)
    return name
