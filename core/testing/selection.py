"""Selection of the plugins to check, with their suites, from what a user names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..contracts.errors import CorpusError, ParameterError, RecordingError, UnknownNameError
from ..registry.parameters import bind
from ..registry.registry import Entry, Registry
from ..toolkit.filenames import audio_files
from .checks.declarations import PluginSuite
from .runner import suite_for

_OWN = __name__.partition(".")[0] + "."
_MOST_RECORDINGS = 8


def third_party(registry: Registry) -> list[Entry]:
    """Every plugin that is none of fusion's own."""
    return [e for e in registry.entries() if not e.cls.__module__.startswith(_OWN)]


def chosen(registry: Registry, names: Sequence[str]) -> list[Entry]:
    """The plugins that the names stand for, each once.

    Parameters
    ----------
    names : sequence of str
        Names of plugins, of their modules or distributions; files that were loaded, by their
        whole path.

    Raises
    ------
    UnknownNameError
        With what was possible, and what was probably meant.
    """
    found: list[Entry] = []
    for name in names:
        matching = [entry for entry in registry.entries() if name in _names(entry)]
        if not matching:
            raise _unknown(registry, name)
        found += [entry for entry in matching if entry not in found]
    return found


def _names(entry: Entry) -> set[str]:
    source = entry.source
    return {entry.name, source.plugin, source.distribution}


def _unknown(registry: Registry, name: str) -> UnknownNameError:
    known = {entry.name for entry in registry.entries()}
    broken = [p for p in registry.problems if name in (p.source.plugin, p.source.distribution)]
    hint = str(broken[0]) if broken else "A file is named with its suffix: ./my.py"
    return UnknownNameError("plugin", name, known, hint=hint)


def suites_of(
    entries: Sequence[Entry],
    settings: Mapping[str, Mapping[str, str]],
    data: Path | None = None,
) -> list[tuple[Entry, PluginSuite]]:
    """Each plugin with its suite.

    Parameters
    ----------
    settings : mapping
        Plugin -> parameter -> text, as
        :func:`fusion.core.registry.parameters.parse_settings` gives it.
    data : Path, optional
        A corpus to read, or recordings to extract from.

    Raises
    ------
    UserError
        For settings or data that fit none of the plugins.
    """
    for owner in settings:
        if owner not in {entry.name for entry in entries}:
            raise UnknownNameError("plugin to check", owner, {entry.name for entry in entries})
    if data is not None:
        _check_wanted(entries, data)
    return [
        (entry, suite_for(entry.kind, entry.cls, **_attributes(entry, settings, data)))
        for entry in entries
    ]


def _check_wanted(entries: Sequence[Entry], data: Path) -> None:
    kinds = [entry.kind for entry in entries]
    if "corpus" not in kinds and "extractor" not in kinds:
        raise ParameterError(
            f"--data is for a corpus or an extractor; given with {', '.join(sorted(set(kinds)))}.",
            hint="Leave it out: the other kinds make what they are checked on.",
        )
    if not data.exists():
        raise CorpusError(f"There is no such path: {data}.", hint="--data FOLDER or --data FILE")


def _attributes(
    entry: Entry, settings: Mapping[str, Mapping[str, str]], data: Path | None
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    given = settings.get(entry.name, {})
    if given:
        bound = bind(entry.cls, given, owner=entry.name)
        declared = getattr(entry.cls, "conformance", {}).get("parameters", {})
        found["parameters"] = {**declared, **{name: bound[name] for name in given}}
    if data is not None and entry.kind == "corpus":
        found["sample"] = data
    if data is not None and entry.kind == "extractor":
        found["recordings"] = some_recordings(data)
    return found


def some_recordings(path: Path) -> list[Path]:
    """A file; or some of those below a folder: sound where there is any, spread evenly."""
    if path.is_file():
        return [path.resolve()]
    files = audio_files(path) or sorted(
        file for file in path.rglob("*") if file.is_file() and not file.name.startswith(".")
    )
    if not files:
        raise RecordingError(f"{path} holds no files.")
    count = min(len(files), _MOST_RECORDINGS)
    return [files[i * len(files) // count].resolve() for i in range(count)]
