"""Recordings inside containers: stored as files once, named by the format of their content."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from ...core.toolkit.unpacked import unpacked_folder, write_once
from ...core.toolkit.waveforms import audio_suffix

LARGEST = 1 << 30  # bytes of one recording in a container
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")


def unpack(content: bytes, name: str) -> Path:
    """Store the content of a recording in the folder of unpacked recordings; return the file.

    The suffix follows from the first bytes, else from `name`.
    """
    own = PurePosixPath(name).suffix
    suffix = audio_suffix(content) or (own if _SUFFIX.fullmatch(own) else ".bin")
    return write_once(unpacked_folder(), content, suffix)
