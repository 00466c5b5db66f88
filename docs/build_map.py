"""Writes docs/map.md: every file of the package with the first line of its docstring.

python docs/build_map.py
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOP = ("core", "cache", "plugins")
HEAD = """# Map

Every file with the first line of its own docstring; made by `python docs/build_map.py`. How the
folders belong together is in [design.md](design.md).
"""


def packages() -> Iterator[Path]:
    """Folders with Python files, a folder before those in it."""
    for top in TOP:
        yield from sorted({path.parent for path in (ROOT / top).rglob("*.py")})


def first_line(path: Path) -> str:
    """First line of a module's docstring, without its full stop."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0].rstrip(".").replace("``", "`")


def text() -> str:
    """The whole page."""
    lines = [HEAD]
    for folder in packages():
        name = folder.relative_to(ROOT).as_posix()
        lines += [f"## {name}/", "", f"{first_line(folder / '__init__.py')}.", ""]
        files = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
        if files:
            lines += ["| file | |", "|---|---|"]
            lines += [f"| [{p.stem}](../{name}/{p.name}) | {first_line(p)} |" for p in files]
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    (Path(__file__).parent / "map.md").write_text(text(), encoding="utf-8")
