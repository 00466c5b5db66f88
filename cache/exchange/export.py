"""Export of features to plain files that any tool can read: HDF5, or .npy with a CSV."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import h5py
import numpy as np

from ..array import FeatureArray
from ..errors import CacheError, StorageError
from ..fingerprint import Fingerprint
from ..shards.csv_lines import csv_lines
from ..shards.files import all_written_whole, find_debris
from ..shards.hdf5 import text_column
from ..shards.origins import parse_origin
from ..shards.rows import RECOMPUTE, Label, stored_dtype
from ..store import FeatureCache

Form = Literal["hdf5", "npy"]
FORMS: tuple[str, ...] = get_args(Form)

_BESIDE = ("keys", "origins", "groups")  # datasets beside the arrays


def form_of(out: Path) -> Form | None:
    """Return the format that the name of a file implies, or None."""
    suffix = out.suffix.lower()
    if suffix == ".npy":
        return "npy"
    return "hdf5" if suffix in (".h5", ".hdf5") else None


def files_of(out: Path, form: Form) -> tuple[Path, ...]:
    """Return the files of an export to `out`: the arrays, and with ``"npy"`` also the table."""
    if form == "hdf5":
        return (out,)
    stem = out.with_suffix("") if form_of(out) == "npy" else out
    return stem.with_name(stem.name + ".npy"), stem.with_name(stem.name + ".csv")


def export_feature(
    cache: FeatureCache,
    fingerprint: Fingerprint,
    out: str | os.PathLike[str],
    *,
    form: Form,
    keys: Sequence[str] | None = None,
    overwrite: bool = False,
) -> int:
    """Write the arrays of a feature to plain files.

    Arrays are copied one at a time, and every array is compared with its checksum.
    Only complete files appear.

    Parameters
    ----------
    out : path
        The file. With ``form="npy"`` the files are ``OUT.npy`` and ``OUT.csv``, whether or not
        `out` has that suffix.
    form : {"hdf5", "npy"}
        An HDF5 file has a dataset (n, ...) named after the feature; the datasets ``keys``,
        ``origins`` and ``groups``, bytes of fixed length; and the attribute ``fingerprint``,
        canonical JSON. With ``"npy"``, one file is an array (n, ...), and the other file is a table
        with the columns row, key, path, start, end (in seconds; empty for a whole file) and group.
    keys : sequence of str, optional
        Arrays to write, in this order; by default all, ordered by the location of their sources.
    overwrite : bool
        Replace existing files.

    Returns
    -------
    int
        Number of arrays written.

    Raises
    ------
    CacheError
        If there is nothing to write, a key has no array, an array does not match its checksum, or
        a file already exists.
    StorageError
        If the files can't be written.
    """
    if form not in FORMS:
        raise CacheError(f"There is no format {form!r}. Known: {', '.join(FORMS)}.")
    if form == "hdf5" and fingerprint.name in _BESIDE:
        raise CacheError(
            f"A feature called {fingerprint.name!r} can't be written to HDF5, because that name is "
            "reserved.",
            hint="Write the feature as npy: --format npy",
        )
    files = files_of(Path(out), form)
    _refuse_existing(files, overwrite)
    lines = _lines(cache, fingerprint, keys)
    arrays = cache.open(fingerprint, [line.key for line in lines], verify="always")
    write: dict[str, Callable[..., None]] = {"hdf5": _write_hdf5, "npy": _write_npy}
    with _written_whole(files) as temporary:
        write[form](*temporary, fingerprint, arrays, lines)
    return len(lines)


def _lines(
    cache: FeatureCache, fingerprint: Fingerprint, keys: Sequence[str] | None
) -> list[Label]:
    catalogue = cache.catalogue(fingerprint)
    lost = catalogue.lost() if keys is None else []
    if lost:
        raise CacheError(
            f"The array of {lost[0]!r} does not match its checksum"
            + (f", and {len(lost) - 1} others neither." if len(lost) > 1 else "."),
            hint=RECOMPUTE,
        )
    positions = catalogue.unique if keys is None else catalogue.find(keys)
    # `cache.open` reports keys without an array.
    lines = [
        catalogue.label(at) if at >= 0 else Label(keys[number] if keys else "", "", "")
        for number, at in enumerate(positions.tolist())
    ]
    if not lines:
        raise CacheError(
            f"The cache in {cache.root} holds no arrays of {fingerprint.name!r} "
            f"({fingerprint.id}): there is nothing to export.",
            hint="fusion cache info lists the stored features.",
        )
    # Arrays were computed roughly in the order of their sources. In the order of the sources, each
    # shard is read from beginning to end.
    return lines if keys is not None else sorted(lines, key=lambda line: (line.origin, line.key))


def _write_hdf5(
    path: Path, fingerprint: Fingerprint, arrays: FeatureArray, lines: Sequence[Label]
) -> None:
    with _Output(path) as output, h5py.File(output, "w", libver=("v108", "v108")) as file:
        dtype = stored_dtype(fingerprint)
        data = file.create_dataset(fingerprint.name, arrays.shape, dtype, track_times=False)
        for row in range(len(lines)):
            data[row] = arrays[row]
            if output.error is not None:
                break
        for name, texts in zip(_BESIDE, zip(*lines, strict=True), strict=True):
            file.create_dataset(name, data=text_column(texts), track_times=False)
        file.attrs["fingerprint"] = np.bytes_(fingerprint.canonical().encode("ascii"))


class _Output(io.FileIO):
    """Output file for HDF5 that reports a full disk without a crash.

    When a write fails, HDF5 keeps the unwritten data, and crashes the process when the process
    ends. This file therefore reports success to HDF5, and raises the error when the context
    ends.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while rest and self.error is None:
                rest = rest[super().write(rest) or 0 :]
        except OSError as error:
            self.error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0

    def __exit__(self, *_: object) -> None:
        self.close()
        if self.error is not None:
            raise self.error


