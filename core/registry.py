"""Finds plugins, keeps them apart, and names the guilty one when something breaks."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, distributions
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pluggy

from .contracts import hooks
from .contracts.data import Corpus, Extractor, Plugin
from .errors import FusionError, PluginError, UnknownNameError
from .parameters import space_of

if TYPE_CHECKING:
    from .contracts import Balancer, Branch, Remedy, Strategy, Tracker

ENTRY_POINT_GROUP = hooks.PROJECT
ENVIRONMENT = "FUSION_PLUGINS"

_FILE_PREFIX = "fusion_plugin_"  # of the modules made from files given to -p

# Names of rows in a run's table, and of owners of settings, that a plugin may not take.
RESERVED = {"fused", "ensemble", "chosen", "oracle", "train", "none", "diagnosis"}


def reserved(kind: str) -> set[str]:
    """Names that no plugin of `kind` may take. A strategy, which is no row, may be an ensemble."""
    return RESERVED - {"ensemble"} if kind == "strategy" else RESERVED


# Kind of plugin -> the hook that registers it.
HOOKS = {
    "corpus": "fusion_corpora",
    "extractor": "fusion_extractors",
    "branch": "fusion_branches",
    "strategy": "fusion_strategies",
    "balancer": "fusion_balancers",
    "tracker": "fusion_trackers",
    "remedy": "fusion_remedies",
}


@dataclass(frozen=True, slots=True)
class Source:
    """Where a plugin module came from."""

    plugin: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"plugin {self.plugin!r} ({self.distribution} {self.version})".replace(" )", ")")


@dataclass(frozen=True, slots=True)
class Problem:
    """A plugin that could not be used, and why."""

    source: Source
    reason: str

    def __str__(self) -> str:
        return f"{self.source} was skipped: {self.reason}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One registered class and where it came from."""

    kind: str
    name: str
    cls: type[Plugin]
    source: Source


