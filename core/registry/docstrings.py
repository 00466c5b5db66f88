"""Parser for numpydoc docstrings, which document a plugin and its parameters."""

from __future__ import annotations

import inspect
import itertools


def sections(documented: type | str) -> list[tuple[str, str]]:
    """Return the title and the text of each section of a docstring, or of a class's docstring.

    The text before the first section has the title "".
    """
    docstring = documented if isinstance(documented, str) else inspect.getdoc(documented) or ""
    titled: list[tuple[str, list[str]]] = [("", [])]
    lines = iter(itertools.pairwise([*docstring.splitlines(), ""]))
    for line, following in lines:
        if line.strip() and following.startswith("---") and not following.strip("-"):
            titled.append((line.strip(), []))
            next(lines)  # skip the line of dashes below the title
        else:
            titled[-1][1].append(line)
    return [(title, "\n".join(text).strip()) for title, text in titled]


def summary(cls: type) -> str:
    """Return the first line of a class's docstring."""
    return (inspect.getdoc(cls) or "").split("\n", 1)[0].replace("``", "`")


def parameter_docs(docstring: str) -> dict[str, str]:
    """Return the texts of the *Parameters* and *Attributes* sections, by name of the entry."""
    docs: dict[str, str] = {}
    for title, text in sections(docstring):
        names: list[str] = []
        for line in text.splitlines() if title in ("Parameters", "Attributes") else ():
            if line and not line[0].isspace():
                names = [name.strip() for name in line.split(":")[0].split(",")]
            for name in names if line.strip() and line[0].isspace() else ():
                docs[name] = f"{docs.get(name, '')} {line.strip()}".strip()
    return docs
