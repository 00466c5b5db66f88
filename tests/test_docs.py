"""Examples, links and generated pages of the documentation."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from doc_scripts import doc_script
from places import ROOT

DOCS = ROOT / "docs"


def python_blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def test_the_cache_on_its_own(tmp_path: Path) -> None:
    """The first example of cache.md works without importing torch, librosa and click."""
    for name in ("a.raw", "b.raw"):
        np.random.default_rng(len(name)).integers(-9, 9, 100).astype(np.int16).tofile(
            tmp_path / name
        )
    (tmp_path / "b.raw").write_bytes((tmp_path / "b.raw").read_bytes()[:50])
    code = python_blocks("concepts/cache.md")[0] + (
        "\nprint(report.computed, array.take([1, 0, 1]).shape)"
        "\nimport sys; print(sorted({'torch', 'librosa', 'click'} & set(sys.modules)))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert output.returncode == 0, output.stderr
    assert output.stdout.splitlines() == ["2 (3, 1)", "[]"]


PAGES = sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))


@pytest.mark.parametrize("page", [page for page in PAGES if page != "how-to/write-a-plugin.md"])
def test_named_files_exist(page: str) -> None:
    for path in re.findall(
        r"`((?:tests|cache|core|benchmarks)/[\w/]+\.py)`", (DOCS / page).read_text()
    ):
        assert (ROOT / path).is_file(), path


def test_the_steps_of_a_run_in_design_md_name_existing_code() -> None:
    text = (DOCS / "contributing/design.md").read_text()
    steps = re.findall(r"^\| \d+ \| (.*?) \| (.*?) \|$", text, re.MULTILINE)
    assert len(steps) == 12
    for message, where in steps:
        files = [ROOT / path for path in re.findall(r"`([\w/.]+)`", where)]
        source = "\n".join(
            file.read_text()
            for place in files
            for file in (place.glob("*.py") if place.is_dir() else [place])
        )
        for name in re.findall(r"`(\w+)`", message):
            if name != "RunConfig":  # defined in another file
                assert re.search(rf"^(def|class) {name}\b", source, re.MULTILINE), (name, where)


@pytest.mark.parametrize("name", ["commands", "hooks", "map", "methods", "settings"])
def test_generated_pages_are_current(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(DOCS / "generate")  # because the modules import each other
    pages = doc_script(name).pages()
    outdated = [page.name for page, text in pages.items() if page.read_text() != text]
    assert not outdated, "python docs/generate"


def test_removed_plugins_have_no_page() -> None:
    methods = doc_script("methods")
    assert methods.stale(methods.pages()) == []


def test_every_module_on_the_map_has_a_description() -> None:
    assert "|  |" not in doc_script("map").text()


LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)\s]*)?\)")


@pytest.mark.parametrize("page", [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))], ids=str)
def test_relative_links_point_to_files(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    missing = [path for path in LINK.findall(text) if not (page.parent / path).exists()]
    assert not missing


def test_every_fault_threshold_and_remedy_is_documented(tmp_path: Path) -> None:
    from dataclasses import asdict

    from fusion.core.analysis.diagnosis import Thresholds
    from fusion.core.analysis.diagnosis.findings import TITLES
    from fusion.core.registry.registry import Registry
    from fusion.testing import faults

    text = (DOCS / "reference/diagnosis.md").read_text()
    for title in TITLES.values():
        assert f"| {title} |" in text
    for name, value in asdict(Thresholds()).items():
        assert f"`{name}` {value:g}" in text or f"`{name}` ({value:g})" in text, name
    for entry in Registry().entries("remedy"):
        assert f"| `{entry.name}` |" in text
    for name in faults.__all__:
        assert f"`{name}(" in text, name
    plugin = tmp_path / "bilinear.py"
    (shown,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
                if "fusion_remedies" in block]  # fmt: skip
    plugin.write_text(shown)
    assert Registry([str(plugin)]).remedy("bilinear").strategy == "lmf"