class Registry:
    """Every plugin that could be loaded, by kind and name.

    Parameters
    ----------
    requests : sequence of str
        As given to ``-p``: ``./file.py`` or ``package.module`` loads one more plugin,
        ``no:NAME`` blocks one. The environment variable ``FUSION_PLUGINS`` (separated by
        commas) is read first.
    strict : bool
        Raise on the first broken plugin instead of skipping it.

    Raises
    ------
    PluginError
        If a plugin named in `requests` can't be loaded, or any plugin while `strict`.
    """

    def __init__(self, requests: Sequence[str] = (), *, strict: bool = False) -> None:
        environment = [r.strip() for r in os.environ.get(ENVIRONMENT, "").split(",") if r.strip()]
        self.requests = tuple(dict.fromkeys(_absolute(r) for r in [*environment, *requests]))
        self.strict = strict
        self.problems: list[Problem] = []
        self.sources: list[Source] = []
        self._entries: dict[str, dict[str, Entry]] = {kind: {} for kind in HOOKS}
        self._blocked = {r[3:] for r in self.requests if r.startswith("no:")}
        self._blocked_unused = set(self._blocked)
        self._manager = pluggy.PluginManager(hooks.PROJECT)
        self._manager.add_hookspecs(hooks)
        self._load_entry_points()
        self._load_requested()
        if self._blocked_unused:
            name = sorted(self._blocked_unused)[0]
            raise UnknownNameError("plugin to block", name, (s.plugin for s in self.sources))

    # -- loading ---------------------------------------------------------------------

    def _load_entry_points(self) -> None:
        for point, source in _entry_points():
            if self._is_blocked(source.plugin):
                continue
            try:
                module = point.load()
            except Exception as error:
                self._problem(source, f"its import failed: {_describe(error)}", error)
            else:
                self._register(module, source)

    def _load_requested(self) -> None:
        for request in self.requests:
            if not request.startswith("no:"):
                module, source = _load_request(request)
                if not self._manager.is_registered(module):  # a built-in one, asked for again
                    self._register(module, source, requested=True)

    def _is_blocked(self, *names: str) -> bool:
        hit = self._blocked.intersection(names)
        self._blocked_unused -= hit
        return bool(hit)

    def _register(self, module: ModuleType, source: Source, *, requested: bool = False) -> None:
        strict, self.strict = self.strict, self.strict or requested
        try:
            self._manager.register(module, name=f"{source.distribution}:{source.plugin}")
            self._manager.check_pending()
            entries = list(self._collect(module, source))
        except Exception as error:
            # Out again, so that its hooks don't break the plugins that follow.
            if self._manager.is_registered(module):
                self._manager.unregister(module)
            self._problem(source, _describe(error), error)
        else:
            self.sources.append(source)
            for entry in entries:
                self._add(entry)
        finally:
            self.strict = strict

    def _collect(self, module: ModuleType, source: Source) -> Iterable[Entry]:
        callers = self._manager.get_hookcallers(module) or []
        if not callers:
            raise PluginError(
                f"it has no function marked @hookimpl. Possible hooks: {', '.join(HOOKS.values())}."
            )
        kinds = {hook: kind for kind, hook in HOOKS.items()}
        for caller in callers:
            for implementation in caller.get_hookimpls():
                if implementation.plugin is module:
                    # Called one by one, not through the manager: a failure has one name.
                    classes: Any = implementation.function()
                    kind = kinds[caller.name]
                    yield from (_check(cls, kind, caller.name, source) for cls in classes)

    def _add(self, entry: Entry) -> None:
        if self._is_blocked(entry.name):
            return
        taken = self._entries[entry.kind].get(entry.name)
        if taken is not None:
            reason = (
                f"it registers a {entry.kind} named {entry.name!r}, which {taken.source} "
                f"has already. Rename one, or leave one out with -p no:{taken.source.plugin}."
            )
            self._problem(entry.source, reason, None)
            return
        self._entries[entry.kind][entry.name] = entry

    def _problem(self, source: Source, reason: str, error: Exception | None) -> None:
        if self.strict:
            raise PluginError(
                f"{source} can't be used: {reason}",
                hint=f"Leave it out with -p no:{source.plugin}, or mend it.",
            ) from error
        self.problems.append(Problem(source, reason))

    # -- finding ---------------------------------------------------------------------

    def entries(self, kind: str | None = None) -> list[Entry]:
        """Everything registered, or everything of one kind, in the order of registration."""
        kinds = HOOKS if kind is None else [kind]
        return [entry for k in kinds for entry in self._entries[k].values()]

    def get(self, kind: str, name: str) -> type[Any]:
        """The class of that kind and name.

        Raises
        ------
        UnknownNameError
            With what was possible, and what was probably meant.
        """
        entries = self._entries[kind]
        if name not in entries:
            broken = [p for p in self.problems if p.source.plugin == name]
            hint = str(broken[0]) if broken else None
            raise UnknownNameError(kind, name, entries, hint=hint)
        return entries[name].cls

    def defaults(self, kind: str) -> list[str]:
        """Names of the plugins of `kind` that a run uses when the user names none."""
        return [name for name, entry in self._entries[kind].items() if entry.cls.default]

    def corpora(self) -> dict[str, type[Corpus]]:
        return {e.name: e.cls for e in self.entries("corpus") if issubclass(e.cls, Corpus)}

    def extractor(self, name: str) -> type[Extractor]:
        return self.get("extractor", name)

    def branch(self, name: str) -> type[Branch]:
        return self.get("branch", name)

    def strategy(self, name: str) -> type[Strategy]:
        return self.get("strategy", name)

    def balancer(self, name: str) -> type[Balancer]:
        return self.get("balancer", name)

    def tracker(self, name: str) -> type[Tracker]:
        return self.get("tracker", name)

    def remedy(self, name: str) -> type[Remedy]:
        return self.get("remedy", name)


