"""Feature cache: lookup, reading and adding of arrays by key, in a folder of shards."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .array import VERIFY, FeatureArray, Verify
from .errors import CacheError, ShardError, StorageError
from .fingerprint import Fingerprint
from .remote.upstream import Upstream
from .shards.catalogue import Catalogue, load_catalogue
from .shards.claims import find_dead_claims
from .shards.files import find_debris, storage_error, written_whole
from .shards.info import FeatureInfo, Problem, closed_folder
from .shards.layout import FEATURE_FOLDER, FINGERPRINT_FILE
from .shards.listing import Listed, shards_in, sorted_entries
from .shards.rows import RECOMPUTE, Array
from .shards.shard import Entry, Shard, write_shard
from .shards.usage import Marks, undisturbed

_TRIES = 3  # attempts to list a folder while its shards are being rewritten


class FeatureCache:
    """Folder of computed arrays, found by key and by fingerprint.

    Each fingerprint has its own folder, ``<root>/<name>-<fingerprint id>``, with a readable copy of
    the fingerprint in ``fingerprint.json``, any number of shards, and an index of the shards. Any
    number of processes may read and write at once: a shard appears complete and never changes.

    Parameters
    ----------
    root : path or URL, optional
        The cache folder, created by the first write. Default: the environment variable
        ``FUSION_CACHE``, else ``features`` in the user's cache folder. A URL names the cache of
        another machine, see :class:`fusion.cache.remote.upstream.Upstream`; arrays from that cache
        are first copied to the default folder.

    Attributes
    ----------
    root : Path
        The folder on this machine.
    upstream : Upstream or None
        The cache of the other machine, if the root is a URL. Three methods read from this cache:
        :meth:`fetch`, :meth:`info`, and :meth:`open` for arrays that are not stored on this
        machine.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        if root is not None and not os.fspath(root):
            raise CacheError(
                "The name of the cache folder is empty.", hint="Name a folder: --cache DIR"
            )
        location = os.fspath(root) if root is not None else os.environ.get("FUSION_CACHE", "")
        self.upstream = Upstream(location) if "://" in location else None
        is_local = root is not None and self.upstream is None
        self.root = Path(location).expanduser().absolute() if is_local else _default_root()
        self._shards: dict[Path, tuple[Listed, Shard]] = {}  # shards opened one by one
        self._problems: dict[Path, Problem] = {}
        self._marks = Marks()

    @property
    def problems(self) -> list[Problem]:
        """Files that this cache could not use so far."""
        current = [problem for problem in self._problems.values() if os.path.lexists(problem.path)]
        return current + (self.upstream.problems if self.upstream else [])

    def folder(self, fingerprint: Fingerprint) -> Path:
        """Return the folder of the shards of a feature; the folder need not exist."""
        return self.root / fingerprint.folder_name

    def prepare(self, fingerprint: Fingerprint) -> Path:
        """Make the folder for the shards of a feature, and return the folder.

        Raises
        ------
        StorageError
            If the folder can't be made or written to.
        """
        folder = self.folder(fingerprint)
        readable = folder / FINGERPRINT_FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not readable.exists():
                with written_whole(readable) as temporary:
                    temporary.write_text(_indented(fingerprint), encoding="ascii")
                self._problems.pop(readable, None)  # fingerprint.json was missing
        except OSError as error:
            raise storage_error(folder, error) from None
        return folder

    def missing(self, fingerprint: Fingerprint, keys: Iterable[str]) -> list[str]:
        """Return the keys that have no array yet, without repeats, in the given order."""
        unique = list(dict.fromkeys(keys))
        catalogue = self.catalogue(fingerprint)
        positions = catalogue.find(unique)
        self._mark(catalogue, positions[positions >= 0])
        return [
            key for key, position in zip(unique, positions.tolist(), strict=True) if position < 0
        ]

    def open(
        self, fingerprint: Fingerprint, keys: Sequence[str], *, verify: Verify = "open"
    ) -> FeatureArray:
        """Return the arrays of `keys` without reading them yet; row i belongs to ``keys[i]``.

        Parameters
        ----------
        verify : {"open", "always"}
            ``"always"`` compares every array with its checksum when the array is read.

        Raises
        ------
        CacheError
            If a key has no array.
        """
        if verify not in VERIFY:
            raise CacheError(f"verify must be 'open' or 'always', not {verify!r}.")
        for retried in (False, True):
            catalogue = self.catalogue(fingerprint)
            positions = catalogue.find(keys)  # (n,)
            missing = [
                key for key, position in zip(keys, positions.tolist(), strict=True) if position < 0
            ]
            if retried or not missing:
                break
            # The second try finds fetched arrays, and arrays that moved to a new shard meanwhile.
            self.fetch(fingerprint, missing)
        if missing:
            raise CacheError(
                f"The cache in {self.root} lacks {len(missing)} of {len(keys)} arrays of "
                f"{fingerprint.name!r} ({fingerprint.id}); the first key is {missing[0]!r}.",
                hint="Compute them first: `fusion cache build`, or fusion.cache.build.",
            )
        self._mark(catalogue, positions)
        numbers, rows = catalogue.place(positions)
        used, file_of = np.unique(numbers, return_inverse=True)
        return FeatureArray(
            fingerprint,
            tuple(keys),
            tuple(catalogue.files[number] for number in used),
            file_of.reshape(-1),
            rows,
            catalogue.checksums[positions],
            verify,
            partial(_reopen_arrays, self.root),
        )

    def add(
        self,
        fingerprint: Fingerprint,
        keys: Sequence[str],
        arrays: Sequence[Array],
        seconds: Sequence[float] | None = None,
        *,
        origins: Sequence[str] | None = None,
        groups: Sequence[str] | None = None,
    ) -> None:
        """Store arrays as one new shard.

        If a key already has an array, a reader may get either of the two arrays.

        Parameters
        ----------
        keys : sequence of str
            One key per array; ASCII.
        arrays : sequence of array
            Arrays of the fingerprint's shape and dtype.
        seconds : sequence of float, optional
            Computing time of each array, in seconds; 0 by default.
        origins, groups : sequence of str, optional
            Location of each array's source, and the group the array belongs to; empty by default.

        Raises
        ------
        CacheError
            If keys and arrays differ in number, or an array does not match the fingerprint.
        StorageError
            If the cache is full or can't be written to.
        """
        columns = [keys, arrays, [0.0] * len(keys) if seconds is None else seconds]
        columns += [[""] * len(keys) if t is None else t for t in (origins, groups)]
        if len({len(column) for column in columns}) > 1:
            raise CacheError(
                "A shard needs as many arrays as keys: "
                f"given {len(keys)} keys and {len(arrays)} arrays."
            )
        if len(keys):
            entries = [Entry(*row) for row in zip(*columns, strict=True)]
            write_shard(self.prepare(fingerprint), fingerprint, entries)

    def folders(self) -> list[tuple[Path, str]]:
        """Return the folders with the name of a feature, sorted, each with its fingerprint id."""
        named = (
            (folder, FEATURE_FOLDER.fullmatch(folder.name)) for folder in sorted_entries(self.root)
        )
        return [(f, match["id"]) for f, match in named if match and self._is_folder(f)]

    def _is_folder(self, folder: Path) -> bool:
        """Return whether a path is a folder; a link is a problem, because upkeep removes files."""
        if folder.is_symlink():
            reason = f"{folder} is a symbolic link: it is not listed, and its files are kept."
            self._problems[folder] = Problem(folder, reason)
            return False
        return folder.is_dir()

    def features(self) -> list[Fingerprint]:
        """Return the fingerprints of all features in this folder, sorted by name."""
        fingerprints = (self._read_fingerprint(folder) for folder in sorted_entries(self.root))
        return [fingerprint for fingerprint in fingerprints if fingerprint is not None]

    def info(self) -> list[FeatureInfo]:
        """Return a summary of each stored feature, sorted by name.

        If the cache is a URL, the summary describes the cache of the other machine.
        """
        upstream = self.upstream
        if upstream is not None:
            return [
                _info(feature, upstream.catalogue(feature), 0) for feature in upstream.features()
            ]
        return [
            _info(feature, self.catalogue(feature), self._debris(feature))
            for feature in self.features()
        ]

    def _debris(self, fingerprint: Fingerprint) -> int:
        folder = self.folder(fingerprint)
        return len(find_debris(folder)) + len(find_dead_claims(folder))

    def _read_fingerprint(self, folder: Path) -> Fingerprint | None:
        match = FEATURE_FOLDER.fullmatch(folder.name)
        if match is None or not self._is_folder(folder):
            return None  # not a feature of this cache
        closed = closed_folder(folder)
        if closed is not None:
            self._problems[folder] = closed
            return None
        path = folder / FINGERPRINT_FILE
        try:
            fingerprint = Fingerprint.from_json(path.read_text(encoding="ascii"), match["id"])
        except (OSError, UnicodeDecodeError, CacheError) as error:
            reason = error.message if isinstance(error, CacheError) else str(error)
            hint = "Rewrite the file: `fusion cache verify --repair`"
            self._problems[path] = Problem(path, f"{path} can't be used: {reason}\n  hint: {hint}")
            return fingerprint_from_shards(folder, match["id"])
        self._problems.pop(path, None)
        return fingerprint

    # -- shards ----------------------------------------------------------------------

    def catalogue(self, fingerprint: Fingerprint) -> Catalogue:
        """Return the catalogue of a feature: all items that its shards hold at this moment.

        Shards that the index does not know are read once and compared with their checksums.
        """
        return self._catalogue(fingerprint, save=False)

    def _catalogue(self, fingerprint: Fingerprint, *, save: bool) -> Catalogue:
        """Return the catalogue; with `save`, write the index file if it is not up to date."""
        folder = self.folder(fingerprint)
        checked: list[Path] = []

        def open_shard(path: Path, listed: Listed) -> Shard | None:
            return self._checked_shard(fingerprint, path, listed, checked)

        for _ in range(_TRIES):
            listing = shards_in(folder)
            catalogue = load_catalogue(folder, fingerprint, listing, open_shard)
            unused = listing.keys() - {file.path.name for file in catalogue.files}
            if all((folder / name).exists() for name in unused):
                break  # no shard was removed after the listing
        # If shards were checked, the next process need not check these shards again.
        if checked or (save and catalogue.fresh):
            with contextlib.suppress(StorageError):
                catalogue.save(folder)
        else:
            catalogue.save_if_worth_it(folder)
        return catalogue

    def _checked_shard(
        self, fingerprint: Fingerprint, path: Path, listed: Listed, checked: list[Path]
    ) -> Shard | None:
        """Return a shard that the index does not know, after comparing its arrays with checksums.

        The path of a shard that was read is added to `checked`. Damaged items are added to
        :attr:`problems`.
        """
        before = self._shards.get(path)
        shard = self.open_shard(fingerprint, path, listed)
        if shard is None or self._shards.get(path) is before:
            return shard  # checked before by this cache
        with undisturbed(path):
            shard = shard.checked()
        checked.append(path)
        self._shards[path] = (listed, shard)
        if shard.damaged:
            self._problems[path] = Problem(path, _damage(shard))
        return shard

    def index(self, fingerprint: Fingerprint) -> None:
        """Bring the index file of a feature up to date, if the folder may be written to.

        Without the index file all items are still found, but every shard has to be opened.
        """
        self._catalogue(fingerprint, save=True)

    def _mark(self, catalogue: Catalogue, positions: npt.NDArray[np.int64]) -> None:
        """Mark the shards of these items as used, for the garbage collector."""
        numbers = np.unique(catalogue.place(positions)[0])
        self._marks.mark(catalogue.files[number].path for number in numbers)

    def fetch(self, fingerprint: Fingerprint, keys: Sequence[str]) -> int:
        """Copy the arrays of `keys` from the other machine's cache; return the number of copies."""
        return self.upstream.fetch(fingerprint, keys, self.prepare) if self.upstream else 0

    def shards(self, fingerprint: Fingerprint) -> Iterator[Shard]:
        """Yield the readable shards of a feature, each opened and checked, in order of name."""
        folder = self.folder(fingerprint)
        for name, listed in sorted(shards_in(folder).items()):
            shard = self.open_shard(fingerprint, folder / name, listed)
            if shard is not None:
                yield shard

    def open_shard(
        self, fingerprint: Fingerprint, path: Path, listed: Listed | None = None
    ) -> Shard | None:
        """Return an opened shard, or None if the file can't be used.

        An unusable file is added to :attr:`problems`. With `listed`, the opened shard is kept in
        memory and opened again only if the folder lists the file differently.
        """
        before, shard = self._shards.get(path, (None, None))
        if listed is not None and before == listed:
            return shard
        try:
            shard = Shard.open(path, of=fingerprint)
        except FileNotFoundError:
            return None  # deleted after the listing
        except ShardError as error:
            self._problems[path] = Problem(path, str(error))
            return None
        self._problems.pop(path, None)
        if listed is not None:
            self._shards[path] = (listed, shard)
        return shard


