"""Page docs/contributing/map.md: every file of the package and its docstring's first line."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOP = ("core", "cache", "plugins")
HEAD = """# Map of the code

Every Python file of the package with the first line of its docstring. `python docs/generate` writes
this page. [Design](design.md) explains how the folders depend on each other.
"""


def packages() -> Iterator[Path]:
    """Yield the folders that contain Python files, parents first."""
    for top in TOP:
        yield from sorted({path.parent for path in (ROOT / top).rglob("*.py")})


def first_line(path: Path) -> str:
    """Return the first line of a module's docstring without its full stop."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0].rstrip(".").replace("``", "`")


def text() -> str:
    """Return the page as Markdown."""
    lines = [HEAD]
    for folder in packages():
        name = folder.relative_to(ROOT).as_posix()
        lines += [f"## {name}/", "", f"{first_line(folder / '__init__.py')}.", ""]
        files = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
        if files:
            lines += ["| file | |", "|---|---|"]
            lines += [f"| [{p.stem}](../../{name}/{p.name}) | {first_line(p)} |" for p in files]
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def pages() -> dict[Path, str]:
    """Return the path and the text of the page."""
    return {ROOT / "docs/contributing/map.md": text()}
