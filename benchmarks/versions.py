"""Import paths for several versions of the package in one virtual environment, without network."""

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
FOLDERS = (
    "cache",
    "core",
    "plugins",
)  # setup.cfg builds the package from these and the root's files


class MissingError(Exception):
    """Error for a version that this repository does not contain; its text is the reason."""


def installed(name: str, folder: Path, dependencies: Path, ref: str | None) -> dict[str, str]:
    """Create an import path that contains one version of the package.

    Parameters
    ----------
    name : str
        Name of the folder to create in `folder`.
    folder : Path
        Parent folder.
    dependencies : Path
        Result of :func:`dependencies`.
    ref : str, optional
        A commit or tag; None is the working tree.

    Returns
    -------
    dict
        Environment of a process that imports this version. Start the process with ``python -S``,
        so that no other package called fusion is found.
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
    """Create a folder of links to all packages of this interpreter except fusion; return it."""
    path = folder / "dependencies"
    path.mkdir()
    for place in dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib")):
        for package in Path(place).iterdir():
            own = package.name.lower().startswith(("modal_fusion", "__editable__", "fusion"))
            if not own and package.suffix != ".pth" and not (path / package.name).exists():
                (path / package.name).symlink_to(package)
    return path


def _unpack(ref: str, folder: Path) -> None:
    """Extract a commit's files into `folder`.

    Raises
    ------
    MissingError
        If this repository does not contain the commit.
    """
    commit = _git("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
    if commit.returncode:
        shallow = _git("rev-parse", "--is-shallow-repository").stdout.strip() == b"true"
        why = (
            "this clone is shallow; run `git fetch --unshallow --tags`"
            if shallow
            else "try `git fetch --tags`"
        )
        raise MissingError(f"this repository has no commit {ref}: {why}")
    archive = _git("archive", "--format=tar", ref)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True)
    except FileNotFoundError:
        raise MissingError("git is not installed") from None


def _describe(setup: Path, path: Path) -> None:
    """Write the metadata of an installation, because plugins are found by their entry points."""
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
    """Run this interpreter in the environment of one of the versions."""
    return subprocess.run(
        [sys.executable, "-S", *arguments], env=environment, capture_output=True, text=True
    )