def local_cache(
    root: str | os.PathLike[str] | None = None, *, must_exist: bool = True
) -> FeatureCache:
    """Return a cache on this machine that can be written to.

    Raises
    ------
    CacheError
        If `root`, or the environment variable ``FUSION_CACHE``, is the URL of another machine's
        cache; or if `must_exist` is true and the folder does not exist.
    """
    cache = FeatureCache(root)
    if cache.upstream is not None:
        raise CacheError(
            f"The cache at {cache.upstream} is read-only from this machine.",
            hint="Run the command on the machine that stores the cache, or name a folder with "
            "--cache.",
        )
    if must_exist and not cache.root.is_dir():
        raise CacheError(
            f"There is no cache in {cache.root}: the folder does not exist.",
            hint="Name another folder with --cache or FUSION_CACHE, or make one with `fusion cache "
            "build`.",
        )
    return cache


def fingerprint_from_shards(folder: Path, id: str) -> Fingerprint | None:
    """Return the fingerprint with id `id` from the first shard that contains this id, or None."""
    for name in sorted(shards_in(folder)):
        with contextlib.suppress(OSError, ShardError):
            fingerprint = Shard.open(folder / name).fingerprint
            if fingerprint.id == id:
                return fingerprint
    return None


def _damage(shard: Shard) -> str:
    return (
        f"{shard.path}: {len(shard.damaged)} of {shard.file.count} arrays don't match their "
        f"checksums and count as missing.\n  hint: {RECOMPUTE}"
    )


