"""Registry that finds and loads plugins, and attributes each problem to a plugin."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, distributions
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pluggy

from ..contracts import hooks
from ..contracts.data import Corpus, Extractor, Plugin
from ..contracts.errors import UnknownNameError
from ..contracts.renamed import uses_of
from . import provenance
from .collecting import HOOKS as HOOKS
from .collecting import RESERVED as RESERVED
from .collecting import classes_of, register
from .collecting import reserved as reserved
from .loading import content_of as content_of
from .loading import file_of as file_of
from .loading import load, source_of
from .loading import load_file as load_file
from .problems import BrokenPluginError, Deprecation, problem_of
from .problems import Problem as Problem
from .problems import Source as Source
from .trace import importing, watch, watch_hooks

if TYPE_CHECKING:
    from ..contracts import Balancer, Branch, Remedy, Strategy, Tracker

ENTRY_POINT_GROUP = hooks.PROJECT
_CORE = __name__.rpartition(".registry.")[0] + "."
ENVIRONMENT = "FUSION_PLUGINS"

# Arguments of hooks, by name. Each value is a function that takes the registry and returns the
# argument; see contracts/hooks.py.
ARGUMENTS: dict[str, Callable[[Registry], Any]] = {}


@dataclass(frozen=True, slots=True)
class Entry:
    """Registered plugin class with its kind, name and source."""

    kind: str
    name: str
    cls: type[Plugin]
    source: Source

    @property
    def owner(self) -> str:
        """The OWNER of the plugin's parameters in ``--set OWNER.PARAMETER=VALUE``."""
        return "branch.MODALITY" if self.kind == "branch" else self.name


# Files and modules that were loaded for the user in this process. A run directory that names one of
# them, by the same absolute path, needs no second confirmation (`fusion.core.runs.trust`).
LOADED: dict[str, None] = {}


def environment_requests() -> list[str]:
    """Return the plugin requests in the environment variable ``FUSION_PLUGINS``."""
    return [r.strip() for r in os.environ.get(ENVIRONMENT, "").split(",") if r.strip()]


