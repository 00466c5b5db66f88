"""A new plugin as files: put together from the templates, and written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ...contracts.errors import UserError
from ...registry.registry import HOOKS, Registry
from .kinds import companions, kind_of
from .names import Names, check_name, names_for

# File of the package -> its template.
_FILES = {
    "{module}.py": "{kind}.py.j2",
    "tests/test_{plugin}.py": "test_{kind}.py.j2",
    "pyproject.toml": "pyproject.toml.j2",
    "README.md": "README.md.j2",
    ".github/workflows/test.yml": "test.yml.j2",
    ".gitignore": "gitignore.j2",
}


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
    kind_of(kind)
    registry = Registry() if registry is None else registry
    check_name(kind, name, registry)
    beside = companions(registry)
    names = names_for(kind, name, source_of(kind))
    folder = Path(names.distribution) if folder is None else folder
    _check_folder(folder)
    words = _words(kind, names, beside)
    own = {**asdict(names), "kind": kind}
    content = {
        file.format_map(own): _rendered(template.format_map(own), words)
        for file, template in _FILES.items()
    }
    _write(content, folder)
    commands = ('python -m pip install -e ".[test]"', "python -m pytest", *words["check"])
    return Package(folder, names, tuple(content), (*commands, words["run"]))


def source_of(kind: str) -> str:
    """The module of a new plugin, before it has a name of its own."""
    names = Names("my_plugin", "fusion_my_plugin", "fusion-my-plugin", "MyPlugin")
    return _rendered(f"{kind}.py.j2", _words(kind, names, {"EXTRACTOR": "", "STRATEGY": ""}))


def _words(kind: str, names: Names, beside: Mapping[str, str]) -> dict[str, Any]:
    """What templates may name, and the commands with the plugin in them."""
    chosen = kind_of(kind)

    def filled(command: str) -> str:
        return command.format(plugin=names.plugin, **beside)

    return {
        **asdict(names),
        **asdict(chosen),
        "kind": kind,
        "hook": HOOKS[kind],
        "contract": kind.capitalize(),
        "fusion_version": version("modal-fusion"),
        "run": filled(chosen.run),
        "judge": [filled(command) for command in chosen.judge],
        "check": [filled(command) for command in chosen.check],
    }


def _rendered(template: str, words: Mapping[str, Any]) -> str:
    """A template with everything filled in; a word that it lacks is an error."""
    environment = Environment(
        loader=PackageLoader(__package__),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(words)


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
    try:
        with TemporaryDirectory(prefix=f".{whole.name}.", dir=whole.parent) as staging:
            made = Path(staging) / whole.name
            for path, text in content.items():
                file = made / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8", newline="\n")
            if whole.is_dir():  # an empty one, which may be where somebody stands
                for part in list(made.iterdir()):
                    part.rename(whole / part.name)
            else:
                made.rename(whole)
    except OSError as error:
        raise UserError(
            f"{whole} can't be written: {error.strerror}.",
            hint="Give a folder where you may write: --dir FOLDER",
        ) from error
