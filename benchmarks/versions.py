"""Two versions of the package side by side in one virtual environment, without a network."""

from __future__ import annotations

import configparser
import io
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("cache", "core", "plugins")  # setup.cfg makes the package of these and the root's files


class MissingError(Exception):
    """A version that is not in this repository; says why."""


def installed(name: str, folder: Path, dependencies: Path, ref: str | None) -> dict[str, str]:
    """Lay a version out as an import path of its own.

    Parameters
    ----------
    name : str
        Of its folder.
    ref : str, optional
        A commit or tag; None is the working tree.

    Returns
    -------
    dict
        The environment of a process that imports it, to be started with ``python -S``: nothing
        else called fusion can be found there.
    """
    source = ROOT
    if ref is not None:
        source = folder / f"{name}-source"
        _unpack(ref, source)
    path = folder / name
    package = path / "fusion"
    package.mkdir(parents=True)
    for part in FOLDERS:
        shutil.copytree(source / part, package / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in [*source.glob("*.py"), source / "py.typed"]:
        shutil.copy2(file, package)
    _describe(source / "setup.cfg", path)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FUSION_")}
    return {
        **environment,
        "PYTHONPATH": os.pathsep.join(map(str, (path, dependencies))),
        "OMP_NUM_THREADS": "1",
        "XDG_CACHE_HOME": str(path / "user-cache"),
    }


def dependencies(folder: Path) -> Path:
    """Everything this interpreter has installed but the package itself, as links."""
    path = folder / "dependencies"
    path.mkdir()
    for place in dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib")):
        for found in Path(place).iterdir():
            own = found.name.lower().startswith(("modal_fusion", "__editable__", "fusion"))
            if not own and found.suffix != ".pth" and not (path / found.name).exists():
                (path / found.name).symlink_to(found)
    return path


def _unpack(ref: str, folder: Path) -> None:
    """A commit's files.

    Raises
    ------
    MissingError
        If there is no such commit here.
    """
    found = _git("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
    if found.returncode:
        shallow = _git("rev-parse", "--is-shallow-repository").stdout.strip() == b"true"
        why = (
            "this clone is shallow; `git fetch --unshallow --tags` brings the rest"
            if shallow
            else "`git fetch --tags` may bring it"
        )
        raise MissingError(f"there is no commit {ref} here: {why}")
    archive = _git("archive", "--format=tar", ref)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True)
    except FileNotFoundError:
        raise MissingError("git is not installed") from None


def _describe(setup: Path, path: Path) -> None:
    """Metadata as an installation leaves them: plugins are found by their entry points."""
    config = configparser.ConfigParser()
    config.read(setup, encoding="utf-8")
    name, version = config["metadata"]["name"], config["metadata"]["version"]
    info = path / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    points = config["options.entry_points"].items()
    text = "".join(f"[{group}]{entries}\n" for group, entries in points)
    (info / "entry_points.txt").write_text(text, encoding="utf-8")


def python(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run this interpreter with one of the versions."""
    return subprocess.run(
        [sys.executable, "-S", *arguments], env=environment, capture_output=True, text=True
    )
