"""Catalogue of all items of a feature, and the index file that replaces opening every shard.

If the index and the shards disagree, the shards are right. ``shards.idx``, an HDF5 file in the
folder of the shards, repeats the columns of all shards. With this index, ten thousand shards need
not be opened to find one key. The index entry of a shard is valid only while the shard has the size
and modification time recorded in the index. A shard without a valid entry is opened, read once as a
whole, and compared with its checksums; damaged items can't be found by key. Afterwards the index
remembers the result. An index that is damaged or of another version is ignored.

====================  ====================  ================================================
in ``shards.idx``     type                  meaning, for S shards with N items in total
====================  ====================  ================================================
``names``             (S,) bytes            file names
``sizes``             (S,) int64            sizes of the files, bytes
``times``             (S,) int64            modification time, nanoseconds
``offsets``           (S,) int64            byte at which the arrays begin; -1 if packed
``counts``            (S,) int64            number of items
``keys``              (N,) bytes            as in the shards, one shard after the other
``checksums``         (N,) uint64           as in the shards
``seconds``           (N,) float64          as in the shards
``origins``           (N,) bytes            as in the shards
``groups``            (N,) bytes            as in the shards
``order``             (<= N,) int64         positions that sort the keys; stable. Positions of
                                            damaged items are left out
====================  ====================  ================================================

The attributes are ``format`` (``fusion shard index``), ``format_version`` (3), and for each dataset
``checksum_NAME``, the BLAKE2b digest (16 bytes, hexadecimal) of its bytes.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import mmap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ..errors import CacheError, StorageError
from ..fingerprint import Fingerprint
from ..guarded_arrays import attribute_of, check_regular, dataset_of, open_hdf5
from .hdf5 import hdf5_written_whole
from .listing import Listed
from .rows import Label, ShardFile
from .shard import COLUMNS, Shard

INDEX = "shards.idx"

_FORMAT = "fusion shard index"
_VERSION = 3
_PER_SHARD = ("names", "sizes", "times", "offsets", "counts")
_PER_ITEM = COLUMNS
# These columns are long and rarely needed, and are therefore read only on demand.
_TEXTS = ("origins", "groups")
_FEW = 32  # the index is written again if at least so many shards lack an entry


Column = npt.NDArray[Any]


class Catalogue:
    """All items of a feature, found by key.

    Attributes
    ----------
    files : list of ShardFile
        The shards. A key that is stored in several shards is found in the first.
    keys : array
        (N,) bytes: key of each item.
    checksums : array
        (N,) uint64: checksum of each item's array.
    seconds : array
        (N,) float64: computing time of each item.
    fresh : int
        Number of shards that are missing from the index file, plus number of outdated entries.
    """

    def __init__(
        self,
        files: Sequence[ShardFile],
        times: Column,
        columns: Mapping[str, Column],
        texts: Mapping[str, Callable[[], Column]],
        fresh: int,
    ) -> None:
        self.files = list(files)
        self.fresh = fresh
        self.keys: npt.NDArray[np.bytes_] = columns["keys"]
        self.checksums: npt.NDArray[np.uint64] = columns["checksums"]
        self.seconds: npt.NDArray[np.float64] = columns["seconds"]
        self._times = times  # (S,)
        self._columns = dict(columns)  # (N,) each
        self._texts = dict(texts)  # (N,) each, read on demand
        counts = [file.count for file in self.files]
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)  # (S + 1,)

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def damaged(self) -> int:
        """Number of items whose arrays don't match their checksums."""
        return len(self) - len(self._columns["order"])

    def lost(self) -> list[str]:
        """Return the keys of damaged items without an undamaged copy, sorted."""
        if not self.damaged:
            return []
        damaged = np.ones(len(self), bool)
        damaged[self._columns["order"]] = False
        keys = sorted({key.decode("ascii", "replace") for key in self.keys[damaged].tolist()})
        return [k for k, at in zip(keys, self.find(keys).tolist(), strict=True) if at < 0]

    def _text(self, name: str) -> npt.NDArray[np.bytes_]:
        if name not in self._columns:
            self._columns[name] = self._texts[name]()
        return self._columns[name]

    def label(self, position: int) -> Label:
        """Return the label of an item."""
        texts = (self._text(name)[position] for name in _TEXTS)
        return Label.of(self.keys[position], *texts)

    def file_of(self, position: int) -> ShardFile:
        """Return the shard of the item at `position`."""
        number, _ = self.place(np.array([position]))
        return self.files[int(number[0])]

    @cached_property
    def unique(self) -> npt.NDArray[np.int64]:
        """Positions of all items, without repeated keys."""
        order = self._columns["order"]
        keys = self.keys[order]
        first = np.ones(len(keys), bool)
        first[1:] = keys[1:] != keys[:-1]
        return np.asarray(order[first])

    def group_counts(self) -> dict[str, int]:
        """Return the number of distinct items of each group."""
        groups, counts = np.unique(self._text("groups")[self.unique], return_counts=True)
        return {g.decode("utf-8", "replace"): int(n) for g, n in zip(groups, counts, strict=True)}

    def find(self, keys: Sequence[str]) -> npt.NDArray[np.int64]:
        """Return the position of each key, (n,); -1 for a key without an item."""
        if not len(self._columns["order"]) or not len(keys):
            return np.full(len(keys), -1, np.int64)
        wanted = np.array([key.encode("utf-8", "replace") for key in keys])
        order = self._columns["order"]
        if self.damaged:
            rank = np.searchsorted(self.keys[order], wanted)
        else:
            rank = np.searchsorted(self.keys, wanted, sorter=order)
        position = order[np.minimum(rank, len(order) - 1)]
        return np.where(self.keys[position] == wanted, position, -1)

    def place(self, positions: npt.NDArray[np.int64]) -> tuple[Column, Column]:
        """Return two arrays (n,): the shard number and the row in the shard of each item."""
        shards = np.searchsorted(self._starts, positions, side="right") - 1
        return shards, positions - self._starts[shards]

    def positions(self, number: int) -> npt.NDArray[np.int64]:
        """Return the positions of the items of one shard."""
        return np.arange(self._starts[number], self._starts[number + 1])

    def save(self, folder: Path) -> None:
        """Write the index file; if writing fails, the old file stays.

        Raises
        ------
        StorageError
            If the folder is full or can't be written to.
        """
        columns: dict[str, Column] = {
            "names": np.array([file.path.name.encode() for file in self.files], "S"),
            "sizes": np.array([file.size for file in self.files], "<i8"),
            "times": self._times.astype("<i8"),
            "offsets": np.array(
                [-1 if file.offset is None else file.offset for file in self.files], "<i8"
            ),
            "counts": np.array([file.count for file in self.files], "<i8"),
            **self._columns,
            **{name: self._text(name) for name in _TEXTS},
        }
        with hdf5_written_whole(folder / INDEX) as file:
            file.attrs["format"] = np.bytes_(_FORMAT.encode())
            file.attrs["format_version"] = _VERSION
            for name, column in columns.items():
                file.create_dataset(name, data=column, track_times=False)
                file.attrs[f"checksum_{name}"] = np.bytes_(_digest(column).encode())

    def save_if_worth_it(self, folder: Path) -> None:
        """Write the index file if many shards had to be opened and the folder is writable."""
        if self.fresh >= max(_FEW, len(self.files) // 100):
            with contextlib.suppress(StorageError):
                self.save(folder)


def load_catalogue(
    folder: Path,
    fingerprint: Fingerprint,
    listing: Mapping[str, Listed],
    open_shard: Callable[[Path, Listed], Shard | None],
    index: Path | None = None,
) -> Catalogue:
    """Return the catalogue of all shards in `listing`.

    Parameters
    ----------
    folder : Path
        Folder of the shards.
    listing : mapping of str to Listed
        The shards in the folder, by file name.
    open_shard : callable
        Called with the path and listing of each shard without a valid index entry; returns the
        opened shard, or None if the file can't be used.
    index : Path, optional
        The index file; by default the index file in `folder`.
    """
    indexed = _read_index(index or folder / INDEX) or _Index.empty()
    whole = _arrays_fit(indexed, fingerprint.array_bytes)
    valid = [
        whole[n] and _agree(listing.get(name), indexed, n) for n, name in enumerate(indexed.names)
    ]
    usable = {name for name, good in zip(indexed.names, valid, strict=True) if good}
    opened = (open_shard(folder / n, listing[n]) for n in sorted(listing.keys() - usable))
    fresh = [shard for shard in opened if shard is not None]
    files = [
        ShardFile(
            folder / indexed.names[n],
            fingerprint,
            int(indexed.columns["counts"][n]),
            offset if (offset := int(indexed.columns["offsets"][n])) >= 0 else None,
            int(indexed.columns["sizes"][n]),
            listing[indexed.names[n]].time,
        )
        for n in np.flatnonzero(valid).tolist()
    ]
    changes = len(fresh) + len(valid) - len(files)
    if not changes:
        return Catalogue(files, indexed.columns["times"], indexed.items(), {}, 0)
    return _merged(indexed, np.array(valid, bool), files, fresh, listing, changes)


def _merged(
    indexed: _Index,
    valid: npt.NDArray[np.bool_],
    files: Sequence[ShardFile],
    fresh: Sequence[Shard],
    listing: Mapping[str, Listed],
    changes: int,
) -> Catalogue:
    """Return a catalogue of the shards with a valid index entry, followed by the fresh shards."""
    is_valid = np.repeat(valid, indexed.columns["counts"]) if len(valid) else np.zeros(0, bool)

    def joined(name: str) -> Column:
        old = indexed.columns[name] if is_valid.all() else indexed.columns[name][is_valid]
        parts = [old, *(shard.columns[name] for shard in fresh)]
        parts = [part for part in parts if len(part)]
        return np.concatenate(parts) if parts else np.zeros(0, _Index.DTYPES[name])

    columns: dict[str, Column] = {name: joined(name) for name in _PER_ITEM if name not in _TEXTS}
    first = int(is_valid.sum())
    starts = np.cumsum([first, *(shard.file.count for shard in fresh)])
    damaged = [s + row for s, shard in zip(starts, fresh, strict=False) for row in shard.damaged]
    columns["order"] = _merged_order(
        indexed.columns["order"], is_valid, columns["keys"], np.array(damaged, np.int64)
    )
    files_and_fresh = [*files, *(shard.file for shard in fresh)]
    times = np.array([listing[file.path.name].time for file in files_and_fresh], np.int64)
    texts = {name: functools.partial(joined, name) for name in _TEXTS}
    return Catalogue(files_and_fresh, times, columns, texts, changes)


def _merged_order(
    order: Column, is_valid: npt.NDArray[np.bool_], keys: Column, damaged: npt.NDArray[np.int64]
) -> Column:
    """Return the positions that sort `keys`, given the order of the indexed items.

    Only the keys of shards without a valid index entry have to be sorted. Positions in `damaged`
    are left out.
    """
    old = order[is_valid[order]]
    old = (np.cumsum(is_valid) - 1)[old]  # positions among the valid items
    first = int(is_valid.sum())
    new = first + np.argsort(keys[first:], kind="stable")
    new = new[~np.isin(new, damaged)]
    at = np.searchsorted(keys[old], keys[new], side="right")
    return np.insert(old, at, new)


# -- the index file ------------------------------------------------------------------


def index_is_sound(folder: Path) -> bool:
    """Return whether the index file of a folder can be used."""
    return _read_index(folder / INDEX) is not None


@dataclass(frozen=True)
class _Index:
    """Contents of an index file."""

    DTYPES = {  # noqa: RUF012
        "names": "S1", "sizes": "<i8", "times": "<i8", "offsets": "<i8", "counts": "<i8",
        "keys": "S1", "checksums": "<u8", "seconds": "<f8", "origins": "S1", "groups": "S1",
        "order": "<i8",
    }  # fmt: skip

    columns: Mapping[str, Column]

    @classmethod
    def empty(cls) -> _Index:
        return cls({name: np.zeros(0, dtype) for name, dtype in cls.DTYPES.items()})

    @cached_property
    def names(self) -> list[str]:
        return [name.decode() for name in self.columns["names"].tolist()]

    def items(self) -> dict[str, Column]:
        return {name: self.columns[name] for name in (*_PER_ITEM, "order")}


def _agree(listed: Listed | None, indexed: _Index, number: int) -> bool:
    """Return whether a shard has the size and time recorded in the index."""
    if listed is None:
        return False
    size, time = int(indexed.columns["sizes"][number]), int(indexed.columns["times"][number])
    return listed.size in (size, -1) and listed.time in (time, -1)


def _arrays_fit(indexed: _Index, array_bytes: int) -> list[bool]:
    """Return whether the arrays of each shard end before its file does, as the index describes."""
    offsets, counts, sizes = (indexed.columns[name].tolist() for name in
                              ("offsets", "counts", "sizes"))  # fmt: skip
    return [
        offset == -1 or 0 <= offset <= size - count * array_bytes
        for offset, count, size in zip(offsets, counts, sizes, strict=True)
    ]


def _read_index(path: Path) -> _Index | None:
    """Return an index file with its columns mapped, or None if no valid index exists."""
    try:
        # Both readers use the same handle, because the name may meanwhile refer to another file.
        check_regular(path)
        with path.open("rb") as stream, open_hdf5(stream) as file:
            if bytes(attribute_of(file, "format")) != _FORMAT.encode():
                return None
            if int(attribute_of(file, "format_version")) != _VERSION:
                return None
            whole = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            columns = {name: _mapped(whole, dataset_of(file, name, ())) for name in _Index.DTYPES}
            for name, column in columns.items():
                if name not in _TEXTS and _digest(column) != _attribute(file, name):
                    return None
        _check_lengths(columns)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, CacheError):
        return None
    return _Index(columns)