class Registry:
    """Registry of all plugins that could be loaded, by kind and name.

    Parameters
    ----------
    requests : sequence of str
        Values of ``-p``: ``./file.py`` or ``package.module`` loads one more plugin, and
        ``no:NAME`` blocks one. The requests in the environment variable ``FUSION_PLUGINS``
        (separated by commas) come first.
    strict : bool
        Whether to raise an error for the first broken plugin, instead of skipping it.

    Raises
    ------
    PluginError
        If a plugin in `requests` can't be loaded, or, if `strict`, any plugin.
    UnknownNameError
        If no plugin has the NAME in ``no:NAME``.

    Attributes
    ----------
    problems : list of Problem
        Plugins and parts of plugins that were skipped, with the reasons.
    deprecations : list of Deprecation
        Plugins that use deprecated names and should be updated.
    blocked : list of Source or Entry
        Modules and classes that ``no:NAME`` blocked.
    """

    def __init__(self, requests: Sequence[str] = (), *, strict: bool = False) -> None:
        self.requests = tuple(
            dict.fromkeys(_absolute(r) for r in [*environment_requests(), *requests])
        )
        self.problems: list[Problem] = []
        self.deprecations: list[Deprecation] = []
        self.blocked: list[Source | Entry] = []
        self._entries: dict[str, dict[str, Entry]] = {kind: {} for kind in HOOKS}
        self._sources: dict[str, Source] = {}  # by name of the plugin in the manager
        self._manager = pluggy.PluginManager(hooks.PROJECT)
        self._manager.add_hookspecs(hooks)
        watch_hooks(self._manager, self._sources)
        blocked = sorted(r[3:] for r in self.requests if r.startswith("no:"))
        for name in blocked:
            self._manager.set_blocked(name)
        for point, source in _entry_points():
            self._load(point, source, strict)
        for request in self.requests:
            if not request.startswith("no:"):
                self._load(request, source_of(request), strict=True)
                LOADED[request] = None
        left_out = {each.name if isinstance(each, Entry) else each.plugin for each in self.blocked}
        for name in blocked:
            if name not in left_out:
                names = (source.plugin for source in self._sources.values())
                raise UnknownNameError("plugin to block", name, names)

    # -- loading ---------------------------------------------------------------------

    def _load(self, target: str | EntryPoint, source: Source, strict: bool) -> None:
        if self._manager.is_blocked(source.plugin):
            self.blocked.append(source)
            return
        entries: list[Entry] = []
        try:
            with importing(source, target if isinstance(target, str) else target.value):
                module = load(target)
            if self._manager.is_registered(module):  # such as a built-in plugin given to -p
                return
            version = source.version or str(getattr(module, "__version__", ""))
            source = replace(source, version=version)
            entries = self._register(module, source)
        except Exception as error:
            self._problem(source, error, strict)
        for entry in entries:
            self._add(entry, strict)

    def _register(self, module: ModuleType, source: Source) -> list[Entry]:
        provenance.register_module(module.__name__, source)
        name = _registered_as(source)
        self._sources[name] = source
        try:
            uses = register(module, name, self._manager)
            available = {argument: value(self) for argument, value in ARGUMENTS.items()}
            classes = list(classes_of(module, self._manager, available))
        except Exception:
            del self._sources[name]
            if self._manager.get_plugin(name) is module:
                self._manager.unregister(name=name)
            raise
        for _, cls in classes:
            uses += uses_of(cls)
            home = cls.__module__  # possibly another module of the plugin's package
            if provenance.source_of(home) is None and not home.startswith(_CORE):
                provenance.register_module(home, source)
        if uses:
            self.deprecations.append(Deprecation(source, tuple(dict.fromkeys(uses))))
        return [Entry(kind, cls.name, cls, source) for kind, cls in classes]

    def _add(self, entry: Entry, strict: bool) -> None:
        if self._manager.is_blocked(entry.name):
            self.blocked.append(entry)
            return
        first = self._entries[entry.kind].setdefault(entry.name, entry)
        if first is entry:
            watch(entry.cls, entry.kind, entry.source)
            return
        reason, remedy = "it registers this name twice.", "Rename one of the two classes."
        if first.source != entry.source:
            reason = f"{first.source} already registers this name."
            remedy = f"Rename it, or block the other plugin (-p no:{first.source.plugin})."
        broken = BrokenPluginError(reason, remedy=remedy, hook=HOOKS[entry.kind])
        self._problem(entry.source, broken, strict, part=f"the {entry.kind} {entry.name!r}")

    def _problem(self, source: Source, error: Exception, strict: bool, part: str = "") -> None:
        problem = replace(problem_of(error, source), part=part)
        if strict:
            raise problem.error() from (error.__cause__ or error)
        self.problems.append(problem)

    # -- lookup ----------------------------------------------------------------------

    def entries(self, kind: str | None = None) -> list[Entry]:
        """Return all registered plugins, or those of one kind, in the order of registration."""
        kinds = HOOKS if kind is None else [kind]
        return [entry for k in kinds for entry in self._entries[k].values()]

    def get(self, kind: str, name: str) -> type[Any]:
        """Return the plugin class of a kind and name.

        Raises
        ------
        UnknownNameError
            If no plugin of this kind has the name. The error suggests similar names.
        """
        entries = self._entries[kind]
        if name not in entries:
            broken = [p for p in self.problems if p.source.plugin == name]
            hint = str(broken[0]) if broken else None
            raise UnknownNameError(kind, name, entries, hint=hint)
        return entries[name].cls

    def api_version(self, source: Source) -> int:
        """Return the version of the contract for which a registered plugin was written."""
        return getattr(self._manager.get_plugin(_registered_as(source)), "api_version", 1)

    def defaults(self, kind: str) -> list[str]:
        """Return the names of the plugins of a kind that a run uses by default."""
        return [name for name, entry in self._entries[kind].items() if entry.cls.default]

    def corpora(self) -> dict[str, type[Corpus]]:
        """Return the classes of all corpora by name."""
        return {e.name: e.cls for e in self.entries("corpus") if issubclass(e.cls, Corpus)}

    def extractor(self, name: str) -> type[Extractor]:
        """Return the extractor class of a name; see :meth:`get`."""
        return self.get("extractor", name)

    def branch(self, name: str) -> type[Branch]:
        """Return the branch class of a name; see :meth:`get`."""
        return self.get("branch", name)

    def strategy(self, name: str) -> type[Strategy]:
        """Return the strategy class of a name; see :meth:`get`."""
        return self.get("strategy", name)

    def balancer(self, name: str) -> type[Balancer]:
        """Return the balancer class of a name; see :meth:`get`."""
        return self.get("balancer", name)

    def tracker(self, name: str) -> type[Tracker]:
        """Return the tracker class of a name; see :meth:`get`."""
        return self.get("tracker", name)

    def remedy(self, name: str) -> type[Remedy]:
        """Return the remedy class of a name; see :meth:`get`."""
        return self.get("remedy", name)


def _registered_as(source: Source) -> str:
    return f"{source.distribution}:{source.plugin}"


def _entry_points() -> list[tuple[EntryPoint, Source]]:
    """Return the entry points of all plugins, each once: built-in plugins first, others by name."""
    points_by_name: dict[tuple[str, str], tuple[EntryPoint, Source]] = {}
    for distribution in distributions():
        points = distribution.entry_points.select(group=ENTRY_POINT_GROUP)
        # Each access to a name or version parses the metadata, so read both once per distribution.
        name, release = (distribution.name, distribution.version) if points else ("", "")
        for point in points:
            # A distribution that is on sys.path twice, such as an editable install, counts once.
            source = Source(point.name, name, release)
            points_by_name.setdefault((name, point.name), (point, source))
    own = __name__.partition(".")[0] + "."
    built_in = [pair for pair in points_by_name.values() if pair[0].value.startswith(own)]
    third_party = [pair for _, pair in sorted(points_by_name.items()) if pair not in built_in]
    return [*built_in, *third_party]


def _absolute(request: str) -> str:
    """Return a request for a file with its absolute path, and any other request unchanged."""
    return str(Path(request).expanduser().resolve()) if request.endswith(".py") else request
