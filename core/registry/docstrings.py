"""Sections of numpydoc docstrings: what a plugin's author says of it and of its parameters."""

from __future__ import annotations

import inspect
import itertools


def sections(documented: type | str) -> list[tuple[str, str]]:
    """The sections of a class's docstring, or of one: title and text, "" for what comes first."""
    told = documented if isinstance(documented, str) else inspect.getdoc(documented) or ""
    found: list[tuple[str, list[str]]] = [("", [])]
    lines = iter(itertools.pairwise([*told.splitlines(), ""]))
    for line, following in lines:
        if line.strip() and following.startswith("---") and not following.strip("-"):
            found.append((line.strip(), []))
            next(lines)  # the line below the title
        else:
            found[-1][1].append(line)
    return [(title, "\n".join(text).strip()) for title, text in found]


def summary(cls: type) -> str:
    """First line of the docstring."""
    return (inspect.getdoc(cls) or "").split("\n", 1)[0].replace("``", "`")


def parameter_docs(docstring: str) -> dict[str, str]:
    """Texts of the *Parameters* and *Attributes* sections, by name."""
    docs: dict[str, str] = {}
    for title, text in sections(docstring):
        names: list[str] = []
        for line in text.splitlines() if title in ("Parameters", "Attributes") else ():
            if line and not line[0].isspace():
                names = [name.strip() for name in line.split(":")[0].split(",")]
            for name in names if line.strip() and line[0].isspace() else ():
                docs[name] = f"{docs.get(name, '')} {line.strip()}".strip()
    return docs
