"""Sources of clips as a user names them with ``--data``: paths, corpora and parts of a split."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ...cache.exchange.paths import expanded
from ..contracts.data import Corpus
from ..contracts.errors import CorpusError, UnknownNameError
from ..toolkit.parts import part_of


@dataclass(frozen=True, slots=True)
class Source:
    """Data to read: a path, the name of a corpus, or both; and the part of a split.

    Attributes
    ----------
    corpus : str or None
        Name of the corpus; None means that the corpus is detected from the path.
    path : Path or None
        Folder or file; None for a corpus that generates its clips.
    split : str or None
        Part of the split that all clips belong to: ``"train"``, ``"val"`` or ``"test"``.
    """

    corpus: str | None
    path: Path | None
    split: str | None = None


def parse_source(text: str, corpora: Mapping[str, type[Corpus]]) -> Source:
    """Parse the value of one ``--data``.

    Parameters
    ----------
    text : str
        ``PATH``, ``CORPUS=PATH``, or the bare name of a corpus that generates its clips. A `text`
        that is an existing path is read as a path, even if `text` has an equals sign or is the name
        of a corpus.
    corpora : mapping
        Corpus class by name.

    Raises
    ------
    UnknownNameError
        If the named corpus does not exist.
    CorpusError
        If a corpus that needs a path has none, or a corpus that takes no path has one.
    """
    if text and _exists(text):
        return Source(None, expanded(text))
    name, equals, path = text.partition("=")
    if name in corpora and corpora[name].needs_path != bool(path):
        takes = f"takes no path, and {path!r} was given."
        if not path:
            takes = f"needs a path, and no path was given with {text!r}."
        raise CorpusError(
            f"The corpus {name!r} {takes}", hint=f"--data {name}" + ("" if path else "=PATH")
        )
    if name in corpora:
        return Source(name, expanded(path) if path else None)
    if equals and "/" not in name and "\\" not in name:
        raise UnknownNameError("corpus", name, corpora)
    if not text:
        raise CorpusError("--data is empty.", hint=accepted_sources(corpora))
    return Source(None, expanded(text))


def parse_sources(text: str, corpora: Mapping[str, type[Corpus]]) -> list[Source]:
    """Parse the value of one ``--data``: one source, or the parts of a published split.

    Parameters
    ----------
    text : str
        As in :func:`parse_source`, or ``train=PATH,val=PATH,test=PATH``, where each PATH may be any
        text that :func:`parse_source` accepts.

    Raises
    ------
    UnknownNameError, CorpusError
        As in :func:`parse_source`; CorpusError if a part is named twice.
    """
    parts = _parts(text)
    if not parts:
        return [parse_source(text, corpora)]
    return [replace(parse_source(path, corpora), split=part) for part, path in parts]


def _exists(text: str) -> bool:
    try:
        return expanded(text).exists()
    except (OSError, ValueError):  # too long for a path
        return False


def _parts(text: str) -> list[tuple[str, str]]:
    """Return part and path of each item of ``train=PATH,test=PATH``; empty for other texts."""
    if _exists(text):
        return []
    items = [re.fullmatch(r"\s*(\w+)=(.+?)\s*", item) for item in _items(text)]
    named = [(part_of(item[1]), item[2]) for item in items if item]
    parts = [(part, path) for part, path in named if part]
    if len(parts) < len(items):
        return []
    if len({part for part, _ in parts}) < len(parts):
        raise CorpusError(
            f"--data names a part of the split twice: {text}",
            hint="Write one table with a column split, or repeat --data.",
        )
    return parts


def _items(text: str) -> list[str]:
    """Split a text at the commas before ``PART=``; other commas belong to paths."""
    items: list[str] = []
    for item in text.split(","):
        name, equals, _ = item.partition("=")
        if items and not (equals and part_of(name)):
            items[-1] += f",{item}"
        else:
            items.append(item)
    return items


def absolute_source(text: str, corpora: Mapping[str, type[Corpus]]) -> str:
    """Return the value of one ``--data`` with absolute paths, valid in any working folder."""
    texts: list[str] = []
    for source in parse_sources(text, corpora):
        corpus = [] if source.corpus is None else [source.corpus]
        path = [] if source.path is None else [str(source.path.absolute())]
        texts.append("=".join([*filter(None, [source.split]), *corpus, *path]))
    return ",".join(texts)


def accepted_sources(corpora: Mapping[str, type[Corpus]]) -> str:
    """Return a sentence that lists the values that ``--data`` accepts."""
    generated = "".join(f", or {name}" for name, cls in corpora.items() if not cls.needs_path)
    return f"--data takes a folder, a table, CORPUS=PATH, train=PATH,val=PATH,test=PATH{generated}."
