"""Measurements of recordings, made once for each content and stored in the cache folder."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, fields

import numpy as np

from ...cache import FeatureCache, Fingerprint
from ...cache.builds.workers import available_cores
from ..contracts import Recording
from ..contracts.errors import FusionError
from ..toolkit.signal import Signal, measure

# A cache in a folder of the cache: the measurements are no feature of the user, so they count in
# no list, build or garbage collection of features.
FOLDER = "signals"
_FINGERPRINT = Fingerprint(
    "signal",
    "2",  # 1: formats other than those of soundfile were measured at 16 kHz
    {"fields": [field.name for field in fields(Signal)]},
    "float64",
    (len(fields(Signal)),),
    {},
)


def measured_signals(
    cache: FeatureCache, keys: Sequence[str], recordings: Sequence[Recording]
) -> dict[str, Signal]:
    """Return the measurements of recordings by key; measure what is not stored yet, in threads.

    Recordings that can't be measured are left out: files that are missing on this machine or are
    no audio. The measurements are stored on this machine, also if the cache is a URL. A folder
    that can't be read or written to is no error.

    Parameters
    ----------
    cache : FeatureCache
        The cache of the features.
    keys, recordings
        Content digests, and the recordings in the same order. A digest that occurs several times
        is measured once.
    """
    by_key = dict(zip(keys, recordings, strict=True))
    store = FeatureCache(cache.root / FOLDER)
    try:
        missing = store.missing(_FINGERPRINT, by_key)
    except FusionError:  # the measurements are a by-product: their folder must not stop a build
        missing = list(by_key)
    new = _measure({key: by_key[key] for key in missing})
    if new:
        with contextlib.suppress(FusionError):
            store.add(_FINGERPRINT, list(new), [np.array(astuple(s)) for s in new.values()])
            store.index(_FINGERPRINT)
    stored = by_key.keys() - set(missing)
    return {**_read(store, {key: by_key[key] for key in by_key if key in stored}), **new}


def _measure(recordings: Mapping[str, Recording]) -> dict[str, Signal]:
    with ThreadPoolExecutor(available_cores()) as pool:  # decoding and numpy release the GIL
        results = pool.map(_measured, recordings.values())
        return {key: s for key, s in zip(recordings, results, strict=True) if s is not None}


def _measured(recording: Recording) -> Signal | None:
    try:
        return measure(recording)
    except Exception:  # whatever a decoder raises: a measurement must not stop a run
        return None


def _read(store: FeatureCache, recordings: Mapping[str, Recording]) -> dict[str, Signal]:
    """Return the stored measurements; measure again if the stored ones can't be read."""
    if not recordings:
        return {}
    try:
        rows = store.open(_FINGERPRINT, list(recordings)).take(np.arange(len(recordings))).tolist()
    except FusionError:
        return _measure(recordings)
    return {key: Signal(*row) for key, row in zip(recordings, rows, strict=True)}
