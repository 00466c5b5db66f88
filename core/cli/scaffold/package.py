"""Files of a new plugin package: rendered from templates, and written either all or none."""

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

# Template of each file of the package.
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
    """Package that :func:`make_package` wrote.

    Attributes
    ----------
    folder : Path
        Folder of the package.
    names : Names
        Names of the plugin, module, distribution and class.
    files : tuple of str
        Paths of the files, relative to the folder.
    commands : tuple of str
        Commands to run next in `folder`, in order: install, test, check, run.
    """

    folder: Path
    names: Names
    files: tuple[str, ...]
    commands: tuple[str, ...]


def make_package(
    kind: str, name: str, *, folder: Path | None = None, registry: Registry | None = None
) -> Package:
    """Write a package with a new plugin.

    Parameters
    ----------
    kind : str
        ``"strategy"``, ``"balancer"``, ``"extractor"``, ``"branch"``, ``"corpus"``,
        ``"tracker"`` or ``"remedy"``.
    name : str
        Name that users will type: lower-case letters, digits and underscores.
    folder : Path or None
        Folder for the package, which does not exist or is empty. None means ``fusion-NAME`` in
        the current folder.
    registry : Registry or None
        Installed plugins. A new plugin can't have one of their names. None loads the plugins.

    Raises
    ------
    UnknownNameError
        If there is no such kind.
    ParameterError
        If the name is malformed, reserved or taken.
    UserError
        If the folder is not empty or can't be written.
    """
    kind_of(kind)
    registry = Registry() if registry is None else registry
    check_name(kind, name, registry)
    names = names_for(kind, name, source_of(kind))
    folder = Path(names.distribution) if folder is None else folder
    _check_folder(folder)
    values = _template_values(kind, names, companions(registry))
    path_values = {**asdict(names), "kind": kind}
    content = {
        file.format_map(path_values): _rendered(template.format_map(path_values), values)
        for file, template in _FILES.items()
    }
    _write(content, folder)
    commands = ('python -m pip install -e ".[test]"', "python -m pytest", *values["check"])
    return Package(folder, names, tuple(content), (*commands, values["run"]))


def source_of(kind: str) -> str:
    """Return the code of a new plugin's module, with the placeholder name ``my_plugin``."""
    names = Names("my_plugin", "fusion_my_plugin", "fusion-my-plugin", "MyPlugin")
    values = _template_values(kind, names, {"EXTRACTOR": "", "STRATEGY": ""})
    return _rendered(f"{kind}.py.j2", values)


def _template_values(kind: str, names: Names, companion_names: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of all template variables, with plugin names filled into the commands."""
    texts = kind_of(kind)

    def filled(command: str) -> str:
        return command.format(plugin=names.plugin, **companion_names)

    return {
        **asdict(names),
        **asdict(texts),
        "kind": kind,
        "hook": HOOKS[kind],
        "contract": kind.capitalize(),
        "fusion_version": version("modal-fusion"),
        "run": filled(texts.run),
        "judge": [filled(command) for command in texts.judge],
        "check": [filled(command) for command in texts.check],
    }


def _rendered(template: str, values: Mapping[str, Any]) -> str:
    """Render a template; raise if a variable of the template has no value."""
    environment = Environment(
        loader=PackageLoader(__package__),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(values)


def _check_folder(folder: Path) -> None:
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(
            f"The folder {folder.resolve()} is not empty.",
            hint="Name a new or empty folder: --dir FOLDER",
        )
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder.resolve()} is a file.", hint="Name a new folder: --dir FOLDER")
    if not folder.resolve().parent.is_dir():
        raise UserError(
            f"The folder {folder.resolve().parent}, the parent of {folder.name}, does not exist.",
            hint="Create that folder first, or name another: --dir FOLDER",
        )


def _write(content: Mapping[str, str], folder: Path) -> None:
    """Write all files into a temporary folder beside `folder`, then move all files to `folder`."""
    target = folder.resolve()
    try:
        with TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as staging:
            staged = Path(staging) / target.name
            for path, text in content.items():
                file = staged / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8", newline="\n")
            if target.is_dir():  # keep the empty folder: it may be a shell's current folder
                for part in list(staged.iterdir()):
                    part.rename(target / part.name)
            else:
                staged.rename(target)
    except OSError as error:
        raise UserError(
            f"{target} can't be written: {error.strerror}.",
            hint="Name a folder that you may write to: --dir FOLDER",
        ) from error
