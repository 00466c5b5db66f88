"""Assertions of the checks, with messages for the author of a plugin.

Under pytest, checks fail and are skipped like other tests. Without pytest, or while
:mod:`fusion.core.testing.runner` runs the checks, a failed check raises :class:`CheckFailed` and a
skipped check raises :class:`CheckSkipped`.
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
    """Fault that a check found in a plugin.

    Attributes
    ----------
    where : str
        Name of the plugin and of the case.
    failed : str
        The failure.
    expected : str
        The behaviour or value that was expected.
    cause : str
        Usual cause of such a failure; may be empty.
    """

    where: str
    failed: str
    expected: str
    cause: str = ""

    def lines(self) -> dict[str, str]:
        """Return the parts of the message that are not empty, by title."""
        lines = {
            "what failed:": self.failed,
            "expected:": self.expected,
            "usual cause:": self.cause,
        }
        return {title: text for title, text in lines.items() if text}

    def __str__(self) -> str:
        """Return the whole message, one line for each part."""
        lines = {title: text.replace("\n", "\n" + 18 * " ") for title, text in self.lines().items()}
        parts = (f"  {title:<15} {text}" for title, text in lines.items())
        return "\n".join([self.where, *parts])


class CheckEnd(BaseException):
    """Exception that ends a check that did not pass.

    The class derives from BaseException, because checks catch Exception for errors of plugins.
    """


class CheckFailed(CheckEnd):
    """Exception that ends a check that found a fault."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


class CheckSkipped(CheckEnd):
    """Exception that ends a check that does not apply; the message gives the reason."""


@contextlib.contextmanager
def without_pytest() -> Iterator[None]:
    """Let failed and skipped checks raise :class:`CheckEnd`, even while pytest is running."""
    token = _by_runner.set(True)
    try:
        yield
    finally:
        _by_runner.reset(token)


def _pytest() -> bool:
    """Return True if pytest runs the checks."""
    return "pytest" in sys.modules and not _by_runner.get()


def fail(where: str, failed: str, *, expected: str, cause: str) -> NoReturn:
    """Fail the check; the message gives the failure, the expected behaviour and a usual cause."""
    fault = Fault(where, failed, expected, cause)
    if not _pytest():
        raise CheckFailed(fault)
    import pytest

    # No traceback: a traceback would show the suite's code, but the fault is in the plugin.
    pytest.fail(str(fault), pytrace=False)


def require(condition: bool, where: str, failed: str, *, expected: str, cause: str) -> None:
    """Fail the check unless `condition` is true; see :func:`fail`."""
    if not condition:
        fail(where, failed, expected=expected, cause=cause)


def require_silence(
    where: str,
    printed: io.StringIO,
    expected: str = "nothing on standard output, which is for results",
) -> None:
    """Fail the check if a plugin printed to standard output; see :func:`fail`."""
    require(
        not printed.getvalue(),
        where,
        f"prints {printed.getvalue()[:80]!r} to standard output",
        expected=expected,
        cause="a call of print(...): use logging or standard error for messages",
    )


def skip(reason: str) -> NoReturn:
    """Skip the check and report the reason."""
    if not _pytest():
        raise CheckSkipped(reason)
    import pytest

    pytest.skip(reason)


def describe(error: BaseException) -> str:
    """Return the type and message of an exception that a plugin raised."""
    if isinstance(error, PluginError) and error.__cause__ is not None:
        error = error.__cause__  # the plugin's own exception, which fusion wrapped
    text = error.message if isinstance(error, FusionError) else str(error)
    return f"{type(error).__name__}: {text}"


@contextlib.contextmanager
def running(where: str, doing: str, *, cause: str) -> Iterator[None]:
    """Convert an exception of the plugin into a failed check that keeps the traceback."""
    try:
        yield
    except Exception as error:
        failed = f"{doing} raises {describe(error)}"
        if isinstance(error, PluginError) and error.__cause__ is None:
            cause = error.hint or cause  # fusion's own hint about the value that a plugin returned
        fault = Fault(where, failed, "no exception", cause)
        if _pytest():
            raise AssertionError(str(fault)) from error
        raise CheckFailed(fault) from error