def _info(fingerprint: Fingerprint, catalogue: Catalogue, debris: int) -> FeatureInfo:
    return FeatureInfo(
        fingerprint,
        items=len(catalogue.unique),
        groups=catalogue.group_counts(),
        shards=len(catalogue.files),
        packed=sum(file.packed for file in catalogue.files),
        bytes=sum(file.size for file in catalogue.files),
        seconds=float(catalogue.seconds.sum()),
        debris=debris,
    )


def _reopen_arrays(
    root: Path, removed: Path, fingerprint: Fingerprint, keys: list[str]
) -> FeatureArray:
    """Return the arrays of `keys` from a newly opened cache, after their shard was removed."""
    cache = FeatureCache(root)
    missing = cache.missing(fingerprint, keys)
    if missing:
        raise CacheError(
            f"{removed} was deleted while in use, and {len(missing)} arrays with it: another "
            "program deletes cache files.",
            hint="Start again: missing arrays are then computed again.",
        )
    return cache.open(fingerprint, keys)


def _indented(fingerprint: Fingerprint) -> str:
    return json.dumps(json.loads(fingerprint.canonical()), indent=2) + "\n"


def _default_root() -> Path:
    location = os.environ.get("FUSION_CACHE")
    if location and "://" not in location:
        return Path(location).expanduser().absolute()
    import platformdirs

    return platformdirs.user_cache_path("fusion") / "features"
