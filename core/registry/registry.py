"""Finds plugins, keeps them apart, and names the guilty one when something breaks."""

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

# What a hook may take, beside nothing: argument -> its value. See contracts/hooks.py.
ARGUMENTS: dict[str, Callable[[Registry], Any]] = {}


@dataclass(frozen=True, slots=True)
class Entry:
    """One registered class and where it came from."""

    kind: str
    name: str
    cls: type[Plugin]
    source: Source

    @property
    def owner(self) -> str:
        """What stands before the dot in ``--set OWNER.PARAMETER=VALUE``."""
        return "branch.MODALITY" if self.kind == "branch" else self.name


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

    Attributes
    ----------
    problems : list of Problem
        What was skipped, and why.
    deprecations : list of Deprecation
        Plugins that work and should be updated.
    blocked : list of Source or Entry
        The modules that ``no:NAME`` left out, and the classes.
    """

    def __init__(self, requests: Sequence[str] = (), *, strict: bool = False) -> None:
        environment = [r.strip() for r in os.environ.get(ENVIRONMENT, "").split(",") if r.strip()]
        self.requests = tuple(dict.fromkeys(_absolute(r) for r in [*environment, *requests]))
        self.problems: list[Problem] = []
        self.deprecations: list[Deprecation] = []
        self.blocked: list[Source | Entry] = []
        self._entries: dict[str, dict[str, Entry]] = {kind: {} for kind in HOOKS}
        self._sources: dict[str, Source] = {}  # by what the manager calls a plugin
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
        left_out = {each.name if isinstance(each, Entry) else each.plugin for each in self.blocked}
        for name in blocked:
            if name not in left_out:
                known = (source.plugin for source in self._sources.values())
                raise UnknownNameError("plugin to block", name, known)

    # -- loading ---------------------------------------------------------------------

    def _load(self, target: str | EntryPoint, source: Source, strict: bool) -> None:
        if self._manager.is_blocked(source.plugin):
            self.blocked.append(source)
            return
        entries: list[Entry] = []
        try:
            with importing(source, target if isinstance(target, str) else target.value):
                module = load(target)
            if self._manager.is_registered(module):  # a built-in one, asked for again
                return
            version = source.version or str(getattr(module, "__version__", ""))
            source = replace(source, version=version)
            entries = self._register(module, source)
        except Exception as error:
            self._problem(source, error, strict)
        for entry in entries:
            self._add(entry, strict)

    def _register(self, module: ModuleType, source: Source) -> list[Entry]:
        provenance.own(module.__name__, source)
        name = _registered_as(source)
        self._sources[name] = source
        try:
            uses = register(module, name, self._manager)
            available = {argument: value(self) for argument, value in ARGUMENTS.items()}
            found = list(classes_of(module, self._manager, available))
        except Exception:
            del self._sources[name]
            if self._manager.get_plugin(name) is module:
                self._manager.unregister(name=name)
            raise
        for _, cls in found:
            uses += uses_of(cls)
            home = cls.__module__  # may be another module of the plugin's package
            if provenance.source_of(home) is None and not home.startswith(_CORE):
                provenance.own(home, source)
        if uses:
            self.deprecations.append(Deprecation(source, tuple(dict.fromkeys(uses))))
        return [Entry(kind, cls.name, cls, source) for kind, cls in found]

    def _add(self, entry: Entry, strict: bool) -> None:
        if self._manager.is_blocked(entry.name):
            self.blocked.append(entry)
            return
        first = self._entries[entry.kind].setdefault(entry.name, entry)
        if first is entry:
            watch(entry.cls, entry.kind, entry.source)
            return
        reason, remedy = "it has two of that name.", "Rename one."
        if first.source != entry.source:
            reason = f"{first.source} has one of that name."
            remedy = f"Rename it, or block the other one (-p no:{first.source.plugin})."
        broken = BrokenPluginError(reason, remedy=remedy, hook=HOOKS[entry.kind])
        self._problem(entry.source, broken, strict, part=f"the {entry.kind} {entry.name!r}")

    def _problem(self, source: Source, error: Exception, strict: bool, part: str = "") -> None:
        problem = replace(problem_of(error, source), part=part)
        if strict:
            raise problem.error() from (error.__cause__ or error)
        self.problems.append(problem)

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

    def api_version(self, source: Source) -> int:
        """Version of the contract that a plugin that is there was written for."""
        return getattr(self._manager.get_plugin(_registered_as(source)), "api_version", 1)

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


def _registered_as(source: Source) -> str:
    return f"{source.distribution}:{source.plugin}"


def _entry_points() -> list[tuple[EntryPoint, Source]]:
    """Entry points of the group: the built-in ones in their order, the rest by name; each once."""
    found: dict[tuple[str, str], tuple[EntryPoint, Source]] = {}
    for distribution in distributions():
        points = distribution.entry_points.select(group=ENTRY_POINT_GROUP)
        # Asked once for all of them: each question reads and parses the metadata.
        name, release = (distribution.name, distribution.version) if points else ("", "")
        for point in points:
            # A distribution on sys.path twice (an editable install) counts once.
            found.setdefault((name, point.name), (point, Source(point.name, name, release)))
    own = __name__.partition(".")[0] + "."
    built_in = [pair for pair in found.values() if pair[0].value.startswith(own)]
    others = [found[name] for name in sorted(found) if found[name] not in built_in]
    return [*built_in, *others]


def _absolute(request: str) -> str:
    """A file by its whole path: one file is one plugin, in every folder and process."""
    return str(Path(request).expanduser().resolve()) if request.endswith(".py") else request
