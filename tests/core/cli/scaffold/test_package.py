"""Packages for new plugins: their contents, and requests that are refused."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import fusion
from fusion.core.cli.scaffold.kinds import KINDS, companions
from fusion.core.cli.scaffold.package import make_package
from fusion.core.contracts.errors import UnknownNameError, UserError
from fusion.core.registry.registry import Registry

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module", params=["tilt", "x" * 32], ids=["short", "long"])
def packages(
    request: pytest.FixtureRequest, registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """One package of each kind, under a short and under the longest name."""
    home = tmp_path_factory.mktemp("packages")
    return {
        kind: make_package(kind, request.param, folder=home / kind, registry=registry).folder
        for kind in KINDS
    }


def test_no_placeholder_remains(packages: dict[str, Path]) -> None:
    unfilled = re.compile(
        r"(?<!\$)\{\{|\{%|\{#|\b(KIND|SUMMARY|VERSION|RUN|CHECK|JUDGED?|EXTRACTOR|STRATEGY)\b"
    )
    for folder in packages.values():
        for file in folder.rglob("*"):
            if file.is_file():
                text = file.read_text()
                assert not re.search(r"my.?plugin", text, re.IGNORECASE), file
                assert not unfilled.search(text), file
                assert text.endswith("\n") and not text.endswith("\n\n")


def test_a_package_registers_a_plugin_with_its_name(packages: dict[str, Path]) -> None:
    for kind, folder in packages.items():
        (module,) = folder.glob("*.py")
        result = Registry([str(module)], strict=True)
        name = module.stem.removeprefix("fusion_")
        entry = next(e for e in result.entries(kind) if e.name == name)
        assert entry.cls.__doc__ and entry.cls.__module__ != "fusion"


def test_the_entry_point_is_the_module(packages: dict[str, Path]) -> None:
    for folder in packages.values():
        (module,) = folder.glob("*.py")
        name = module.stem.removeprefix("fusion_")
        project = tomllib.loads((folder / "pyproject.toml").read_text())
        assert project["project"]["name"] == f"fusion-{name}"
        assert project["project"]["entry-points"]["fusion"] == {name: module.stem}
        assert project["tool"]["setuptools"]["py-modules"] == [module.stem]
        assert any(d.startswith("modal-fusion>=") for d in project["project"]["dependencies"])
        assert (folder / f"tests/test_{name}.py").is_file()
        assert "license" not in project["project"]  # left for the author to choose


def test_a_package_is_linted_and_formatted(packages: dict[str, Path]) -> None:
    """The rules are those of this repository, with fusion as a third-party package."""
    pytest.importorskip("ruff")
    home = str(next(iter(packages.values())).parent)
    for arguments in (["check"], ["format", "--check", "--diff"]):
        ended = subprocess.run(
            [sys.executable, "-m", "ruff", *arguments, "--no-cache", home],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.slow
def test_a_package_is_typed(packages: dict[str, Path], tmp_path: Path) -> None:
    """The type checker runs in strict mode, as in this repository."""
    pytest.importorskip("mypy")
    root = Path(fusion.__file__).parent
    (tmp_path / "fusion").symlink_to(root)  # mypy does not see an editable installation
    for folder in packages.values():
        files = [str(file) for file in folder.rglob("*.py")]
        ended = subprocess.run(
            [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"),
             "--cache-dir", str(tmp_path / "cache"), *files],
            env={**os.environ, "MYPYPATH": f"{tmp_path}:{folder}"},
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stdout + ended.stderr


def test_commands_and_listed_files_match_the_package(registry: Registry, tmp_path: Path) -> None:
    beside = companions(registry)
    created = make_package("extractor", "tilt", folder=tmp_path / "new", registry=registry)
    assert created.commands[-1] == f"fusion run --features {beside['EXTRACTOR']},tilt --epochs 5"
    assert beside["EXTRACTOR"] in registry.defaults("extractor")
    assert {
        str(p.relative_to(created.folder)) for p in created.folder.rglob("*") if p.is_file()
    } == set(created.files)


# -- refused requests ------------------------------------------------------------------


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="no kind of plugin 'strategi'.*'strategy'"):
        make_package("strategi", "tilt")


def test_a_folder_that_is_not_empty_is_refused_and_left_unchanged(
    registry: Registry, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match=re.escape(f"The folder {tmp_path} is not empty")):
        make_package("strategy", "tilt", folder=tmp_path, registry=registry)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_filled(registry: Registry, tmp_path: Path) -> None:
    """The folder may be the current one; it is not replaced by another."""
    before = tmp_path.stat().st_ino
    make_package("strategy", "tilt", folder=tmp_path, registry=registry)
    assert tmp_path.stat().st_ino == before
    assert (tmp_path / "fusion_tilt.py").is_file()


def test_a_file_and_a_missing_parent_are_refused(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file is a file"):
        make_package("strategy", "tilt", folder=tmp_path / "file", registry=registry)
    with pytest.raises(UserError, match=r"The folder .*missing, the parent of new, does not exist"):
        make_package("strategy", "tilt", folder=tmp_path / "missing/new", registry=registry)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("present", [True, False])
def test_a_full_disk_leaves_no_partial_package(
    present: bool, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "new"
    if present:
        folder.mkdir()
    written = []
    write = Path.write_text

    def until_full(self: Path, *args: object, **options: object) -> int:
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        written.append(self)
        return write(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "write_text", until_full)
    with pytest.raises(UserError, match=r"new can't be written: No space left"):
        make_package("strategy", "tilt", folder=folder, registry=registry)
    assert list(tmp_path.rglob("*")) == ([folder] if present else [])
