"""Root of the exception tree, and the cache's own branch of the tree.

:mod:`fusion.core.contracts.errors` draws the whole tree. The root of the tree is defined here,
because the cache is the lowest layer and may not import any other part of fusion.
"""

from __future__ import annotations


class FusionError(Exception):
    """Root of every error that fusion raises on purpose.

    Parameters
    ----------
    message : str
        The problem, with the value that was given and the values that are accepted.
    hint : str, optional
        What to do next; shown on a separate line.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n  hint: {self.hint}"

    def __reduce__(self) -> tuple[object, ...]:
        # The default method would lose the hint when the error is pickled for another process.
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
    """Error that the user can correct: the exit code is 2 and no traceback is shown."""

    exit_code = 2


class Absent(Exception):  # noqa: N818  (not an error: nothing went wrong)
    """Signal that a source does not have the requested feature.

    A build stores nothing for this source and does not count it as a failure.
    """


class CacheError(UserError):
    """Error for a cache folder or shard that can't be used as requested."""


def not_installed(purpose: str, package: str, extra: str) -> CacheError:
    """Return the error for an optional package that is not installed.

    The message names the purpose and the package; the hint gives the command that installs it.
    """
    return CacheError(
        f"{purpose} needs the package {package}, which is not installed.",
        hint=f"pip install 'modal-fusion[{extra}]'",
    )


class ShardError(CacheError):
    """File in the cache that is not a readable shard (truncated, foreign or of a newer format)."""


class StorageError(CacheError):
    """Failure to write: no space left, no permission, or a read-only folder."""
