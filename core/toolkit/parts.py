"""Names of the parts of a split, as corpora write them."""

from __future__ import annotations

import re
from collections.abc import Iterable

PARTS = ("train", "val", "test")

_WORDS = {
    "train": "train training",
    "val": "val valid validation dev devel develop development",
    "test": "test testing eval evaluation",
}
_PARTS = {word: part for part, words in _WORDS.items() for word in words.split()}


def part_of(text: str) -> str | None:
    """Return ``"train"``, ``"val"`` or ``"test"`` for the name of a part; None for other text.

    Case and a number at the end do not matter, so ``"Development"`` and ``"Test1"`` are recognised.
    """
    return _PARTS.get(re.sub(r"[\W_]*\d*$", "", text.strip()).lower())


def is_numbered(cells: Iterable[str]) -> bool:
    """Return True if the cells of a column of splits are numbers: nothing states their meaning.

    Empty cells do not count; a column of empty cells gives False.
    """
    texts = [text for text in cells if text]
    return bool(texts) and all(text.replace(".", "").isdecimal() for text in texts)


def part_in(stem: str) -> tuple[str, str] | None:
    """Return the part that a file name contains, and the rest of the name; None without a part.

    The part is the first or the last word of the name: ``"polish_train"`` gives ``("train",
    "polish")``, and ``"dev"`` gives ``("val", "")``.
    """
    words = [word for word in re.split(r"[\W_]+", stem) if word]
    for position in (-1, 0):
        if words and (part := part_of(words[position])):
            rest = words[:-1] if position else words[1:]
            return part, " ".join(rest)
    return None
