"""Where plugins come from, and what is wrong with those that can't be used."""

from __future__ import annotations

from dataclasses import dataclass

from ..contracts.errors import FusionError, PluginError

DISTRIBUTION = "modal-fusion"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a plugin module came from."""

    plugin: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"plugin {self.plugin!r} ({self.origin})"

    @property
    def origin(self) -> str:
        """The distribution and its version; of a file its path."""
        return f"{self.distribution} {self.version}".strip()

    @property
    def built_in(self) -> bool:
        """Whether it comes with fusion."""
        return self.distribution == DISTRIBUTION

    def to_json(self) -> dict[str, str]:
        """As every listing for machines has it."""
        own = {"plugin": self.plugin, "distribution": self.distribution}
        return {**own, "distribution_version": self.version}

    def remedy(self, repair: str = "") -> str:
        """`repair`, or how to go without the plugin."""
        without = f"o without the plugin: -p no:{self.plugin}"
        if not repair:
            return "G" + without
        return f"{repair}{'' if repair[-1] in '.?' else '.'} Or g{without}"


@dataclass(frozen=True, slots=True)
class Problem:
    """A plugin, or a part of one, that could not be used, and why.

    Attributes
    ----------
    source : Source
        Whose it is.
    reason : str
        What is wrong, in a sentence that starts with the plugin as "it".
    hook : str
        The hook in which it showed; empty where it was none.
    remedy : str
        What its author and its user can do.
    part : str
        What was left out, where that is not all of it: ``"the strategy 'sum'"``.
    """

    source: Source
    reason: str
    hook: str = ""
    remedy: str = ""
    part: str = ""

    def __str__(self) -> str:
        return f"{self.skipped} was skipped: {self.reason}"

    @property
    def skipped(self) -> str:
        """What is not there."""
        return f"{self.part} of {self.source}" if self.part else str(self.source)

    def error(self) -> PluginError:
        """The same for a program that goes no further."""
        return PluginError(f"{self.skipped} can't be used: {self.reason}", hint=self.remedy)


@dataclass(frozen=True, slots=True)
class Deprecation:
    """A plugin that works, and will not after an update.

    Attributes
    ----------
    source : Source
        Whose it is.
    uses : tuple of str
        Each old name, with the new one and the version in which the old one goes.
    """

    source: Source
    uses: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.source} should be updated: {'; '.join(self.uses)}."


class BrokenPluginError(PluginError):
    """What is wrong with a plugin, before it is said whose it is.

    Parameters
    ----------
    reason : str
        As in :class:`Problem`.
    remedy : str
        What its author can do.
    hook : str
        The hook in which it showed.
    """

    def __init__(self, reason: str, *, remedy: str, hook: str = "") -> None:
        super().__init__(reason, hint=remedy)
        self.hook = hook


def problem_of(error: Exception, source: Source) -> Problem:
    """A problem of what was raised while the plugin of `source` was looked at."""
    reason, repair = f"{type(error).__name__}: {error}", ""
    if isinstance(error, FusionError):
        reason, repair = error.message, error.hint or ""
    hook = error.hook if isinstance(error, BrokenPluginError) else ""
    return Problem(source, reason, hook, source.remedy(repair))


def shown(value: object) -> str:
    """What a plugin returned, for a message: as itself where that says something."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if value is None or isinstance(value, str | int | float):
        text = repr(value)
        return text if len(text) <= 40 else f"text of {len(text)} characters"
    length = f" of {len(value)}" if isinstance(value, list | tuple | dict) else ""
    return f"a {type(value).__name__}{length}"
