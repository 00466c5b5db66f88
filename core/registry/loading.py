"""Import of plugin modules, and location of errors in their files."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
import traceback
from contextlib import suppress
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

from ..contracts.errors import FusionError
from ..contracts.hooks import API_VERSION
from .problems import BrokenPluginError, Source, problem_of

_FILE_PREFIX = "fusion_plugin_"  # prefix of module names of files given to -p


def source_of(request: str) -> Source:
    """Return the source of a plugin requested with ``-p``, before the plugin is loaded."""
    if request.endswith(".py"):
        return Source(Path(request).stem, request, "")
    return Source(request, "module", "")


def load(target: str | EntryPoint) -> ModuleType:
    """Import the module of a plugin: a file or module given to ``-p``, or an entry point.

    Raises
    ------
    BrokenPluginError
        If the module is missing, its import fails, or it was written for a later version of the
        contract.
    """
    if isinstance(target, str):
        name, absent = target, "Give a file (./my.py), or a module that Python finds."
    else:
        name, absent = target.module, "Install its distribution again."
    try:
        if not isinstance(target, str):
            module = target.load()
        else:
            module = _load_file(target) if name.endswith(".py") else importlib.import_module(name)
    except BrokenPluginError:
        raise
    except (Exception, SystemExit) as error:
        raise _import_failure(error, name, absent) from error
    if not isinstance(module, ModuleType):
        raise BrokenPluginError(
            f"its entry point names a {type(module).__name__}, which is not a module.",
            remedy="Name the module in pyproject.toml, without a colon.",
        )
    _check_version(getattr(module, "api_version", 1))
    return module


def load_file(file: str) -> ModuleType:
    """Import a plugin file under a unique module name, once per process.

    A file that changed since its import is imported again.

    Raises
    ------
    PluginError
        If the file is missing or its import fails.
    """
    try:
        return load(file)
    except BrokenPluginError as broken:
        raise problem_of(broken, source_of(file)).error() from broken.__cause__


def _load_file(file: str) -> ModuleType:
    path = Path(file).expanduser().resolve()
    if not path.is_file():
        raise BrokenPluginError("the file does not exist.", remedy="Correct the path given to -p.")
    # The module name depends on the full path alone, so two files called my.py in different folders
    # can be loaded at the same time. All processes use the same module name.
    name = f"{_FILE_PREFIX}{path.stem}_{hashlib.blake2b(bytes(path), digest_size=4).hexdigest()}"
    content = hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
    if name in sys.modules and _CONTENT[name] == content:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # the name ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    _CONTENT[name] = content
    return module


_CONTENT: dict[str, str] = {}  # digest of the content of each imported file, by module name


def content_of(module: str) -> str:
    """Return the digest of a plugin file's content when :func:`load_file` imported the file."""
    return _CONTENT[module]


def file_of(module: str) -> str | None:
    """Return the file of a module that :func:`load_file` imported; None for any other module."""
    return sys.modules[module].__file__ if module.startswith(_FILE_PREFIX) else None


# -- what went wrong -----------------------------------------------------------------


def _import_failure(error: BaseException, module: str, absent: str) -> BrokenPluginError:
    """Return the error for a failed import of `module`, a dotted name or a file.

    `absent` is the remedy if `module` itself does not exist.
    """
    _check_version(_declared_version(module))
    remedy = "Fix the plugin."
    if isinstance(error, ModuleNotFoundError) and error.name:
        itself = f"{module}.".startswith(f"{error.name}.")
        remedy = absent if itself else f"Install the package with the module {error.name!r}."
    return BrokenPluginError(f"its import failed: {error_with_line(error, module)}", remedy=remedy)


def _check_version(version: object) -> None:
    """Raise BrokenPluginError if `version` is invalid or later than fusion's contract version."""
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise BrokenPluginError(
            f"its api_version is {version!r}, which is not a version of the plugin contract.",
            remedy=f"Write api_version = {API_VERSION}.",
        )
    if version > API_VERSION:
        raise BrokenPluginError(
            f"it is written for version {version} of the plugin contract, and this fusion has "
            f"version {API_VERSION}.",
            remedy="Update fusion (pip install --upgrade modal-fusion).",
        )


def error_with_line(error: BaseException, module: str) -> str:
    """Return the text of an error and the line in `module` that raised it.

    `module` is a dotted name or a file.
    """
    file = _path(module)
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == file]
    return error_text(error) + (f" ({file.name}, line {lines[-1]})" if lines else "")


def error_text(error: BaseException) -> str:
    """Return the text of an error, preceded by its type unless the error is fusion's own."""
    if isinstance(error, FusionError):
        return error.message
    return f"{type(error).__name__}: {str(error).strip() or 'no message'}"


def _declared_version(module: str) -> int:
    """Return the contract version in the source of a module that can't be imported; 1 if none.

    A plugin written for a later contract may import names that this version does not have.
    """
    # If the source can't be read, the error of the import itself is reported instead.
    with suppress(OSError):
        if match := re.search(rb"(?m)^api_version *= *(\d+)", _path(module).read_bytes()):
            return int(match[1])
    return 1


def _path(module: str) -> Path:
    """Return the file of `module`, a dotted name or a file."""
    if not module.endswith(".py"):
        with suppress(Exception):  # find_spec imports parent packages, which may fail
            spec = importlib.util.find_spec(module)
            if spec is not None and spec.origin is not None:
                return Path(spec.origin)
    return Path(module).expanduser().resolve()
