"""The root of the one exception tree, and the cache's own branch of it.

The tree is drawn in :mod:`fusion.core.contracts.errors`. Its root lives here because the
cache is the lowest floor of the house: it may not import anything above it.
"""

from __future__ import annotations


class FusionError(Exception):
    """Root of every error that fusion raises on purpose.

    Parameters
    ----------
    message : str
        What was wrong, what was given and what was possible.
    hint : str, optional
        What to do next; shown on a line of its own.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n  hint: {self.hint}"

    def __reduce__(self) -> tuple[object, ...]:
        # The default would lose the hint between processes.
        return _rebuild, (type(self), self.message, self.hint, self.__dict__)


def _rebuild(
    cls: type[FusionError], message: str, hint: str | None, state: dict[str, object]
) -> FusionError:
    error = cls.__new__(cls)
    Exception.__init__(error, message)
    error.__dict__.update(state)
    error.message, error.hint = message, hint
    return error


class UserError(FusionError):
    """The user can mend it: exit code 2, never a traceback."""

    exit_code = 2


class Absent(Exception):  # noqa: N818  (no error: nothing went wrong)
    """Raised by a computation whose source has no such array: there is nothing to store, and
    nothing failed."""


class CacheError(UserError):
    """A cache folder or shard that can't be used as asked."""


def not_installed(purpose: str, package: str, extra: str) -> CacheError:
    """The error where an optional package is lacking: for what, which, and how to get it."""
    return CacheError(
        f"{purpose} needs the package {package}, which is not installed.",
        hint=f"pip install 'modal-fusion[{extra}]'",
    )


class ShardError(CacheError):
    """A file in the cache that is no readable shard (truncated, foreign, newer format)."""


class StorageError(CacheError):
    """No space left, no permission, or a read-only folder."""
