"""Search for clips that share a recording: overlapping segments of a file, and identical files.

Files are compared by content, so copies and links under other names are found. Two files of
identical bytes are one recording, unless the bytes hold no information: recordings of silence are
often identical, and say nothing about who speaks.
"""

from __future__ import annotations

import hashlib
import math
import stat
import zlib
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

from ..contracts.data import Clip

K = TypeVar("K", bound=tuple[str, ...])
# A file on disk: device and inode, so that links to one file are equal; or the path of a file
# that can't be examined.
_Identity = tuple[int, int] | str

_BLOCK = 4096  # bytes in the middle of a file that are compared before whole files
_CHUNK = 1 << 20  # bytes in memory while a whole file is read
# Overlap in seconds that does not count: published times are rounded, so one segment may end a
# little after the start of the next one.
_ROUNDING = 1e-3
# Content is without information if zlib compresses it to at most this number of bytes, or to this
# share. A constant signal compresses to 1/1000; speech compresses to no less than a tenth.
_FEW_BYTES = 512
_SMALL_SHARE = 1 / 200


def shared_recordings(clips: Sequence[Clip]) -> tuple[tuple[int, ...], ...]:
    """Return the groups of clips that share a recording.

    Two clips share a recording if their segments of one file, or of two files with identical bytes,
    overlap by more than a millisecond. Clips that are connected by such pairs are one group. Files
    that are missing or can't be read are compared by path only.

    Only files whose size another file has are opened. A whole file is read only if the middle 4 KiB
    of another file of its size are the same. At most 1 MiB of a file is in memory.

    Parameters
    ----------
    clips : sequence of Clip
        Clips of one or several corpora.

    Returns
    -------
    tuple of tuple of int
        Sorted indices of the clips of each group of at least two clips, sorted by the first index.
    """
    files = _files_of(clips)
    content = _contents(clips, files)
    by_content: dict[int, list[int]] = defaultdict(list)
    for index, number in enumerate(files.numbers):
        by_content[content.get(number, number)].append(index)
    groups = [
        group
        for number, members in by_content.items()
        if len(members) > 1 and not _is_one_silence(clips, members, files.sizes[number])
        for group in _overlapping(clips, members)
    ]
    return tuple(sorted(groups))


def join(keys: Sequence[K], groups: Iterable[Sequence[int]]) -> list[K]:
    """Return one key per item, equal for all items that keys or groups connect (union-find).

    Parameters
    ----------
    keys : sequence of tuple
        Key of each item; items with equal keys are connected.
    groups : iterable of sequence of int
        Indices of connected items.

    Returns
    -------
    list of tuple
        For each item, the smallest key among the items connected with it.
    """
    parent = {key: key for key in keys}

    def root(key: K) -> K:
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for group in groups:
        for index in group[1:]:
            first, second = sorted((root(keys[group[0]]), root(keys[index])))
            parent[second] = first
    return [root(key) for key in keys]


# -- which files are one file --------------------------------------------------------


@dataclass(frozen=True)
class _Files:
    """The files of clips, each with a number. Plain arrays: there may be 100,000 files."""

    numbers: Sequence[int]  # of the file of each clip
    first: Sequence[int]  # index of a clip of each file
    sizes: Sequence[int]  # bytes of each file; -1 if unknown


def _files_of(clips: Sequence[Clip]) -> _Files:
    number_of: dict[_Identity, int] = {}
    numbers, first, sizes = array("q"), array("q"), array("q")
    latest: Path | None = None
    for index, clip in enumerate(clips):
        path = clip.recording.path
        if path == latest:  # segments of one file mostly follow each other
            numbers.append(numbers[-1])
            continue
        identity, size = _examine(Path(path))  # a plugin may give a text
        number = number_of.setdefault(identity, len(number_of))
        if number == len(sizes):
            first.append(index)
            sizes.append(-1 if size is None else size)
        numbers.append(number)
        latest = path
    return _Files(numbers, first, sizes)