def _mapped(whole: mmap.mmap, data: h5py.Dataset) -> Column:
    if data.size == 0:
        return np.zeros(data.shape, data.dtype)
    offset = data.id.get_offset()
    if offset is None or data.ndim != 1:
        raise ValueError("not contiguous")
    return np.frombuffer(whole, data.dtype, len(data), offset)


def _attribute(file: h5py.File, name: str) -> str:
    return bytes(attribute_of(file, f"checksum_{name}")).decode()


def _check_lengths(columns: Mapping[str, Column]) -> None:
    shards, items = len(columns["names"]), int(columns["counts"].sum())
    if any(len(columns[name]) != shards for name in _PER_SHARD):
        raise ValueError("columns of shards differ in length")
    if any(len(columns[name]) != items for name in _PER_ITEM):
        raise ValueError("columns of items differ in length")
    order = columns["order"]
    if len(order) and (order.min() < 0 or order.max() >= items):
        raise ValueError("positions out of range")
    if any(len(columns[name]) and columns[name].min() < 0 for name in ("counts", "sizes")):
        raise ValueError("negative counts or sizes")


def _digest(column: Column) -> str:
    data = np.ascontiguousarray(column)
    return hashlib.blake2b(
        data.view(np.uint8).data if data.size else b"", digest_size=16
    ).hexdigest()
