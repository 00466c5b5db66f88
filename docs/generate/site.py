"""Hooks of mkdocs: formulas as MathML, and links that leave the documentation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert

DOCS = Path(__file__).resolve().parents[1]

_FORMULA = re.compile(r"^```math\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(((?:\.\./)+[^)#\s]+)\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return a page's Markdown as the site needs it.

    Browsers show MathML without a script. Files outside docs/ are not part of the site: a link to
    one becomes its path in the repository.
    """
    folder = (DOCS / page.file.src_uri).parent

    def name(link: re.Match[str]) -> str:
        target = (folder / link[2]).resolve()
        if target.is_relative_to(DOCS):
            return link[0]
        return f"`{target.relative_to(DOCS.parent).as_posix()}`"

    return _LINK.sub(name, _FORMULA.sub(lambda block: _display(block[1]), markdown))


def _display(latex: str) -> str:
    # One line: Markdown ends an HTML block at an empty line.
    return f'<div class="formula">{convert(" ".join(latex.split()), display="block")}</div>'
