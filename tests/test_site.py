"""The documentation site: formulas, links and search that work on a page opened from the disk."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace

import pytest
from doc_scripts import doc_script

pytest.importorskip("latex2mathml", reason="pip install '.[docs]'")


@pytest.fixture(scope="module")
def site() -> ModuleType:
    return doc_script("site")


def page(source: str, target: str = "index.html") -> SimpleNamespace:
    return SimpleNamespace(file=SimpleNamespace(src_uri=source, dest_uri=target))


def test_a_formula_becomes_mathml(site: ModuleType) -> None:
    text = "before\n\n```math\na_m \\ge 0\n```\n\nafter `code`\n"
    html = site.on_page_markdown(text, page("tutorial.md"))
    assert '<div class="formula"><math' in html and "<msub>" in html
    assert html.startswith("before\n\n") and html.endswith("\n\nafter `code`\n")


def test_links_within_docs_are_kept_and_other_files_become_paths(site: ModuleType) -> None:
    text = "[cache](../concepts/cache.md#building), [one](../../examples/quickstart.py), [x](#y)"
    assert site.on_page_markdown(text, page("how-to/index.md")) == (
        "[cache](../concepts/cache.md#building), `examples/quickstart.py`, [x](#y)"
    )


def test_links_of_a_page_from_the_root_are_adapted(site: ModuleType) -> None:
    text = site.on_page_markdown("", page("contributing/index.md"))
    assert text.startswith("# Contributing")
    assert "](design.md)" in text and "](docs/" not in text


def test_no_page_requests_another_host(site: ModuleType) -> None:
    tag = '<script src="https://unpkg.com/iframe-worker/shim"></script>'
    assert site.on_post_page(tag, page("a.md", "how-to/a.html")) == (
        '<script src="../offline-worker.js"></script>'
    )
    assert site.on_post_template(f"<p>{tag}</p>") == "<p></p>"
