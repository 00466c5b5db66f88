"""Identity of a cached array: the fingerprint of its computation and the key of its content."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from .errors import CacheError
from .json_text import parse_json

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_MAX_BYTES = 60_000  # an HDF5 attribute holds at most 64 KiB


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """Everything that determines the values of a feature, apart from the recording.

    Two fingerprints are equal if their canonical texts are equal: a tuple equals a list, while
    1, 1.0 and True are three different values.

    Parameters
    ----------
    name : str
        Name of the feature; letters, digits, ``_``, ``.`` and ``-``. The name becomes part of a
        folder's name.
    version : str
        Declared version of the computation.
    parameters : mapping of str to JSON values
        Every parameter, defaults included.
    dtype : str
        numpy name of a boolean, integer, float or complex type.
    shape : tuple of int >= 1
        Shape of one array.
    libraries : mapping of str to str
        Versions of the libraries that affect the values.

    Raises
    ------
    CacheError
        If a field can't be written as JSON or has an invalid value; the message names the field.
    """

    name: str
    version: str
    parameters: Mapping[str, JSON]
    dtype: str
    shape: tuple[int, ...]
    libraries: Mapping[str, str]

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_shape(self.shape)
        # numpy accepts several names for the same type.
        object.__setattr__(self, "dtype", _dtype_name(self.dtype))
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        size = len(self.canonical())
        if size > _MAX_BYTES:
            raise CacheError(
                f"The fingerprint of {self.name!r} takes {size} bytes; at most {_MAX_BYTES} fit.",
                hint="Give a large parameter as a file, and the file's digest as the parameter.",
            )

    def canonical(self) -> str:
        """Return this fingerprint as text, which is equal in every process and Python version.

        The text is ASCII JSON with sorted keys, no spaces, and each float as the shortest text that
        reads back as the same value.
        """
        return self._canonical

    @cached_property
    def _canonical(self) -> str:
        fields = {
            "name": self.name,
            "version": self.version,
            "parameters": self.parameters,
            "dtype": self.dtype,
            "shape": self.shape,
            "libraries": self.libraries,
        }
        plain = {field: _plain(value, field) for field, value in fields.items()}
        return json.dumps(plain, sort_keys=True, separators=(",", ":"))

    @cached_property
    def id(self) -> str:
        """Identifier of 32 hexadecimal characters: BLAKE2b of the canonical text."""
        return hashlib.blake2b(self._canonical.encode("ascii"), digest_size=16).hexdigest()

    @property
    def array_bytes(self) -> int:
        """Bytes of one array."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def folder_name(self) -> str:
        """Name of this feature's folder in a cache."""
        return f"{self.name}-{self.id}"

    @classmethod
    def from_json(cls, text: str, id: str | None = None) -> Fingerprint:
        """Return the fingerprint whose :meth:`canonical` text is `text`.

        Parameters
        ----------
        id : str, optional
            The :attr:`id` that the fingerprint must have, as in the name of its folder.

        Raises
        ------
        CacheError
            If `text` is not a fingerprint, or has another id.
        """
        try:
            fields = parse_json(text)
            fingerprint = cls(**{**fields, "shape": tuple(fields["shape"])})
        except (ValueError, TypeError, KeyError) as error:
            raise CacheError(f"Not a fingerprint ({error}): {text[:80]!r}") from None
        if id not in (None, fingerprint.id):
            raise CacheError(
                f"The fingerprint has id {fingerprint.id}, but its folder has id {id}."
            )
        return fingerprint

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fingerprint) and self._canonical == other._canonical

    def __hash__(self) -> int:
        return hash(self._canonical)


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise CacheError(
            f"A feature can't be called {name!r}.",
            hint="Use letters, digits, '_', '.' and '-', and start with a letter or digit.",
        )


def _check_shape(shape: Sequence[int]) -> None:
    if not all(isinstance(n, int | np.integer) and n >= 1 for n in shape):
        raise CacheError(f"A feature's shape must hold integers of 1 or more, not {shape!r}.")


def _dtype_name(dtype: str) -> str:
    try:
        parsed = np.dtype(dtype)
    except TypeError:
        raise CacheError(f"numpy has no dtype {dtype!r}.", hint="Try 'float32'.") from None
    extended = parsed.kind in "fc" and parsed.itemsize > {"f": 8, "c": 16}[parsed.kind]
    if parsed.kind not in "biufc" or extended:  # extended precision differs between machines
        raise CacheError(
            f"Arrays of dtype {dtype!r} can't be cached.",
            hint="Accepted: booleans, integers, floats of up to 64 bits, and complex numbers of up "
            "to 128 bits.",
        )
    return parsed.name


def _plain(value: Any, field: str) -> Any:
    """Convert `value` to types with a single JSON form; an error names `field`."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item, f"{field}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, f"{field}.{key}") for key, item in value.items()}
    raise CacheError(
        f"{field} of a fingerprint is {value!r} ({type(value).__name__}), which JSON can't hold.",
        hint="Accepted: None, bool, int, finite float, str, and lists and dicts (str keys) "
        "of them.",
    )


def digest_recording(
    path: str | os.PathLike[str], start: float = 0.0, end: float | None = None
) -> str:
    """Return the key of a recording: a digest of the content, not of the file's name or folder.

    Parameters
    ----------
    path : path
        The file.
    start, end : float
        Seconds. A part of a recording has another key than the whole recording.

    Returns
    -------
    str
        32 hexadecimal characters: BLAKE2b of the bytes; for a part of a recording, BLAKE2b of the
        whole recording's digest and the segment.

    Raises
    ------
    CacheError
        If the file can't be read.
    """
    return _with_segment(_digest_file(Path(path)), start, end)


def digest_many(
    recordings: Iterable[tuple[str | os.PathLike[str], float, float | None]], *, threads: int = 8
) -> list[str]:
    """Return the keys of many recordings, each given as (path, start, end).

    A file with many segments is read once. A file that can't be read gets a new key at every call.
    No array is stored under this new key. A build therefore tries to compute the array and records
    a failure with the reason, as for any other damaged recording.

    Returns
    -------
    list of str
        One key per recording, in the order of `recordings`; see :func:`digest_recording`.
    """
    segments = [(Path(path), start, end) for path, start, end in recordings]
    files = list(dict.fromkeys(path for path, _, _ in segments))
    with ThreadPoolExecutor(threads) as pool:  # hashing and reading both release the GIL
        digests = dict(zip(files, pool.map(_digest_or_new, files), strict=True))
    return [_with_segment(digests[path], start, end) for path, start, end in segments]


def _digest_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, partial(hashlib.blake2b, digest_size=16)).hexdigest()
    except OSError as error:
        raise CacheError(
            f"Can't read {path}: {error.strerror or error}.",
            hint="Check that the file exists and that you may read it.",
        ) from None


def _digest_or_new(path: Path) -> str:
    try:
        return _digest_file(path)
    except CacheError:
        return uuid.uuid4().hex


def _with_segment(digest: str, start: float, end: float | None) -> str:
    if start == 0 and end is None:
        return digest
    segment = f"{digest} {float(start)!r} {None if end is None else float(end)!r}"
    # `person` makes the digest of a segment differ from that of a file that contains this text.
    return hashlib.blake2b(segment.encode(), digest_size=16, person=b"segment").hexdigest()
