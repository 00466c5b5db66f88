"""Names of files that are called like a recording and are none."""

from __future__ import annotations

import re
from typing import IO

_HEAD = 4096  # bytes that are examined

_KINDS: tuple[tuple[bytes, str], ...] = (
    (
        rb"version https://git-lfs\.github\.com/spec/",
        "the file is a Git LFS pointer, which names the recording and does not contain it. "
        "Download the recordings with: git lfs pull",
    ),
    (
        rb"(?s)(?:\.\./)*(?:\.git/annex/objects|/annex/objects)/",
        "the file is a git-annex pointer, which names the recording and does not contain it. "
        "Download the recordings with: git annex get .",
    ),
    (
        rb"(?is)(?:\xef\xbb\xbf)?\s*(?:<!--.*?-->\s*)?<(?:!doctype\s+html|html)\b",
        "the file is an HTML page, often the error page of a download. Download the recording "
        "again.",
    ),
    (
        rb"(?s)(?:\xef\xbb\xbf)?\s*<\?xml\b",
        "the file is an XML document, often the error message of a download. Download the "
        "recording again.",
    ),
    (rb"PK\x03\x04", "the file is a ZIP archive. Unpack it."),
    (rb"\x1f\x8b", "the file is compressed by gzip. Unpack it."),
    (rb"Rar!\x1a", "the file is a RAR archive. Unpack it."),
    (rb"7z\xbc\xaf\x27\x1c", "the file is a 7z archive. Unpack it."),
    (rb"\x89HDF\r\n", "the file is an HDF5 file, which holds arrays."),
    (rb"%PDF-", "the file is a PDF document."),
    (rb"\x89PNG\r\n|\xff\xd8\xff|GIF8", "the file is an image."),
)


def describe_other_file(file: IO[bytes]) -> str | None:
    """Describe a file that no decoder knows, as a clause for a message; None if it is unknown.

    Parameters
    ----------
    file : binary file
        The file; its position changes.
    """
    file.seek(0)
    head = file.read(_HEAD)
    if not head:
        return "the file is empty (0 bytes)."
    for pattern, description in _KINDS:
        if re.match(pattern, head):
            return description
    if not head.strip(b"\0"):
        return (
            f"the first {len(head)} bytes of the file are zero, as after an interrupted copy. "
            "Copy or download the file again."
        )
    return None
