"""Recordings that came as bytes of a container (parquet, tar, an array), stored as files once.

A file's name is the digest of its content, so equal content is stored once, whichever container
it came from. The folder holds copies only: it may be deleted at any time, and the next run writes
the files again.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from ..contracts.errors import ParameterError, StorageError
from .atomic import replaced

_SUFFIX = re.compile(r"(\.[A-Za-z0-9]{1,8})?")


def unpacked_folder() -> Path:
    """Return the folder of unpacked recordings, which may not exist yet.

    The environment variable ``FUSION_UNPACKED`` names the folder; the default is ``unpacked`` in
    the user's cache folder, beside the feature cache.
    """
    location = os.environ.get("FUSION_UNPACKED")
    if location:
        return Path(location).expanduser().absolute()
    import platformdirs

    return platformdirs.user_cache_path("fusion") / "unpacked"


def write_once(folder: Path, content: bytes, suffix: str) -> Path:
    """Store bytes in a file that is named after their digest, unless the file exists.

    The file appears whole or not at all, also if several processes write the same content.

    Parameters
    ----------
    folder : Path
        Folder of unpacked files, usually :func:`unpacked_folder`; created if necessary.
    content : bytes
        The content of the file.
    suffix : str
        Suffix of the file, such as ``".wav"``; may be empty.

    Returns
    -------
    Path
        ``folder/ab/abcd....wav``, where ``abcd...`` is the BLAKE2b digest of the content.

    Raises
    ------
    ParameterError
        If `suffix` is not a dot and up to 8 letters or digits.
    StorageError
        If the folder is full or can't be written to.
    """
    if not _SUFFIX.fullmatch(suffix):
        raise ParameterError(
            f"The suffix {suffix!r} of a file is neither empty nor a dot and up to 8 letters or "
            "digits."
        )
    digest = hashlib.blake2b(content, digest_size=20).hexdigest()
    path = folder / digest[:2] / f"{digest}{suffix.lower()}"
    try:
        if _size(path) != len(content):  # a file cut short by a crash is written again
            path.parent.mkdir(parents=True, exist_ok=True)
            with replaced(path) as temporary:
                temporary.write_bytes(content)
    except OSError as error:
        raise StorageError(
            f"A recording can't be unpacked to {folder}: {error.strerror or error}.",
            hint="Free some disk space, or set FUSION_UNPACKED to a folder that you may write to.",
        ) from error
    return path


def _size(path: Path) -> int:
    """Return the size of a file in bytes, or -1 if the file does not exist."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1
