"""Sources of plugins, and problems of plugins that can't be used."""

from __future__ import annotations

from dataclasses import dataclass

from ..contracts.errors import FusionError, PluginError

DISTRIBUTION = "modal-fusion"


@dataclass(frozen=True, slots=True)
class Source:
    """Source of a plugin module: its name, its distribution or file, and its version."""

    plugin: str
    distribution: str
    version: str

    def __str__(self) -> str:
        """Return the name and origin for messages: ``plugin 'mine' (fusion-mine 2.1)``."""
        return f"plugin {self.plugin!r} ({self.origin})"

    @property
    def origin(self) -> str:
        """Distribution and version, or the path of a file."""
        return f"{self.distribution} {self.version}".strip()

    @property
    def built_in(self) -> bool:
        """True if the plugin belongs to fusion itself."""
        return self.distribution == DISTRIBUTION

    def to_json(self) -> dict[str, str]:
        """Return the fields of the source for JSON output."""
        own = {"plugin": self.plugin, "distribution": self.distribution}
        return {**own, "distribution_version": self.version}

    def remedy(self, repair: str = "") -> str:
        """Return a hint: the `repair`, if any, and the option to run without the plugin."""
        without = f"un without the plugin: -p no:{self.plugin}"
        if not repair:
            return "R" + without
        return f"{repair}{'' if repair[-1] in '.?' else '.'} Or r{without}"


@dataclass(frozen=True, slots=True)
class Problem:
    """Reason why a plugin, or a part of a plugin, can't be used.

    Attributes
    ----------
    source : Source
        Source of the plugin.
    reason : str
        The problem, as a sentence in which "it" stands for the plugin.
    hook : str
        The hook that failed; empty if the problem is not in a hook.
    remedy : str
        Action that the plugin's author or user can take.
    part : str
        The part that can't be used, such as ``"the strategy 'sum'"``; empty for the whole plugin.
    """

    source: Source
    reason: str
    hook: str = ""
    remedy: str = ""
    part: str = ""

    def __str__(self) -> str:
        """Return a warning that the plugin was skipped, with the reason."""
        return f"{self.skipped} was skipped: {self.reason}"

    @property
    def skipped(self) -> str:
        """Name of the plugin, or of its part, that can't be used."""
        return f"{self.part} of {self.source}" if self.part else str(self.source)

    def error(self) -> PluginError:
        """Return a PluginError with the reason and the remedy of the problem."""
        return PluginError(f"{self.skipped} can't be used: {self.reason}", hint=self.remedy)


@dataclass(frozen=True, slots=True)
class Deprecation:
    """Deprecated names that a plugin uses, and that a later version of fusion will remove.

    Attributes
    ----------
    source : Source
        Source of the plugin.
    uses : tuple of str
        One text per deprecated name, with the new name and the version that removes the old name.
    """

    source: Source
    uses: tuple[str, ...]

    def __str__(self) -> str:
        """Return a warning that lists the deprecated names."""
        return f"{self.source} should be updated: {'; '.join(self.uses)}."


class BrokenPluginError(PluginError):
    """Error about a plugin that can't be used, before the source of the plugin is attached.

    Parameters
    ----------
    reason : str
        The problem, as in :class:`Problem`.
    remedy : str
        Action that the plugin's author can take.
    hook : str
        The hook that failed; empty if the problem is not in a hook.
    """

    def __init__(self, reason: str, *, remedy: str, hook: str = "") -> None:
        super().__init__(reason, hint=remedy)
        self.hook = hook


def problem_of(error: Exception, source: Source) -> Problem:
    """Return the problem for an exception that loading or checking a plugin raised."""
    reason, repair = f"{type(error).__name__}: {error}", ""
    if isinstance(error, FusionError):
        reason, repair = error.message, error.hint or ""
    hook = error.hook if isinstance(error, BrokenPluginError) else ""
    return Problem(source, reason, hook, source.remedy(repair))


def describe_value(value: object) -> str:
    """Return a short description, for messages, of a value that a plugin returned."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if value is None or isinstance(value, str | int | float):
        text = repr(value)
        return text if len(text) <= 40 else f"text of {len(text)} characters"
    length = f" of {len(value)}" if isinstance(value, list | tuple | dict) else ""
    return f"a {type(value).__name__}{length}"