def _write_npy(
    path: Path,
    table: Path,
    fingerprint: Fingerprint,
    arrays: FeatureArray,
    lines: Sequence[Label],
) -> None:
    dtype = stored_dtype(fingerprint)
    header = {"descr": dtype.str, "fortran_order": False, "shape": arrays.shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for row in range(len(lines)):
            # Write without a memory map: with a memory map, a full disk would kill the process.
            file.write(arrays[row].astype(dtype, copy=False).tobytes())
    with table.open("w", encoding="utf-8", newline="") as text:
        text.writelines(csv_lines([["row", "key", "path", "start", "end", "group"]]))
        text.writelines(csv_lines(_cells(row, line) for row, line in enumerate(lines)))


def _cells(row: int, line: Label) -> list[object]:
    path, start, end = parse_origin(line.origin)
    whole = not start and end is None
    return [row, line.key, path, "" if whole else start, "" if end is None else end, line.group]


# -- the files -----------------------------------------------------------------------


def _refuse_existing(files: Sequence[Path], overwrite: bool) -> None:
    for file in files:
        if file.is_dir():
            raise CacheError(f"{file} is a folder.", hint="Name a file to write to.")
        if file.exists() and not overwrite:
            raise CacheError(
                f"{file} already exists.", hint="Name another file, or replace it: --overwrite"
            )


@contextlib.contextmanager
def _written_whole(files: Sequence[Path]) -> Iterator[list[Path]]:
    folder = files[0].parent
    try:
        with all_written_whole(files) as temporary:
            for debris in find_debris(folder):  # left by an export that was killed
                debris.unlink(missing_ok=True)
            yield temporary
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise StorageError(
            f"Can't write to {folder.absolute()}: {reason}.",
            hint="Name a file in an existing folder that may be written to and has space.",
        ) from None
