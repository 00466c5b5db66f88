"""Writes docs/methods/, one page per built-in strategy, balancer and branch, from docstrings.

python docs/build_methods.py
"""

from __future__ import annotations

from pathlib import Path

from fusion.core.registry import Registry
from fusion.core.registry.reference import page, summary

KINDS = {"strategy": "Strategies", "balancer": "Balancers", "branch": "Branches"}
DISTRIBUTION = "modal-fusion"


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
