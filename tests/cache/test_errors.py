"""The hierarchy of errors, their messages, and pickling."""

from __future__ import annotations

import pickle

import pytest

from fusion.cache import errors
from fusion.cache.errors import Absent, CacheError, FusionError, ShardError, StorageError, UserError


def test_the_hierarchy_of_errors() -> None:
    for kind in (CacheError, ShardError, StorageError):
        assert issubclass(kind, UserError) and kind.exit_code == 2
    assert FusionError.exit_code == 1
    assert not issubclass(Absent, FusionError)  # absence is not an error
    from fusion.core.contracts import errors as drawn

    for name in ("FusionError", "UserError", "CacheError", "ShardError", "StorageError"):
        assert getattr(drawn, name) is getattr(errors, name)


def test_a_hint_is_on_a_separate_line() -> None:
    assert str(CacheError("It is full.")) == "It is full."
    assert str(CacheError("It is full.", hint="Free space.")) == "It is full.\n  hint: Free space."


class DetailedError(CacheError):
    """An error with an additional attribute and another constructor."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is bad.", hint="Look.")
        self.path = path


@pytest.mark.parametrize(
    "error", [ShardError("a", hint="b"), FusionError("c"), DetailedError("x.h5")]
)
def test_an_error_can_be_pickled_completely(error: FusionError) -> None:
    error.add_note("of the plugin mel")
    result = pickle.loads(pickle.dumps(error))
    assert type(result) is type(error)
    assert (result.message, result.hint, str(result)) == (error.message, error.hint, str(error))
    assert result.__dict__ == error.__dict__  # including notes
    assert result.args == (error.message,)
