"""Deprecated names in the contracts, which still work but raise a DeprecationWarning.

A renamed method or attribute keeps its old name as ``old = renamed("new", gone_in=2)``. If a plugin
overrides the old name, fusion calls that override under the new name. If a plugin reads the old
name, the plugin gets the value of the new name. Renamed hooks use
:func:`fusion.core.contracts.hooks.renamed_hook`.
"""

from __future__ import annotations

import warnings
from typing import Any


class renamed:  # noqa: N801  (written like a method or attribute of the class)
    """Deprecated name of a method or attribute of a contract.

    Parameters
    ----------
    new : str
        The current name, in the same class.
    gone_in : int
        Version of the contracts in which the old name is removed.

    Warns
    -----
    DeprecationWarning
        When a class defines the old name, and when the old name is read.
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
            # The class overrides the old name, so this access is super().OLD in the class.
            return getattr(super(below[-1], bound), self.new)
        return getattr(bound, self.new)

    def text(self, user: type) -> str:
        """Return the deprecation message for `user`, a class that uses the old name."""
        return (
            f"{user.__name__}.{self.old} is now called {self.new}; {self.old} will be removed in "
            f"version {self.gone_in} of the contract"
        )


def _below(cls: type, base: type) -> list[type]:
    """Return the classes before `base` in the method resolution order of `cls`."""
    return list(cls.__mro__[: cls.__mro__.index(base)])


def old_names(cls: type) -> dict[str, renamed]:
    """Return the deprecated names of `cls` and its base classes, by name."""
    return {
        name: value
        for base in reversed(cls.__mro__)
        for name, value in vars(base).items()
        if isinstance(value, renamed)
    }


def define_new_names(cls: type) -> None:
    """Copy attributes that a new class defines under old names to the new names."""
    for name, old in old_names(cls).items():
        own = vars(cls)
        if name in own and not isinstance(own[name], renamed):
            if old.new not in own:
                setattr(cls, old.new, own[name])
            # Level 3: the warning points at the class statement, two frames up.
            warnings.warn(f"{old.text(cls)}.", DeprecationWarning, stacklevel=3)


def uses_of(cls: type) -> list[str]:
    """Return a deprecation message per old name that `cls` or one of its base classes defines."""
    return [
        old.text(base)
        for name, old in old_names(cls).items()
        for base in _below(cls, old.owner)
        if name in vars(base)
    ]
