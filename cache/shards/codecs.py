"""Compression of packed shards, with the filters of hdf5plugin (an extra)."""

from __future__ import annotations

import importlib
import math
from typing import Any, Literal, get_args

import h5py

from ..errors import CacheError, not_installed
from ..fingerprint import Fingerprint

Codec = Literal["zstd", "blosc2"]
CODECS: tuple[str, ...] = get_args(Codec)


def codec_options(codec: Codec, fingerprint: Fingerprint) -> dict[str, Any]:
    """Return the arguments of h5py's ``create_dataset`` for one compressed chunk per array.

    Raises
    ------
    CacheError
        If the codec does not exist, hdf5plugin is not installed, or the arrays are empty.
    """
    if codec not in CODECS:
        raise CacheError(f"There is no codec {codec!r}. Known: {', '.join(CODECS)}.")
    plugin = _plugin()
    if plugin is None:
        raise _not_installed()
    chunks = (1, *fingerprint.shape)
    if math.prod(fingerprint.shape) == 0:
        raise CacheError(f"{fingerprint.name!r} has empty arrays, which can't be packed.")
    if codec == "zstd":
        # Shuffling groups the n-th bytes of all numbers. The groups compress well, because the
        # exponents of neighbouring values are similar.
        return {"chunks": chunks, "shuffle": True, "compression": plugin.Zstd(clevel=9)}
    blosc = plugin.Blosc2(cname="zstd", clevel=9, filters=plugin.Blosc2.SHUFFLE)
    return {"chunks": chunks, "compression": blosc}


_FILTERS: dict[int, Codec] = {32015: "zstd", 32026: "blosc2"}  # as registered with HDF5
_SHUFFLE = 2
PACKING = frozenset({_SHUFFLE, *_FILTERS})
"""Numbers of the filters of HDF5 that packed shards use."""


def codec_of(data: h5py.Dataset) -> Codec | None:
    """Return the codec with which a dataset is compressed, or None if no known codec is used."""
    return next((_FILTERS[number] for number in _filters(data) if number in _FILTERS), None)


def missing_codec(data: h5py.Dataset) -> CacheError | None:
    """Return the error for a dataset that this machine can't unpack; None for any other dataset."""
    if _readable(data):
        return None
    _plugin()  # importing hdf5plugin registers its filters with HDF5
    return None if _readable(data) else _not_installed()


def _readable(data: h5py.Dataset) -> bool:
    return all(h5py.h5z.filter_avail(number) for number in _filters(data))


def _filters(data: h5py.Dataset) -> list[int]:
    filters = data.id.get_create_plist()
    return [filters.get_filter(n)[0] for n in range(filters.get_nfilters())]


def _plugin() -> Any:
    try:
        return importlib.import_module("hdf5plugin")
    except ImportError:
        return None


def _not_installed() -> CacheError:
    return not_installed("Packing and unpacking arrays", "hdf5plugin", "pack")
