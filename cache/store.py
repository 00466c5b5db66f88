"""Find and read: a folder of shards as one table of arrays by key."""

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
from .shards.catalogue import Catalogue, Listed, load_catalogue
from .shards.claims import find_dead_claims
from .shards.files import find_debris, storage_error, written_whole
from .shards.info import FeatureInfo, Problem, closed_folder
from .shards.layout import FEATURE_FOLDER, FINGERPRINT_FILE
from .shards.rows import Array
from .shards.shard import SUFFIX, Entry, Shard, write_shard
from .shards.usage import Marks

_TRIES = 3  # listing a folder of which something rewrites the shards at that moment


class FeatureCache:
    """A folder of computed arrays, found by key and by fingerprint.

    A fingerprint has a folder of its own, ``<root>/<name>-<fingerprint id>``, with
    ``fingerprint.json`` for people, any number of shards, and an index of them. Any number of
    processes may read and write at once: shards appear whole and never change.

    Parameters
    ----------
    root : path or URL, optional
        Made when first written to. By default the environment's ``FUSION_CACHE``, else
        ``features`` in the user's cache folder. A URL is another machine's cache, see
        :class:`fusion.cache.remote.upstream.Upstream`; what is read there is copied to the default
        folder first.

    Attributes
    ----------
    root : Path
        The folder.
    upstream : Upstream or None
        The other machine's cache. It is asked by :meth:`fetch`, by :meth:`open` for arrays
        that are not here, and by :meth:`info`.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        if root is not None and not os.fspath(root):
            raise CacheError("The name of the cache folder is empty.", hint="Name one: --cache DIR")
        given = os.fspath(root) if root is not None else os.environ.get("FUSION_CACHE", "")
        self.upstream = Upstream(given) if "://" in given else None
        here = root is not None and self.upstream is None
        self.root = Path(given).expanduser().absolute() if here else _default_root()
        self._shards: dict[Path, tuple[Listed, Shard]] = {}  # all that were opened one by one
        self._problems: dict[Path, Problem] = {}
        self._marks = Marks()

    @property
    def problems(self) -> list[Problem]:
        """Files that could not be used in what was asked of this cache so far."""
        here = [problem for problem in self._problems.values() if problem.path.exists()]
        return here + (self.upstream.problems if self.upstream else [])

    def folder(self, fingerprint: Fingerprint) -> Path:
        """Where the shards of a feature lie; it need not exist."""
        return self.root / fingerprint.folder_name

    def prepare(self, fingerprint: Fingerprint) -> Path:
        """Make a feature's folder, ready for shards, and return it.

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
                self._problems.pop(readable, None)  # it was lacking
        except OSError as error:
            raise storage_error(folder, error) from None
        return folder

    def missing(self, fingerprint: Fingerprint, keys: Iterable[str]) -> list[str]:
        """The keys that have no array yet, each once, in the order given."""
        unique = list(dict.fromkeys(keys))
        catalogue = self.catalogue(fingerprint)
        found = catalogue.find(unique)
        self._mark(catalogue, found[found >= 0])
        return [key for key, position in zip(unique, found.tolist(), strict=True) if position < 0]

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
        if verify not in VERIFY:
            raise CacheError(f"verify must be 'open' or 'always', not {verify!r}.")
        for again in (False, True):
            catalogue = self.catalogue(fingerprint)
            found = catalogue.find(keys)  # (n,)
            missing = [key for key, at in zip(keys, found.tolist(), strict=True) if at < 0]
            if again or not missing:
                break
            # To be fetched, or just moved to a new shard while the folder was listed.
            self.fetch(fingerprint, missing)
        if missing:
            raise CacheError(
                f"The cache in {self.root} lacks {len(missing)} of {len(keys)} arrays of "
                f"{fingerprint.name!r} ({fingerprint.id}); the first key is {missing[0]!r}.",
                hint="Compute them first: `fusion cache build`, or fusion.cache.build.",
            )
        self._mark(catalogue, found)
        numbers, rows = catalogue.place(found)
        used, file_of = np.unique(numbers, return_inverse=True)
        return FeatureArray(
            fingerprint,
            tuple(keys),
            tuple(catalogue.files[number] for number in used),
            file_of.reshape(-1),
            rows,
            catalogue.checksums[found],
            verify,
            partial(_reopened, self.root),
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
        """Store arrays as one new shard. Where a key has an array already, either may be read.

        Parameters
        ----------
        keys : sequence of str
            One per array; ASCII.
        arrays : sequence of array
            Of the fingerprint's shape and dtype.
        seconds : sequence of float, optional
            What computing each took; 0 by default.
        origins, groups : sequence of str, optional
            Where each source was found, and what it belongs to; empty by default.

        Raises
        ------
        CacheError
            If keys and arrays do not fit each other or the fingerprint.
        StorageError
            If the cache can't be written to or is full.
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
        """Folders that are named like a feature's, sorted, each with the fingerprint's id."""
        named = ((folder, FEATURE_FOLDER.fullmatch(folder.name)) for folder in _listed(self.root))
        return [(folder, match["id"]) for folder, match in named if match and folder.is_dir()]

    def features(self) -> list[Fingerprint]:
        """All features that have a folder here, sorted by name."""
        found = (self._read_fingerprint(folder) for folder in _listed(self.root))
        return [fingerprint for fingerprint in found if fingerprint is not None]

    def info(self) -> list[FeatureInfo]:
        """What is there, by feature, sorted by name; on the other machine, if there is one."""
        there = self.upstream
        if there is not None:
            return [_info(made, there.catalogue(made), 0) for made in there.features()]
        return [_info(made, self.catalogue(made), self._debris(made)) for made in self.features()]

    def _debris(self, fingerprint: Fingerprint) -> int:
        folder = self.folder(fingerprint)
        return len(find_debris(folder)) + len(find_dead_claims(folder))

    def _read_fingerprint(self, folder: Path) -> Fingerprint | None:
        match = FEATURE_FOLDER.fullmatch(folder.name)
        if match is None or not folder.is_dir():
            return None  # not ours
        closed = closed_folder(folder)
        if closed is not None:
            self._problems[folder] = closed
            return None
        path = folder / FINGERPRINT_FILE
        try:
            fingerprint = Fingerprint.from_json(path.read_text(encoding="ascii"), match["id"])
        except (OSError, UnicodeDecodeError, CacheError) as error:
            reason = error.message if isinstance(error, CacheError) else str(error)
            hint = "`fusion cache verify --repair` writes it anew."
            self._problems[path] = Problem(path, f"{path} can't be used: {reason}\n  hint: {hint}")
            return told_by_shards(folder, match["id"])
        self._problems.pop(path, None)
        return fingerprint

    # -- shards ----------------------------------------------------------------------

    def catalogue(self, fingerprint: Fingerprint) -> Catalogue:
        """Every stored item of a feature, as the folder is now."""
        folder = self.folder(fingerprint)
        open_shard = partial(self.open_shard, fingerprint)
        for _ in range(_TRIES):
            listing = shards_in(folder)
            catalogue = load_catalogue(folder, fingerprint, listing, open_shard)
            unused = listing.keys() - {file.path.name for file in catalogue.files}
            if all((folder / name).exists() for name in unused):
                break  # none has gone since it was listed
        catalogue.save_if_worth_it(folder)
        return catalogue

    def index(self, fingerprint: Fingerprint) -> None:
        """Bring a feature's index file up to date, where one may write.

        Without it everything is found too, but every shard has to be opened.
        """
        catalogue = self.catalogue(fingerprint)
        if catalogue.fresh:
            with contextlib.suppress(StorageError):
                catalogue.save(self.folder(fingerprint))

    def _mark(self, catalogue: Catalogue, positions: npt.NDArray[np.int64]) -> None:
        """Mark the shards of these items as used, for the garbage collector."""
        numbers = np.unique(catalogue.place(positions)[0])
        self._marks.mark(catalogue.files[number].path for number in numbers)

    def fetch(self, fingerprint: Fingerprint, keys: Sequence[str]) -> int:
        """Copy what the other machine's cache has of `keys`; returns how many items that were."""
        return self.upstream.fetch(fingerprint, keys, self.prepare) if self.upstream else 0

    def shards(self, fingerprint: Fingerprint) -> Iterator[Shard]:
        """The readable shards of a feature, each opened and checked, by name."""
        folder = self.folder(fingerprint)
        for name, listed in sorted(shards_in(folder).items()):
            shard = self.open_shard(fingerprint, folder / name, listed)
            if shard is not None:
                yield shard

    def open_shard(
        self, fingerprint: Fingerprint, path: Path, listed: Listed | None = None
    ) -> Shard | None:
        """One shard; None, and a problem more, where the file can't be used. As it is `listed`
        it is kept, and not opened again."""
        before, shard = self._shards.get(path, (None, None))
        if listed is not None and before == listed:
            return shard
        try:
            shard = Shard.open(path, of=fingerprint)
        except FileNotFoundError:
            return None  # deleted since it was listed
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
    """A cache to work on, not only to read from.

    Raises
    ------
    CacheError
        If `root`, or the environment's ``FUSION_CACHE``, is the URL of another machine's; or if
        there is no such folder, though it `must_exist`.
    """
    cache = FeatureCache(root)
    if cache.upstream is not None:
        raise CacheError(
            f"The cache at {cache.upstream} can be read from here, and nothing else.",
            hint="Do this on the machine that holds it, or name a folder with --cache.",
        )
    if must_exist and not cache.root.is_dir():
        raise CacheError(
            f"There is no cache in {cache.root}: that is no folder.",
            hint="Name another with --cache or FUSION_CACHE; `fusion cache build` makes one.",
        )
    return cache


def told_by_shards(folder: Path, id: str) -> Fingerprint | None:
    """The fingerprint in the first readable shard that belongs into this folder."""
    for name in sorted(shards_in(folder)):
        with contextlib.suppress(OSError, ShardError):
            fingerprint = Shard.open(folder / name).fingerprint
            if fingerprint.id == id:
                return fingerprint
    return None


def shards_in(folder: Path) -> dict[str, Listed]:
    """The shards of a folder as it lists them."""
    for _ in range(_TRIES):
        found: dict[str, Listed] = {}
        try:
            with os.scandir(folder) as listing:
                for entry in listing:
                    if entry.name.endswith(SUFFIX) and not entry.name.startswith("."):
                        status = entry.stat()
                        found[entry.name] = Listed(status.st_size, status.st_mtime_ns)
        except FileNotFoundError:
            if not folder.exists():
                return {}
            continue  # a shard has gone since, and what it held may be in a new one
        except OSError as error:
            raise _unreadable(folder, error) from None
        break
    return found


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


def _reopened(root: Path, gone: Path, fingerprint: Fingerprint, keys: list[str]) -> FeatureArray:
    """Arrays whose shard has gone, where the cache has them now."""
    cache = FeatureCache(root)
    missing = cache.missing(fingerprint, keys)
    if missing:
        raise CacheError(
            f"{gone} was there and has gone, and with it {len(missing)} arrays: "
            "something deletes files of this cache.",
            hint="Start again; what is missing is then computed again.",
        )
    return cache.open(fingerprint, keys)


def _indented(fingerprint: Fingerprint) -> str:
    return json.dumps(json.loads(fingerprint.canonical()), indent=2) + "\n"


def _default_root() -> Path:
    given = os.environ.get("FUSION_CACHE")
    if given and "://" not in given:
        return Path(given).expanduser().absolute()
    import platformdirs

    return platformdirs.user_cache_path("fusion") / "features"


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unreadable(folder, error) from None


def _unreadable(folder: Path, error: OSError) -> CacheError:
    return CacheError(
        f"Can't read the cache folder {folder}: {error.strerror or error}.",
        hint="Choose another folder; FUSION_CACHE sets the default.",
    )
