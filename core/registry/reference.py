"""Pages about plugins, made from their docstrings."""

from __future__ import annotations

import inspect
import textwrap
from typing import TYPE_CHECKING

from .parameters import parameters_of, space_of

if TYPE_CHECKING:
    from .registry import Entry

_GIVEN = ("dims", "num_classes", "shape", "dim", "path")  # passed by fusion, not by a user
_NOT_SHOWN = ("Parameters", "Attributes")  # told from the annotations instead


def sections(cls: type) -> list[tuple[str, str]]:
    """The numpydoc sections of a class's docstring: title and text, "" for what comes first."""
    lines = (inspect.getdoc(cls) or "").splitlines()
    found: list[tuple[str, list[str]]] = [("", [])]
    skip = False
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if skip:
            skip = False
        elif line.strip() and following.startswith("---") and not following.strip("-"):
            found.append((line.strip(), []))
            skip = True
        else:
            found[-1][1].append(line)
    return [(title, "\n".join(text).strip()) for title, text in found]


def summary(cls: type) -> str:
    """First line of the docstring."""
    return (inspect.getdoc(cls) or "").split("\n", 1)[0].replace("``", "`")


def owner_of(entry: Entry) -> str:
    """What stands before the dot in ``--set OWNER.PARAMETER=VALUE``."""
    return "branch.MODALITY" if entry.kind == "branch" else entry.name


def page(entry: Entry) -> str:
    """Markdown: what it does, how to call it, parameters, and its docstring's other sections."""
    told = sections(entry.cls)
    parts = [f"# {entry.name}", f"*{entry.kind}*", _markdown(told[0][1])]
    parts += [f"```sh\n{_call(entry)}\n```", *_parameters(entry)]
    for title, text in told[1:]:
        if title not in _NOT_SHOWN:
            parts.append(f"## {title}\n\n{_markdown(text)}")
    return "\n\n".join(part for part in parts if part) + "\n"


def _call(entry: Entry) -> str:
    option = {
        "strategy": f"--strategy {entry.name}",
        "balancer": f"--balance {entry.name}",
        "branch": f"--branch MODALITY={entry.name}",
        "extractor": f"--features {entry.name},...",
        "corpus": f"--data {entry.name}=PATH",
        "tracker": f"--tracker {entry.name}",
    }[entry.kind]
    return f"fusion run {option}"


def _parameters(entry: Entry) -> list[str]:
    parameters, space = parameters_of(entry.cls), space_of(entry.cls)
    shown = [p for p in parameters.values() if p.name not in _GIVEN]
    if not shown:
        return ["No parameters."]
    owner = owner_of(entry)
    lines = ["| parameter | type | default | `--tune` | |", "|---|---|---|---|---|"]
    for p in shown:
        tuned = f"{space[p.name]}" if p.name in space else ""
        kind, doc = (text.replace("|", "\\|") for text in (p.type_name, p.doc))
        lines.append(f"| `{owner}.{p.name}` | {kind} | `{p.default!r}` | {tuned} | {doc} |")
    return ["## Parameters", "\n".join(lines)]


def _markdown(text: str) -> str:
    """A docstring's reStructuredText, as far as docstrings here use it, as Markdown."""
    lines: list[str] = []
    inside = False
    for line in text.replace("``", "`").splitlines():
        if line.rstrip() == "::":
            lines.append("```text")
            inside = True
        elif inside and line and not line.startswith(" "):
            while not lines[-1]:
                lines.pop()
            lines += ["```", "", line]
            inside = False
        elif line or lines[-1:] != ["```text"]:
            lines.append(line)
    if inside:
        lines.append("```")
    return _dedented(lines)


def _dedented(lines: list[str]) -> str:
    """Code between fences loses the indentation that marked it as code."""
    parts = "\n".join(lines).split("```")
    for i in range(1, len(parts), 2):
        language, _, code = parts[i].partition("\n")
        parts[i] = f"{language}\n{textwrap.dedent(code)}"
    return "```".join(parts)
