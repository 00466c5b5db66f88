"""What the documentation shows works as shown."""

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
    """The first example of cache.md, without torch and the rest of fusion."""
    for name in ("a.raw", "b.raw"):
        np.random.default_rng(len(name)).integers(-9, 9, 100).astype(np.int16).tofile(
            tmp_path / name
        )
    (tmp_path / "b.raw").write_bytes((tmp_path / "b.raw").read_bytes()[:50])
    code = python_blocks("concepts/cache.md")[0] + (
        "\nprint(report.computed, array.take([1, 0, 1]).shape)"
        "\nimport sys; print(sorted({'torch', 'librosa', 'click'} & set(sys.modules)))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines() == ["2 (3, 1)", "[]"]


PAGES = sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))


@pytest.mark.parametrize("page", PAGES)
def test_the_files_that_are_named_exist(page: str) -> None:
    for path in re.findall(
        r"`((?:tests|cache|core|benchmarks)/[\w/]+\.py)`", (DOCS / page).read_text()
    ):
        assert (ROOT / path).is_file(), path


def test_the_walk_from_the_command_to_the_results_is_as_told() -> None:
    text = (DOCS / "contributing/design.md").read_text()
    steps = re.findall(r"^\| \d+ \| (.*?) \| (.*?) \|$", text, re.MULTILINE)
    assert len(steps) == 12
    for told, where in steps:
        files = [ROOT / path for path in re.findall(r"`([\w/.]+)`", where)]
        source = "\n".join(
            file.read_text()
            for place in files
            for file in (place.glob("*.py") if place.is_dir() else [place])
        )
        for name in re.findall(r"`(\w+)`", told):
            if name != "RunConfig":  # named, and made elsewhere
                assert re.search(rf"^(def|class) {name}\b", source, re.MULTILINE), (name, where)


def test_the_map_has_every_file_as_it_describes_itself() -> None:
    module = doc_script("map")
    assert (DOCS / "contributing/map.md").read_text() == module.text(), "python docs/generate"
    assert "|  |" not in module.text()  # a file that does not say what it is for


def test_every_fault_threshold_and_remedy_is_described_as_it_is(tmp_path: Path) -> None:
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


def test_the_pages_of_methods_are_those_of_the_docstrings() -> None:
    module = doc_script("methods")
    made = module.pages()
    assert set((DOCS / "reference/methods").glob("*.md")) == set(made)
    stale = [page.name for page, text in made.items() if page.read_text() != text]
    assert not stale, "python docs/generate writes them again"
