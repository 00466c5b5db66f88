"""A new plugin as files: put together from the templates, and written whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from ...contracts.errors import UserError
from ...registry.registry import Registry
from . import texts
from .kinds import companions, kind_of
from .names import Names, check_name, names_for


@dataclass(frozen=True, slots=True)
class Package:
    """A package that was made.

    Attributes
    ----------
    folder : Path
        Where it lies.
    names : Names
        What its parts are called.
    files : tuple of str
        Paths of its files in the folder.
    commands : tuple of str
        What to do next, in order, in that folder: install, test, check, run.
    """

    folder: Path
    names: Names
    files: tuple[str, ...]
    commands: tuple[str, ...]


def make_package(
    kind: str, name: str, *, folder: Path | None = None, registry: Registry | None = None
) -> Package:
    """Make a package around a new plugin.

    Parameters
    ----------
    kind : str
        ``"strategy"``, ``"balancer"``, ``"extractor"``, ``"branch"``, ``"corpus"``,
        ``"tracker"`` or ``"remedy"``.
    name : str
        What users will type: lower case letters, digits, underscores.
    folder : Path or None
        Where to put it: a folder that does not exist or is empty. None means ``fusion-NAME``
        in the current one.
    registry : Registry or None
        What is installed here, whose names are taken. None looks.

    Raises
    ------
    UnknownNameError
        If there is no such kind.
    ParameterError
        If the name can't be a plugin's, or is taken.
    UserError
        If the folder has something in it or can't be written.
    """
    commands = kind_of(kind)
    registry = Registry() if registry is None else registry
    check_name(kind, name, registry)
    source = template(kind)
    names = names_for(kind, name, source)
    folder = Path(names.distribution) if folder is None else folder
    _check_folder(folder)
    beside = companions(registry)
    content = render(kind, names, source, beside)
    _write(content, folder)
    own = tuple(_filled(line, names, beside) for line in (*commands.check, commands.run))
    return Package(
        folder,
        names,
        tuple(content),
        (
            'python -m pip install -e ".[test]"',
            "python -m pytest",
            *own,
        ),
    )


def template(name: str) -> str:
    """The source of a template module."""
    return (files(__package__) / "templates" / f"{name}.py").read_text(encoding="utf-8")


def render(kind: str, names: Names, source: str, beside: Mapping[str, str]) -> Mapping[str, str]:
    """Path -> content of every file of the package.

    Parameters
    ----------
    kind : str
        Kind of the plugin.
    names : Names
        What is filled in for `my_plugin`.
    source : str
        The template of the plugin.
    beside : mapping
        Words in capitals -> what stands for them in commands.
    """
    commands = kind_of(kind)
    words = {
        "KIND": kind,
        "SUMMARY": _summary(source),
        "VERSION": version("modal-fusion"),
        "CHECK": "\n".join(commands.check),
        "RUN": commands.run,
        "JUDGED": commands.judged,
        "JUDGE": "\n".join(commands.judge),
    }
    plain = {
        f"{names.module}.py": source,
        f"tests/test_{names.plugin}.py": _from_module(template(f"test_{kind}")),
        "pyproject.toml": texts.PYPROJECT,
        "README.md": texts.README,
        ".github/workflows/test.yml": texts.WORKFLOW,
        ".gitignore": texts.GITIGNORE,
    }
    return {path: _filled(text, names, words, beside) for path, text in plain.items()}


def _summary(source: str) -> str:
    """What the module's docstring says behind the colon, as a sentence without its full stop."""
    first = source.splitlines()[0].strip('"').rstrip(".")
    text = first.partition(": ")[2]
    return text[:1].upper() + text[1:]


def _from_module(test: str) -> str:
    """In the package a test imports from its module, not from a sibling."""
    return re.sub(r"^from \.\w+ import", "from fusion_my_plugin import", test, flags=re.MULTILINE)


def _filled(text: str, names: Names, *words: Mapping[str, str]) -> str:
    """Words in capitals first, each mapping into what the one before left; then the names."""
    for mapping in words:
        text = _replaced(text, {rf"\b{word}\b": value for word, value in mapping.items()})
    return _replaced(
        text,
        {
            "my-plugin": names.distribution.removeprefix("fusion-"),
            "MyPlugin": names.cls,
            "my_plugin": names.plugin,
        },
    )


def _replaced(text: str, values: Mapping[str, str]) -> str:
    for pattern, value in values.items():
        text = re.sub(pattern, value.replace("\\", r"\\"), text)
    return text


def _check_folder(folder: Path) -> None:
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(
            f"{folder.resolve()} has something in it already.",
            hint="Give another folder, which is new or empty: --dir FOLDER",
        )
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder.resolve()} is a file.", hint="Give a new folder: --dir FOLDER")
    if not folder.resolve().parent.is_dir():
        raise UserError(
            f"There is no folder {folder.resolve().parent} to put {folder.name} into.",
            hint="Make it first, or give another: --dir FOLDER",
        )


def _write(content: Mapping[str, str], folder: Path) -> None:
    """All files, by way of a folder beside it: what is half done is never seen."""
    whole = folder.resolve()
    staging = whole.with_name(f".{whole.name}.{os.getpid()}")
    try:
        for path, text in content.items():
            file = staging / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8", newline="\n")
        if whole.is_dir():  # an empty one, which may be where somebody stands
            for part in list(staging.iterdir()):
                part.rename(whole / part.name)
        else:
            staging.rename(whole)
    except OSError as error:
        raise UserError(
            f"{whole} can't be written: {error.strerror}.",
            hint="Give a folder where you may write: --dir FOLDER",
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
