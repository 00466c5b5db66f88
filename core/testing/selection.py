"""Selection by name of the plugins to check, with the suite of each plugin."""

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
    """Return every plugin that does not belong to fusion itself."""
    return [e for e in registry.entries() if not e.cls.__module__.startswith(_OWN)]


def chosen(registry: Registry, names: Sequence[str]) -> list[Entry]:
    """Return the plugins that the names refer to, each once.

    Parameters
    ----------
    registry : Registry
        The registry to search.
    names : sequence of str
        Names of plugins, of their modules or of their distributions. A loaded plugin file is
        named by its full path.

    Raises
    ------
    UnknownNameError
        If a name matches no plugin. The error suggests similar names.
    """
    entries: list[Entry] = []
    for name in names:
        matching = [entry for entry in registry.entries() if name in _names(entry)]
        if not matching:
            raise _unknown(registry, name)
        entries += [entry for entry in matching if entry not in entries]
    return entries


def _names(entry: Entry) -> set[str]:
    source = entry.source
    return {entry.name, source.plugin, source.distribution}


def _unknown(registry: Registry, name: str) -> UnknownNameError:
    names = {entry.name for entry in registry.entries()}
    broken = [p for p in registry.problems if name in (p.source.plugin, p.source.distribution)]
    hint = str(broken[0]) if broken else "Give a plugin file with its suffix: ./my.py"
    return UnknownNameError("plugin", name, names, hint=hint)


def suites_of(
    entries: Sequence[Entry],
    settings: Mapping[str, Mapping[str, str]],
    data: Path | None = None,
) -> list[tuple[Entry, PluginSuite]]:
    """Return each plugin with its suite.

    Parameters
    ----------
    entries : sequence of Entry
        The plugins to check.
    settings : mapping
        Text of each parameter, by plugin and name of the parameter, as
        :func:`fusion.core.registry.parameters.parse_settings` returns it.
    data : Path, optional
        Path of a corpus to read, or of recordings to extract features from.

    Raises
    ------
    UserError
        If the settings or the data fit none of the plugins.
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
            "--data applies to a corpus or an extractor, and was given with "
            f"{', '.join(sorted(set(kinds)))}.",
            hint="Leave out --data: the suites of other kinds generate their own data.",
        )
    if not data.exists():
        raise CorpusError(
            f"The path {data} does not exist.",
            hint="Name an existing path: --data FOLDER or --data FILE",
        )


def _attributes(
    entry: Entry, settings: Mapping[str, Mapping[str, str]], data: Path | None
) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    texts = settings.get(entry.name, {})
    if texts:
        bound = bind(entry.cls, texts, owner=entry.name)
        declared = getattr(entry.cls, "conformance", {}).get("parameters", {})
        attributes["parameters"] = {**declared, **{name: bound[name] for name in texts}}
    if data is not None and entry.kind == "corpus":
        attributes["sample"] = data
    if data is not None and entry.kind == "extractor":
        attributes["recordings"] = some_recordings(data)
    return attributes


def some_recordings(path: Path) -> list[Path]:
    """Return the file `path`, or up to 8 files below a folder, evenly spaced in sorted order.

    Audio files are preferred; other files are returned only if the folder has no audio.

    Raises
    ------
    RecordingError
        If the folder holds no files.
    """
    if path.is_file():
        return [path.resolve()]
    files = audio_files(path) or sorted(
        file for file in path.rglob("*") if file.is_file() and not file.name.startswith(".")
    )
    if not files:
        raise RecordingError(f"{path} holds no files.")
    count = min(len(files), _MOST_RECORDINGS)
    return [files[i * len(files) // count].resolve() for i in range(count)]
