"""Find and read: a folder of shards as one table of arrays by key."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .array import FeatureArray, Verify
from .errors import CacheError, ShardError
from .fingerprint import Fingerprint
from .shard import (
    SUFFIX,
    Array,
    Shard,
    find_debris,
    storage_error,
    write_shard,
    written_whole,
)

_FOLDER = re.compile(r"(?P<name>.+)-(?P<id>[0-9a-f]{32})")
_FINGERPRINT_FILE = "fingerprint.json"


@dataclass(frozen=True, slots=True)
class Problem:
    """A file of the cache that was left aside; what it held counts as missing.

    Attributes
    ----------
    path : Path
        The file.
    reason : str
        What is wrong with it, and what to do.
    """

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class FeatureInfo:
    """What the cache holds of one feature.

    Attributes
    ----------
    fingerprint : Fingerprint
        Name, version, parameters, shape, dtype and libraries.
    items : int
        Different keys.
    shards : int
        Readable files.
    bytes : int
        Of these files.
    seconds : float
        What computing the items took, on one core.
    debris : int
        Temporary files that a killed process left.
    """

    fingerprint: Fingerprint
    items: int
    shards: int
    bytes: int
    seconds: float
    debris: int


class FeatureCache:
    """A folder of computed arrays, found by key and by fingerprint.

    A fingerprint has a folder of its own, ``<root>/<name>-<fingerprint id>``, with
    ``fingerprint.json`` for people and any number of shards. Any number of processes may
    read and write at once: shards appear whole and never change.

    Parameters
    ----------
    root : path, optional
        Made when first written to. By default the environment's ``FUSION_CACHE``, else
        ``features`` in the user's cache folder.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        self.root = Path(root).expanduser().absolute() if root is not None else _default_root()
        self._shards: dict[Path, Shard] = {}  # all that were opened; a shard never changes
        self._problems: dict[Path, Problem] = {}

    @property
    def problems(self) -> list[Problem]:
        """Files that could not be used in what was asked of this cache so far."""
        return [problem for problem in self._problems.values() if problem.path.exists()]

    def folder(self, fingerprint: Fingerprint) -> Path:
        """Where the shards of a feature lie; it need not exist."""
        return self.root / f"{fingerprint.name}-{fingerprint.id}"

    def prepare(self, fingerprint: Fingerprint) -> Path:
        """Make a feature's folder, ready for shards, and return it.

        Raises
        ------
        StorageError
            If the folder can't be made or written to.
        """
        folder = self.folder(fingerprint)
        readable = folder / _FINGERPRINT_FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not readable.exists():
                with written_whole(readable) as temporary:
                    temporary.write_text(_indented(fingerprint), encoding="ascii")
        except OSError as error:
            raise storage_error(folder, error) from None
        return folder

    def missing(self, fingerprint: Fingerprint, keys: Iterable[str]) -> list[str]:
        """The keys that have no array yet, each once, in the order given."""
        present = {key for shard in self._open_shards(fingerprint) for key in shard.keys}
        return [key for key in dict.fromkeys(keys) if key not in present]

    def open(
        self, fingerprint: Fingerprint, keys: Sequence[str], *, verify: Verify = "open"
    ) -> FeatureArray:
        """The arrays of `keys`, row i belonging to ``keys[i]``, without reading them yet.

        Parameters
        ----------
        verify : {"open", "always"}
            ``"always"`` compares every array that is read with its checksum.

        Raises
        ------
        CacheError
            If there is no array for a key.
        """
        if verify not in ("open", "always"):
            raise CacheError(f"verify must be 'open' or 'always', not {verify!r}.")
        shards = self._open_shards(fingerprint)
        places: dict[str, tuple[int, int]] = {}
        for number, shard in enumerate(shards):
            for row, key in enumerate(shard.keys):
                places.setdefault(key, (number, row))
        missing = [key for key in keys if key not in places]
        if missing:
            raise CacheError(
                f"The cache in {self.root} lacks {len(missing)} of {len(keys)} arrays of "
                f"{fingerprint.name!r} ({fingerprint.id}); the first key is {missing[0]!r}.",
                hint="Compute them first: `fusion cache build`, or fusion.cache.build.",
            )
        found = np.array([places[key] for key in keys], dtype=np.int64).reshape(-1, 2)
        used, shard_of = np.unique(found[:, 0], return_inverse=True)
        return FeatureArray(
            fingerprint,
            tuple(keys),
            tuple(shards[number] for number in used),
            shard_of.reshape(-1),
            np.ascontiguousarray(found[:, 1]),
            verify,
        )

    def add(
        self,
        fingerprint: Fingerprint,
        keys: Sequence[str],
        arrays: Sequence[Array],
        seconds: Sequence[float] | None = None,
    ) -> None:
        """Store arrays as one new shard. Where a key has an array already, either may be read.

        Parameters
        ----------
        keys : sequence of str
            One per array; ASCII.
        arrays : sequence of array
            Of the fingerprint's shape and dtype.
        seconds : sequence of float, optional
            What computing each took; 0 by default.

        Raises
        ------
        CacheError
            If keys and arrays do not fit each other or the fingerprint.
        StorageError
            If the cache can't be written to or is full.
        """
        if len(keys):
            times = [0.0] * len(keys) if seconds is None else seconds
            write_shard(self.prepare(fingerprint), fingerprint, keys, arrays, times)

    def info(self) -> list[FeatureInfo]:
        """What is there, by feature, sorted by name."""
        found = (self._info(folder) for folder in _listed(self.root) if folder.is_dir())
        return [info for info in found if info is not None]

    def _info(self, folder: Path) -> FeatureInfo | None:
        fingerprint = self._read_fingerprint(folder)
        if fingerprint is None:
            return None
        shards = self._open_shards(fingerprint)
        return FeatureInfo(
            fingerprint,
            items=len({key for shard in shards for key in shard.keys}),
            shards=len(shards),
            bytes=sum(shard.size for shard in shards),
            seconds=float(sum(shard.seconds.sum() for shard in shards)),
            debris=len(find_debris(folder)),
        )

    def _read_fingerprint(self, folder: Path) -> Fingerprint | None:
        match = _FOLDER.fullmatch(folder.name)
        if match is None:
            return None  # not ours
        path = folder / _FINGERPRINT_FILE
        try:
            fingerprint = Fingerprint.from_json(path.read_text(encoding="ascii"))
            if fingerprint.id != match["id"]:
                raise CacheError(f"It belongs to {fingerprint.id}, not into this folder.")
        except (OSError, UnicodeDecodeError, CacheError) as error:
            self._problems[path] = Problem(path, str(error))
            return None
        return fingerprint

    def _open_shards(self, fingerprint: Fingerprint) -> list[Shard]:
        """The readable shards of a feature, by name: with two of one key the first counts."""
        paths = [p for p in _listed(self.folder(fingerprint)) if p.suffix == SUFFIX]
        shards = (self._open_shard(path, fingerprint) for path in paths)
        return [shard for shard in shards if shard is not None]

    def _open_shard(self, path: Path, fingerprint: Fingerprint) -> Shard | None:
        if path in self._shards:
            return self._shards[path]
        try:
            shard = Shard.open(path)
            if shard.fingerprint != fingerprint:
                raise ShardError(f"{path} holds another feature: {shard.fingerprint.canonical()}")
        except FileNotFoundError:
            return None  # deleted since it was listed
        except ShardError as error:
            self._problems[path] = Problem(path, str(error))
            return None
        self._problems.pop(path, None)
        self._shards[path] = shard
        return shard


def _indented(fingerprint: Fingerprint) -> str:
    return json.dumps(json.loads(fingerprint.canonical()), indent=2) + "\n"


def _default_root() -> Path:
    given = os.environ.get("FUSION_CACHE")
    if given:
        return Path(given).expanduser().absolute()
    import platformdirs

    return platformdirs.user_cache_path("fusion") / "features"


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CacheError(
            f"Can't read the cache folder {folder}: {error.strerror or error}.",
            hint="Choose another folder; FUSION_CACHE sets the default.",
        ) from None