def _entry_points() -> list[tuple[EntryPoint, Source]]:
    """Entry points of the group: the built-in ones first, the rest by name; no duplicates."""
    found: dict[tuple[str, str], tuple[EntryPoint, Source]] = {}
    for distribution in distributions():
        for point in distribution.entry_points:
            if point.group == ENTRY_POINT_GROUP:
                name = distribution.metadata["Name"]
                source = Source(point.name, name, distribution.version)
                # A distribution on sys.path twice (an editable install) counts once.
                found.setdefault((name, point.name), (point, source))
    own = __name__.partition(".")[0] + "."
    return sorted(found.values(), key=lambda pair: (not pair[0].value.startswith(own),))


def _absolute(request: str) -> str:
    """A file by its whole path: one file is one plugin, in every folder and process."""
    return str(Path(request).expanduser().resolve()) if request.endswith(".py") else request


def _load_request(request: str) -> tuple[ModuleType, Source]:
    if request.endswith(".py"):
        module = load_file(request)
        return module, Source(Path(request).stem, request, getattr(module, "__version__", ""))
    try:
        module = importlib.import_module(request)
    except Exception as error:
        raise PluginError(
            f"-p {request}: it can't be imported: {_describe(error)}",
            hint="Give a file (./my.py), an importable module, or no:NAME to block a plugin.",
        ) from error
    return module, Source(request, "module", getattr(module, "__version__", ""))


def load_file(file: str) -> ModuleType:
    """Import a plugin file under a name of its own, once per process.

    Raises
    ------
    PluginError
        If it is missing or its import fails.
    """
    path = Path(file).expanduser().resolve()
    if not path.is_file():
        raise PluginError(f"-p {file}: there is no such file.")
    # The name depends on the path alone: two files called my.py may be loaded side by side,
    # and every process gives the same name.
    name = f"{_FILE_PREFIX}{path.stem}_{hashlib.blake2b(bytes(path), digest_size=4).hexdigest()}"
    content = hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
    if name in sys.modules and _CONTENT[name] == content:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"-p {file}: this is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise PluginError(f"-p {file}: it can't be imported: {_describe(error)}") from error
    _CONTENT[name] = content
    return module


_CONTENT: dict[str, str] = {}  # digest of what was executed, by module


def content_of(module: str) -> str:
    """Digest of the file behind a module of :func:`load_file`, as it was when it was loaded."""
    return _CONTENT[module]


def file_of(module: str) -> str | None:
    """The file behind a module that :func:`load_file` made; None for any other module."""
    return sys.modules[module].__file__ if module.startswith(_FILE_PREFIX) else None


def _check(cls: Any, kind: str, hook: str, source: Source) -> Entry:
    base = _base(kind)
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise PluginError(f"its hook {hook} returned {cls!r}, which is no {base.__name__} class.")
    name = getattr(cls, "name", None)
    if not isinstance(name, str) or not name:
        raise PluginError(f'its class {cls.__name__} has no name (write: name = "...").')
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise PluginError(
            f"its class {cls.__name__} is called {name!r}; names are lower case letters, digits "
            "and underscores."
        )
    if name in reserved(kind) or (kind == "extractor" and _is_module_attribute(name)):
        raise PluginError(
            f"its class {cls.__name__} can't be called {name!r}: {name!r} is reserved."
        )
    space_of(cls)
    return Entry(kind, name, cls, source)


def _is_module_attribute(name: str) -> bool:
    """Branches are kept in a ModuleDict by modality, where these names are taken."""
    from torch.nn import ModuleDict

    return hasattr(ModuleDict(), name)


def _base(kind: str) -> type[Plugin]:
    from . import contracts

    base: type[Plugin] = getattr(contracts, kind.capitalize())
    return base


def _describe(error: BaseException) -> str:
    text = str(error).strip() or "no message"
    return text if isinstance(error, FusionError) else f"{type(error).__name__}: {text}"
