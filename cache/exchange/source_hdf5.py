"""Import source: an HDF5 file with a dataset of arrays and datasets that name the recordings."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from ..errors import CacheError
from ..guarded_arrays import (
    LIMIT,
    RATIO,
    UnsafeFileError,
    check_dataset,
    dataset_of,
    open_hdf5,
)
from ..shards.codecs import missing_codec
from ..shards.origins import parse_origin
from .sources import Place, Source, place_of, stack

_COLUMNS = ("keys", "paths", "starts", "ends", "groups", "origins")
_NEEDED = (
    "Beside the arrays (n, ...) the file needs a dataset paths or keys of n texts; starts, ends "
    "(in seconds) and groups are optional."
)


@contextlib.contextmanager
def from_hdf5(path: Path, name: str, dataset: str | None, root: Path) -> Iterator[Source]:
    """Open a dataset as a source: `dataset`, or the dataset called `name`, or the only dataset.

    Raises
    ------
    CacheError
        If the dataset does not exist, or the file does not name the recordings of its arrays.
    """
    try:
        # With a large cache, a chunk of several rows is unpacked only once, not once per row.
        file = open_hdf5(path, rdcc_nbytes=64 * 2**20)
    except OSError as error:
        raise CacheError(
            f"{path} is not an HDF5 file, or is damaged: {error}",
            hint="Supported sources: tables (.csv, .tsv), .npy files with a table of the same "
            "name beside them, and HDF5 files.",
        ) from None
    with file:
        try:
            data = _choose(path, _numeric(file), name, dataset)
            check_dataset(data)
            missing = missing_codec(data)
            if missing:
                raise CacheError(f"{path} is compressed: {missing.message}", hint=missing.hint)
            places = list(_places(path, data, root))
        except UnsafeFileError as error:
            raise CacheError(
                f"{path} can't be imported: {error}", hint="Write the arrays to a plain HDF5 file."
            ) from None
        yield stack(data, places, range(len(data)), ())


def _numeric(file: h5py.File) -> dict[str, h5py.Dataset]:
    datasets: dict[str, h5py.Dataset] = {}

    def look(name: str, item: Any) -> None:
        array = isinstance(item, h5py.Dataset) and item.ndim and item.dtype.kind in "biufc"
        if array and name.rpartition("/")[2] not in _COLUMNS:
            datasets[name] = item

    file.visititems(look)
    return datasets


def _choose(
    path: Path, numeric: dict[str, h5py.Dataset], name: str, dataset: str | None
) -> h5py.Dataset:
    wanted = dataset.strip("/") if dataset is not None else name
    if wanted in numeric:
        return numeric[wanted]
    listed = ", ".join(f"{name} {data.shape}" for name, data in numeric.items()) or "none"
    if dataset is not None:
        raise CacheError(f"{path} has no dataset {dataset!r} of numbers. Datasets: {listed}.")
    owned = [data for data in numeric.values() if _count(data) == len(data)]
    if len(owned) == 1:
        return owned[0]
    if owned:
        raise CacheError(
            f"{path} has several datasets that could hold {name!r}: {listed}.",
            hint="Choose one: --dataset NAME",
        )
    raise CacheError(
        f"{path} has no dataset with a text for each of its arrays. Datasets of numbers: {listed}.",
        hint=_NEEDED,
    )


def _count(data: h5py.Dataset) -> int | None:
    """Return the number of keys or paths of a dataset's arrays; None if both are missing."""
    for name in ("keys", "paths"):
        column = _beside(data, name)
        if column is not None and column.ndim == 1:
            return len(column)
    return None


def _beside(data: h5py.Dataset, name: str) -> h5py.Dataset | None:
    """Return the dataset called `name` in the group of another dataset; None if missing."""
    return dataset_of(data.parent, name, texts=True) if name in data.parent else None


def _places(path: Path, data: h5py.Dataset, root: Path) -> Iterator[Place]:
    keys, paths = _texts(path, data, "keys"), _texts(path, data, "paths")
    if keys is None and paths is None:
        raise CacheError(
            f"{path} does not name the recordings of the arrays in {data.name}.", hint=_NEEDED
        )
    groups, origins = _texts(path, data, "groups"), _texts(path, data, "origins")
    starts, ends = _numbers(path, data, "starts"), _numbers(path, data, "ends")
    for row in range(len(data)):
        recording = paths[row] if paths else None
        start = starts[row] if starts else 0.0
        end = ends[row] if ends else None
        if recording is None and origins and origins[row]:
            recording, start, end = parse_origin(origins[row])
        yield place_of(
            f"{path}, {data.name.strip('/')}[{row}]",
            root,
            key=(keys[row] or None) if keys else None,
            path=recording or None,
            start=0.0 if start is None else start,
            end=end,
            group=groups[row] if groups else "",
        )


def _texts(path: Path, data: h5py.Dataset, name: str) -> list[str] | None:
    column = _column(path, data, name)
    if column is None:
        return None
    if column.dtype.kind == "S" or h5py.check_string_dtype(column.dtype) is not None:
        return [_decoded(text) for text in _read_texts(column)]
    raise CacheError(f"{column.name} in {path} must hold texts, not {column.dtype}.")


def _read_texts(column: h5py.Dataset) -> Iterator[bytes | str]:
    """Yield texts in blocks: all texts of variable length may refer to one long text."""
    size = max(1, column.file.id.get_filesize())
    block, total = max(1, LIMIT // size), 0
    for start in range(0, len(column), block):
        texts = column[start : start + block].tolist()
        total += sum(map(len, texts))
        if total > max(LIMIT, RATIO * size):
            raise UnsafeFileError(f"the texts of {column.name} are longer than its file allows.")
        yield from texts


def _decoded(text: bytes | str) -> str:
    return text if isinstance(text, str) else text.decode("utf-8", "surrogateescape")


def _numbers(path: Path, data: h5py.Dataset, name: str) -> list[float | None] | None:
    """Return a column of seconds, with NaN replaced by None; None if the column does not exist."""
    column = _column(path, data, name)
    if column is None:
        return None
    if column.dtype.kind not in "iuf":
        raise CacheError(f"{column.name} in {path} must hold numbers, not {column.dtype}.")
    return [None if math.isnan(value) else float(value) for value in column[:].tolist()]


def _column(path: Path, data: h5py.Dataset, name: str) -> Any:
    column = _beside(data, name)
    if column is None:
        return None
    if column.shape != (len(data),):
        raise CacheError(
            f"{name} beside {data.name} in {path} must be a dataset of {len(data)} entries.",
            hint=_NEEDED,
        )
    return column