def _examine(path: Path) -> tuple[_Identity, int | None]:
    """Return a file and its size in bytes; None for a size that is unknown."""
    try:
        status = path.stat()
    except (OSError, ValueError):  # ValueError: a path with a null character
        return str(path.absolute()), None
    size = status.st_size if stat.S_ISREG(status.st_mode) else None
    if not status.st_ino:  # a file system without inodes
        return str(path.resolve()), size
    return (status.st_dev, status.st_ino), size


def _contents(clips: Sequence[Clip], files: _Files) -> dict[int, int]:
    """Return the first file with the same bytes, for each file that has a copy."""
    by_size: dict[int, list[int]] = defaultdict(list)
    for number, size in enumerate(files.sizes):
        by_size[size].append(number)
    by_size.pop(-1, None)

    def path_of(number: int) -> Path:
        return Path(clips[files.first[number]].recording.path)

    first: dict[int, int] = {}
    for size, candidates in by_size.items():
        for similar in _alike(candidates, path_of, partial(_middle, size=size)):
            for copies in _alike(similar, path_of, _digest):
                if _is_informative(path_of(copies[0]), size):
                    first.update(dict.fromkeys(copies, copies[0]))
    return first


def _alike(
    files: Sequence[int], path_of: Callable[[int], Path], summary: Callable[[BinaryIO], bytes]
) -> Iterator[list[int]]:
    """Yield lists of at least two files with equal summaries; leave out unreadable files."""
    if len(files) < 2:
        return
    by_summary: dict[bytes, list[int]] = defaultdict(list)
    for file in files:
        try:
            with path_of(file).open("rb") as opened:
                by_summary[summary(opened)].append(file)
        except OSError:
            continue
    yield from (alike for alike in by_summary.values() if len(alike) > 1)


def _middle(opened: BinaryIO, size: int) -> bytes:
    """Return a digest of the middle of a file; beginnings differ less (headers, silence)."""
    opened.seek(max(0, (size - _BLOCK) // 2))
    return hashlib.blake2b(opened.read(_BLOCK), digest_size=16).digest()


def _digest(opened: BinaryIO) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    while chunk := opened.read(_CHUNK):
        digest.update(chunk)
    return digest.digest()


def _is_one_silence(clips: Sequence[Clip], members: Sequence[int], size: int) -> bool:
    """Return True for clips that are one whole file without information.

    Recordings that come as bytes are stored once for equal content, so the silent recordings of
    several speakers are one file.
    """
    places = {(clips[i].recording.path, clips[i].recording.start, clips[i].recording.end)
              for i in members}  # fmt: skip
    if len(places) > 1 or size < 0:
        return False
    path, start, end = places.pop()
    return not start and end is None and not _is_informative(Path(path), size)


def _is_informative(path: Path, size: int) -> bool:
    """Return False for a file of silence or of another constant signal, and for an empty file."""
    compressor, compressed = zlib.compressobj(1), 0
    limit = max(_FEW_BYTES, size * _SMALL_SHARE)
    try:
        with path.open("rb") as opened:
            while chunk := opened.read(_CHUNK):
                compressed += len(compressor.compress(chunk))
                if compressed > limit:
                    return True
    except OSError:
        return False
    return compressed + len(compressor.flush()) > limit


# -- which segments overlap ----------------------------------------------------------


def _overlapping(clips: Sequence[Clip], members: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield the groups of at least two clips of one recording whose segments overlap."""
    group: list[int] = []
    latest = -math.inf  # latest end of the segments in the group
    for index in sorted(members, key=lambda i: (clips[i].recording.start, i)):
        recording = clips[index].recording
        if recording.start >= latest - _ROUNDING:
            if len(group) > 1:
                yield tuple(sorted(group))
            group, latest = [], -math.inf
        group.append(index)
        latest = max(latest, math.inf if recording.end is None else recording.end)
    if len(group) > 1:
        yield tuple(sorted(group))
