"""Plugin modules that ``-p`` names, and where in a file something went wrong."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from types import ModuleType

from ..contracts.errors import FusionError
from ..contracts.hooks import API_VERSION
from .problems import BrokenPluginError, Source, problem_of

_FILE_PREFIX = "fusion_plugin_"  # of the modules made from files given to -p


def source_of(request: str) -> Source:
    """Where the plugin of a request comes from, before it is loaded."""
    if request.endswith(".py"):
        return Source(Path(request).stem, request, "")
    return Source(request, "module", "")


def load(request: str) -> ModuleType:
    """Import what ``-p`` names: a file, or a module.

    Raises
    ------
    BrokenPluginError
        If it is missing or its import fails.
    """
    if request.endswith(".py"):
        return _load_file(request)
    try:
        return importlib.import_module(request)
    except (Exception, SystemExit) as error:
        own = "Give a file (./my.py), or a module that Python finds."
        raise import_failure(error, request, own) from error


def load_file(file: str) -> ModuleType:
    """Import a plugin file under a name of its own, once per process.

    Raises
    ------
    PluginError
        If it is missing or its import fails.
    """
    try:
        return _load_file(file)
    except BrokenPluginError as broken:
        raise problem_of(broken, source_of(file)).error() from broken.__cause__


def _load_file(file: str) -> ModuleType:
    path = Path(file).expanduser().resolve()
    if not path.is_file():
        raise BrokenPluginError("there is no such file.", remedy="Mend the path given to -p.")
    # The name depends on the path alone: two files called my.py may be loaded side by side,
    # and every process gives the same name.
    name = f"{_FILE_PREFIX}{path.stem}_{hashlib.blake2b(bytes(path), digest_size=4).hexdigest()}"
    content = hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
    if name in sys.modules and _CONTENT[name] == content:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BrokenPluginError("it is no Python file.", remedy="Mend the path given to -p.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise import_failure(error, file) from error
    _CONTENT[name] = content
    return module


_CONTENT: dict[str, str] = {}  # digest of what was executed, by module


def content_of(module: str) -> str:
    """Digest of the file behind a module of :func:`load_file`, as it was when it was loaded."""
    return _CONTENT[module]


def file_of(module: str) -> str | None:
    """The file behind a module that :func:`load_file` made; None for any other module."""
    return sys.modules[module].__file__ if module.startswith(_FILE_PREFIX) else None


# -- what went wrong -----------------------------------------------------------------


def import_failure(
    error: BaseException, module: str, own: str = "Install its distribution again."
) -> BrokenPluginError:
    """Why the import of `module`, a dotted name or a file, failed, and what helps.

    `own` is what helps where `module` itself is not there.
    """
    wanted = _declared_version(module)
    if wanted > API_VERSION:
        return too_new(wanted)
    remedy = "Mend it."
    if isinstance(error, ModuleNotFoundError) and error.name:
        itself = f"{module}.".startswith(f"{error.name}.")
        remedy = own if itself else f"Install what has the module {error.name!r}."
    return BrokenPluginError(f"its import failed: {located(error, module)}", remedy=remedy)


def too_new(version: int) -> BrokenPluginError:
    """A plugin for a contract that is not known yet."""
    return BrokenPluginError(
        f"it is written for version {version} of the plugin contract, and this fusion has version "
        f"{API_VERSION}.",
        remedy="Update fusion (pip install --upgrade modal-fusion).",
    )


def located(error: BaseException, module: str) -> str:
    """What an error says, and the line of the module that raised it.

    `module` is a dotted name or a file.
    """
    file = Path(_file(module) or module)
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename) == file
    ]
    where = f" ({file.name}, line {lines[-1]})" if lines else ""
    return described(error) + where


def described(error: BaseException) -> str:
    """What an error says, for people."""
    if isinstance(error, FusionError):
        return error.message
    text = str(error).strip() or "no message"
    return f"{type(error).__name__}: {text}"


def _declared_version(module: str) -> int:
    """The contract version in the text of a module that can't be imported; 1 if it says none.

    Who writes for a later contract imports names that are not there yet.
    """
    # Whatever keeps the text from being read, the import has failed for a reason of its own.
    with suppress(Exception):
        tree = ast.parse(Path(_file(module) or module).read_bytes())
        for node in tree.body:
            if (
                isinstance(node, ast.Assign)
                and any(isinstance(t, ast.Name) and t.id == "api_version" for t in node.targets)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, int)
            ):
                return node.value.value
    return 1


def _file(module: str) -> str | None:
    if module.endswith(".py"):
        return str(Path(module).expanduser().resolve())
    loaded = sys.modules.get(module)
    if loaded is not None:
        return loaded.__file__
    with suppress(Exception):  # a package above it may be the one that fails
        spec = importlib.util.find_spec(module)
        return spec.origin if spec else None
    return None
