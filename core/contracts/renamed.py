"""Old names in the contracts: they go on working for a while, and warn.

A method or attribute that gets a new name leaves the old one behind as ``old = renamed("new",
gone_in=2)``. A plugin that overrides the old name is called by the new one; a plugin that reads the
old name gets what the new one has. For a hook see :func:`fusion.core.contracts.hooks.renamed_hook`.
"""

from __future__ import annotations

import warnings
from typing import Any


class renamed:  # noqa: N801  (stands where a method or attribute would)
    """The old name of a method or attribute of a contract.

    Parameters
    ----------
    new : str
        What it is called now, in the same class.
    gone_in : int
        Version of the contracts without the old name.

    Warns
    -----
    DeprecationWarning
        Where a class defines the old name, and where one is read.
    """

    def __init__(self, new: str, *, gone_in: int) -> None:
        self.new = new
        self.gone_in = gone_in

    def __set_name__(self, owner: type, name: str) -> None:
        self.owner = owner
        self.old = name

    def __get__(self, instance: object, cls: type | None = None) -> Any:
        warnings.warn(f"{self.text(self.owner)}.", DeprecationWarning, stacklevel=2)
        cls = type(instance) if cls is None else cls
        bound = cls if instance is None else instance
        below = _below(cls, self.owner)
        if any(self.old in vars(c) for c in below):
            # Such a class has one of its own, and this is its super().OLD.
            return getattr(super(below[-1], bound), self.new)
        return getattr(bound, self.new)

    def text(self, user: type) -> str:
        """What to tell of `user`, a class that has the old name."""
        return (
            f"{user.__name__}.{self.old} is now called {self.new}, and {self.old} goes in version "
            f"{self.gone_in} of the contract"
        )


def _below(cls: type, base: type) -> list[type]:
    """The classes of `cls` that come before `base`."""
    return list(cls.__mro__[: cls.__mro__.index(base)])


def old_names(cls: type) -> dict[str, renamed]:
    """The old names that `cls` could use, by name."""
    return {
        name: value
        for base in reversed(cls.__mro__)
        for name, value in vars(base).items()
        if isinstance(value, renamed)
    }


def take_up(cls: type) -> None:
    """Let what a new class defines by an old name be found by the new one."""
    for name, old in old_names(cls).items():
        own = vars(cls)
        if name in own and not isinstance(own[name], renamed):
            if old.new not in own:
                setattr(cls, old.new, own[name])
            # The class statement: this function and __init_subclass__ are not what to look at.
            warnings.warn(f"{old.text(cls)}.", DeprecationWarning, stacklevel=3)


def uses_of(cls: type) -> list[str]:
    """What to tell of the old names that `cls`, or a class that it is made from, defines."""
    return [
        old.text(base)
        for name, old in old_names(cls).items()
        for base in _below(cls, old.owner)
        if name in vars(base)
    ]
