"""Writes docs/methods/, one page per built-in strategy, balancer and branch, from docstrings.

python docs/build_methods.py
"""

from __future__ import annotations

import textwrap
from pathlib import Path

from fusion.core.registry.docstrings import sections, summary
from fusion.core.registry.parameters import parameters_of, space_of
from fusion.core.registry.registry import Entry, Registry

KINDS = {"strategy": "Strategies", "balancer": "Balancers", "branch": "Branches"}
DISTRIBUTION = "modal-fusion"

_GIVEN = ("dims", "num_classes", "shape", "dim", "path")  # passed by fusion, not by a user
_NOT_SHOWN = ("Parameters", "Attributes")  # told from the annotations instead


def pages() -> dict[str, str]:
    """File name in docs/methods -> text; the index among them."""
    registry = Registry()
    found: dict[str, str] = {}
    index = ["# Methods, one page each", "", "Made by `python docs/build_methods.py`."]
    for kind, title in KINDS.items():
        index += ["", f"## {title}", "", "| | |", "|---|---|"]
        entries = [e for e in registry.entries(kind) if e.source.distribution == DISTRIBUTION]
        for entry in sorted(entries, key=lambda e: e.name):
            name = f"{kind}-{entry.name}.md"
            found[name] = page(entry)
            index.append(f"| [{entry.name}]({name}) | {summary(entry.cls)} |")
    found["README.md"] = "\n".join(index) + "\n"
    return found


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
    owner = entry.owner
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


def main() -> None:
    folder = Path(__file__).parent / "methods"
    folder.mkdir(exist_ok=True)
    written = pages()
    for old in folder.glob("*.md"):
        if old.name not in written:
            old.unlink()
    for name, text in written.items():
        (folder / name).write_text(text, encoding="utf-8")
    print(f"{len(written)} pages in {folder}")


if __name__ == "__main__":
    main()
