"""Hooks of mkdocs: formulas as MathML, pages from the repository's root, links that leave docs/."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent

# Pages whose text is a file in the repository's root.
INCLUDED = {
    "contributing/index.md": ROOT / "CONTRIBUTING.md",
    "contributing/changelog.md": ROOT / "CHANGELOG.md",
}

_REMOTE_WORKER = "https://unpkg.com/iframe-worker/shim"
_FORMULA = re.compile(r"^```math\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)#:\s]+)(#[^)\s]*)?\)")


def on_startup(**_: Any) -> None:
    """Make the folder that mkdocstrings reads: in a checkout, none has the package's name."""
    package = ROOT / "build/docs/fusion"
    package.mkdir(parents=True, exist_ok=True)
    for name in ("__init__.py", "testing.py", "core", "plugins", "cache"):
        if not (package / name).exists():
            (package / name).symlink_to(ROOT / name)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return a page's Markdown as the site needs it.

    Browsers show MathML without a script. Files outside docs/ are not part of the site: a link to
    one becomes its path in the repository.
    """
    folder_of_page = (DOCS / page.file.src_uri).parent
    source = INCLUDED.get(page.file.src_uri)
    folder = folder_of_page if source is None else source.parent
    text = markdown if source is None else source.read_text(encoding="utf-8")

    def link(match: re.Match[str]) -> str:
        name, path, anchor = match[1], match[2], match[3] or ""
        target = (folder / path).resolve()
        if target.is_relative_to(DOCS):
            return f"[{name}]({os.path.relpath(target, folder_of_page)}{anchor})"
        return f"`{target.relative_to(ROOT).as_posix()}`" if target.exists() else match[0]

    return _LINK.sub(link, _FORMULA.sub(lambda block: _display(block[1]), text))


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Return a page's HTML with our own worker for pages from the disk, not one of another host."""
    depth = page.file.dest_uri.count("/")
    return output.replace(_REMOTE_WORKER, "../" * depth + "offline-worker.js")


def on_post_template(output_content: str, **_: Any) -> str:
    """Return the page for missing pages, which needs no search from the disk."""
    return output_content.replace(f'<script src="{_REMOTE_WORKER}"></script>', "")


def _display(latex: str) -> str:
    # One line: Markdown ends an HTML block at an empty line.
    return f'<div class="formula">{convert(" ".join(latex.split()), display="block")}</div>'
