"""How a check fails: in words for the author of the plugin."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NoReturn


def fail(where: str, failed: str, *, expected: str, cause: str) -> NoReturn:
    """End the test with what failed, what was expected and what usually causes it."""
    import pytest

    # Without a traceback: it would show the suite's code, and the fault is the plugin's.
    pytest.fail(_message(where, failed, expected, cause), pytrace=False)


def require(condition: bool, where: str, failed: str, *, expected: str, cause: str) -> None:
    """:func:`fail` unless `condition`."""
    if not condition:
        fail(where, failed, expected=expected, cause=cause)


def skip(reason: str) -> NoReturn:
    """End the test: there is nothing to check, and pytest shows why."""
    import pytest

    pytest.skip(reason)


@contextlib.contextmanager
def running(where: str, doing: str, *, cause: str) -> Iterator[None]:
    """Turn an exception of the plugin into a failed check; its traceback stays."""
    try:
        yield
    except Exception as error:
        failed = f"{doing} raises {type(error).__name__}: {error}"
        message = _message(where, failed, "no exception", cause)
        raise AssertionError(message) from error


def _message(where: str, failed: str, expected: str, cause: str) -> str:
    lines = {"what failed:": failed, "expected:": expected, "usual cause:": cause}
    return "\n".join([where, *(f"  {title:<15} {text}" for title, text in lines.items())])
