"""Parts of a run directory that are used only if the user names them again.

A run directory may come from another person. Its files are data: they choose neither code to load
nor places that data or tokens are sent to. The names of plugins, of a remote cache and of the
places of trackers in run.json are requests, which the user confirms by the same options.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path, PurePath
from typing import Any

from ...cache.json_text import read_bytes
from ..contracts.errors import ParameterError, RunError
from ..registry.registry import ENTRY_POINT_GROUP, LOADED, Registry, environment_requests
from .config import RunConfig

# -- plugins -------------------------------------------------------------------------


def registry_of(folder: Path, stored: Sequence[str], named: Sequence[str] = ()) -> Registry:
    """Return a registry with the plugins that a run directory requests and the user named.

    Parameters
    ----------
    folder : Path
        Run directory, for the message.
    stored : sequence of str
        Plugin requests in the run directory.
    named : sequence of str
        Plugin requests of the user, in addition to the environment variable ``FUSION_PLUGINS``.

    Raises
    ------
    RunError
        As :func:`confirmed_requests`.
    """
    return Registry([*confirmed_requests(folder, stored, named), *named])


def confirmed_requests(
    folder: Path, stored: Sequence[str], named: Sequence[str]
) -> tuple[str, ...]:
    """Check the requests in a run directory, and return those that need no further request.

    These are blocks, and files and modules that the user has loaded in this process.

    A file is confirmed by a file of the same name, so that a run can be used on a machine where
    the file is in another folder. A module of an installed plugin needs no confirmation.

    Raises
    ------
    RunError
        If the run directory requests a plugin that the user did not name. The message shows the
        plugin and, for a file, the SHA-256 digest of its content.
    """
    installed = {point.module for point in entry_points(group=ENTRY_POINT_GROUP)}
    allowed = {_identity(request) for request in (*named, *environment_requests())} | installed
    blocks = [request for request in stored if request.startswith("no:")]
    loaded = [r for r in stored if r in LOADED and _identity(r) not in allowed]
    unknown = [r for r in stored if r not in (*blocks, *loaded) and _identity(r) not in allowed]
    if unknown:
        described = ", ".join(f"{request}{_digest_text(request)}" for request in unknown)
        options = " ".join(f"-p {shlex.quote(request)}" for request in unknown)
        raise RunError(
            f"The run {folder} needs plugins that you did not name: {described}. A run directory "
            "can't choose code to execute.",
            hint=f"If you trust this code, repeat the command with: {options}",
        )
    return (*blocks, *loaded)


def check_named(folder: Path, stored: Sequence[str], named: Sequence[str]) -> None:
    """Raise if the user names a plugin that a resumed run does not request.

    Raises
    ------
    ParameterError
        If a request in `named` is not in `stored`.
    """
    identities = {_identity(request) for request in stored}
    for request in named:
        if _identity(request) not in identities:
            raise ParameterError(
                f"-p {request}: the plugin is not part of the run {folder}, and a resumed run "
                "keeps its options.",
                hint=f"Plugins of the run: {', '.join(stored) or 'none'}. A new run can have more.",
            )


def _identity(request: str) -> str:
    """Return a text that is equal for two requests of one plugin."""
    return PurePath(request).name if request.endswith(".py") else request


def _digest_text(request: str) -> str:
    if not request.endswith(".py"):
        return ""
    try:
        return f" (SHA-256 {hashlib.sha256(read_bytes(Path(request))).hexdigest()})"
    except OSError as error:
        return f" ({error.strerror or error})"


# Parameters of trackers that decide where results are sent, whatever their text looks like.
_DESTINATIONS = {"uri", "url", "host", "entity", "directory", "folder", "mode"}
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")

# -- places --------------------------------------------------------------------------


def without_places(config: RunConfig) -> RunConfig:
    """Return the configuration of a run directory without places that others chose.

    A URL of a cache is left out: arrays that were copied from there are in the local cache. A
    tracker is left out if one of its parameters names a server, or a folder outside.
    """
    cache = None if config.cache is None or "://" in config.cache else config.cache
    trackers = tuple(name for name in config.trackers if not places_of(config, name))
    if (cache, trackers) == (config.cache, config.trackers):
        return config
    return replace(config, cache=cache, trackers=trackers)


def places_of(config: RunConfig, tracker: str) -> dict[str, str]:
    """Return the parameters of a tracker that name a server or a folder outside, by name."""
    return {
        name: value
        for name, value in config.settings.get(tracker, {}).items()
        if isinstance(value, str) and (name in _DESTINATIONS or _is_place(value))
    }


def _is_place(text: str) -> bool:
    path = PurePath(text)
    return (
        _SCHEME.match(text) is not None
        or path.is_absolute()
        or ".." in path.parts
        or text.startswith("~")
    )


def confirmed_config(
    config: RunConfig, cache: str | None, settings: Mapping[str, Mapping[str, Any]]
) -> tuple[RunConfig, list[str]]:
    """Return the configuration of a resumed run with the places that the user confirmed.

    Parameters
    ----------
    config : RunConfig
        Configuration in the run directory.
    cache : str or None
        Cache that the user names.
    settings : mapping
        Parameters of trackers that the user names, as text.

    Returns
    -------
    config : RunConfig
        The configuration without the places that the user did not name.
    warnings : list of str
        A line for each part of the configuration that was left out.

    Raises
    ------
    ParameterError
        If the user names another cache or another value than the run directory.
    """
    if cache is not None and cache != config.cache:
        raise ParameterError(
            f"--cache {cache}: the run was made with {config.cache or 'the default cache'}, and a "
            "resumed run keeps its options."
        )
    for owner, values in settings.items():
        for name, value in values.items():
            stored = places_of(config, owner) if owner in config.trackers else {}
            if stored.get(name) != value:
                raise ParameterError(
                    f"--set {owner}.{name} can't be given with --resume: a resumed run keeps its "
                    "options. Only a server or folder of a tracker is confirmed, by its own value.",
                )
    warnings: list[str] = []
    safe = without_places(config)
    if config.cache is not None and safe.cache is None:
        if cache is None:
            warnings.append(
                f"The run names the remote cache {config.cache}, which is not contacted unless you "
                f"name it: --cache {shlex.quote(config.cache)}"
            )
        else:
            safe = replace(safe, cache=cache)
    trackers = []
    for tracker in config.trackers:
        places = places_of(config, tracker)
        open_places = {n: v for n, v in places.items() if n not in settings.get(tracker, {})}
        if not open_places:
            trackers.append(tracker)
            continue
        options = " ".join(
            f"--set {shlex.quote(f'{tracker}.{name}={value}')}" for name, value in places.items()
        )
        warnings.append(
            f"The tracker {tracker} is left out, because the run directory chooses where it sends "
            f"the results. To use the tracker: {options}"
        )
    return replace(safe, trackers=tuple(trackers)), warnings
