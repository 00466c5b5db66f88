"""Docstrings, comments, messages and pages keep the rules of docs/contributing/words.md."""

from __future__ import annotations

from pathlib import Path

import pytest
from places import ROOT
from prose import AMERICAN, PHRASES, hits, python_files

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
# Pages that quote phrases to avoid.
QUOTING = {"docs/contributing/words.md"}


@pytest.mark.parametrize(
    "folder", ["core", "cache", "plugins", "examples", "benchmarks", "docs/generate"]
)
def test_the_code_keeps_the_rules(folder: str) -> None:
    result = [str(hit) for file in python_files(ROOT / folder) for hit in hits(file)]
    assert result == [], "python tests/helpers/prose.py lists them"


def test_the_documentation_keeps_the_rules() -> None:
    pages = [page for page in PAGES if page.relative_to(ROOT).as_posix() not in QUOTING]
    assert [str(hit) for page in pages for hit in hits(page)] == []


def test_violations_are_listed(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(
        '"""Of the clips of which it is known."""\n'
        "\n"
        "def reader(given: int) -> str:\n"
        '    """The same for a program that goes no further."""\n'
        "    told = 1  # what lies in the color table\n"
        '    raise ValueError(f"{given} is handed out")\n'
    )
    rules = [hit.rule.split(" (")[0] for hit in hits(file)]
    assert sorted(rules) == [
        "American spelling 'color'",
        "name",
        "name",
        "phrase 'handed out'",
        "phrase 'lies'",
        "phrase 'of which it'",
        "summary line",
        "summary line",
    ]


def test_code_in_prose_is_ignored(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("The value `told` is color-coded.\n\n```sh\necho told\n```\n")
    assert [hit.rule for hit in hits(page)] == ["American spelling 'color'"]


def test_every_phrase_has_a_replacement() -> None:
    assert all(PHRASES.values())
    assert not AMERICAN.search("normalise, behaviour, artefact, a normal organ")
