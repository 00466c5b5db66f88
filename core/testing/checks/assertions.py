"""Assertions of the checks, in words for the author of a plugin.

Under pytest a check fails and is skipped as any test. Without it, or while
:mod:`fusion.core.testing.runner` goes through the checks, the same ends are exceptions.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import NoReturn

from ...contracts.errors import FusionError, PluginError

_by_runner: ContextVar[bool] = ContextVar("by_runner", default=False)


@dataclass(frozen=True, slots=True)
class Fault:
    """What a check found.

    Attributes
    ----------
    where : str
        The plugin, and in which case.
    failed : str
        What was wrong.
    expected : str
        What would have been right.
    cause : str
        What usually causes it; may be empty.
    """

    where: str
    failed: str
    expected: str
    cause: str = ""

    def lines(self) -> dict[str, str]:
        """Title -> text; without what is empty."""
        lines = {
            "what failed:": self.failed,
            "expected:": self.expected,
            "usual cause:": self.cause,
        }
        return {title: text for title, text in lines.items() if text}

    def __str__(self) -> str:
        lines = {title: text.replace("\n", "\n" + 18 * " ") for title, text in self.lines().items()}
        told = (f"  {title:<15} {text}" for title, text in lines.items())
        return "\n".join([self.where, *told])


class CheckEnd(BaseException):
    """The end of a check that did not pass. No Exception: plugins' errors are caught as such."""


class CheckFailed(CheckEnd):
    """A check found a fault."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


class CheckSkipped(CheckEnd):
    """There was nothing to check; the message says why."""


@contextlib.contextmanager
def without_pytest() -> Iterator[None]:
    """Checks end in :class:`CheckEnd` for a while, even where pytest is running."""
    token = _by_runner.set(True)
    try:
        yield
    finally:
        _by_runner.reset(token)


def _pytest() -> bool:
    """Whether the checks are pytest's."""
    return "pytest" in sys.modules and not _by_runner.get()


def fail(where: str, failed: str, *, expected: str, cause: str) -> NoReturn:
    """End the check with what failed, what was expected and what usually causes it."""
    fault = Fault(where, failed, expected, cause)
    if not _pytest():
        raise CheckFailed(fault)
    import pytest

    # Without a traceback: it would show the suite's code, and the fault is the plugin's.
    pytest.fail(str(fault), pytrace=False)


def require(condition: bool, where: str, failed: str, *, expected: str, cause: str) -> None:
    """:func:`fail` unless `condition`."""
    if not condition:
        fail(where, failed, expected=expected, cause=cause)


def require_silence(
    where: str,
    printed: io.StringIO,
    expected: str = "nothing on standard output, which is for results",
) -> None:
    """:func:`fail` where a plugin printed something."""
    require(
        not printed.getvalue(),
        where,
        f"it printed {printed.getvalue()[:80]!r}",
        expected=expected,
        cause="print(...); for a message use logging or standard error",
    )


def skip(reason: str) -> NoReturn:
    """End the check: there is nothing to check, and whoever runs it shows why."""
    if not _pytest():
        raise CheckSkipped(reason)
    import pytest

    pytest.skip(reason)


def said(error: BaseException) -> str:
    """What an exception of a plugin says: its type and message."""
    if isinstance(error, PluginError) and error.__cause__ is not None:
        error = error.__cause__  # what the plugin raised, and not what fusion made of it
    text = error.message if isinstance(error, FusionError) else str(error)
    return f"{type(error).__name__}: {text}"


@contextlib.contextmanager
def running(where: str, doing: str, *, cause: str) -> Iterator[None]:
    """Turn an exception of the plugin into a failed check; its traceback stays."""
    try:
        yield
    except Exception as error:
        failed = f"{doing} raises {said(error)}"
        if isinstance(error, PluginError) and error.__cause__ is None:
            cause = error.hint or cause  # what fusion says of what a plugin returned
        fault = Fault(where, failed, "no exception", cause)
        if _pytest():
            raise AssertionError(str(fault)) from error
        raise CheckFailed(fault) from error
