"""A plugin class with a fault on purpose: its name, its text, its place in the caller's module."""

from __future__ import annotations

import functools
import inspect
import itertools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...contracts import Plugin

_PACKAGE = __package__ or ""


@dataclass(frozen=True, slots=True)
class Label:
    """What a fault is called.

    Attributes
    ----------
    fault : str
        The function that makes it, ``"scaled"``.
    does : str
        What the faulty class does wrong, in one sentence; the first line of its docstring.
    strength : mapping
        Arguments of the fault, as they were given.
    name : str or None
        The class's name instead of ``f"{cls.name}_{fault}"``.
    """

    fault: str
    does: str
    strength: Mapping[str, Any]
    name: str | None = None

    def name_for(self, cls: type[Plugin]) -> str:
        return self.name or f"{cls.name}_{self.fault}"

    def version_for(self, cls: type[Plugin]) -> str:
        """The wrapped class's version with the fault and its strength: other numbers, another
        version, and so another fingerprint in the cache."""
        arguments = ", ".join(f"{k}={v}" for k, v in self.strength.items() if v is not None)
        return f"{cls.version}+{self.fault}({arguments})"


def make_class(
    base: type[Any], cls: type[Plugin], label: Label, members: Mapping[str, Any]
) -> type[Any]:
    """A class derived from `base` that stands in for `cls`.

    It has the signature of `cls`, so that its parameters are those of `cls`, and becomes an
    attribute of the module that asked for the fault: a process that computes features finds an
    extractor by its module and name.
    """
    name = label.name_for(cls)
    module = _caller()
    title = _free("".join(part.title() for part in name.split("_")), module)
    own = {
        "name": name,
        "version": label.version_for(cls),
        "default": False,
        "__doc__": f"A fault on purpose: {label.does}\n\n{inspect.getdoc(cls) or ''}".strip(),
        "__module__": module,
        "__qualname__": title,
    }
    made = type(title, (base,), {**own, **members})
    setattr(sys.modules[module], title, made)
    return made


def like(cls: type[Plugin], init: Callable[..., None]) -> Callable[..., None]:
    """`init` under the signature and annotations of ``cls.__init__``."""

    @functools.wraps(cls.__init__)
    def made(self: Any, *args: Any, **given: Any) -> None:
        init(self, *args, **given)

    return made


def kind_of(cls: Any) -> str | None:
    """Extractor, corpus, branch or strategy; torch is imported for the last two alone."""
    from ...contracts.data import Corpus, Extractor

    if not isinstance(cls, type):
        return None
    if issubclass(cls, Extractor):
        return "extractor"
    if issubclass(cls, Corpus):
        return "corpus"
    from ...contracts.networks import Branch, Strategy

    if issubclass(cls, Branch):
        return "branch"
    return "strategy" if issubclass(cls, Strategy) else None


def refuse(fault: str, cls: object, possible: str) -> TypeError:
    """What is raised for a class of a kind that has no such fault."""
    shown = f"{cls.__module__}.{cls.__qualname__}" if isinstance(cls, type) else repr(cls)
    return TypeError(f"faults.{fault} takes {possible}, and was given {shown}.")


def check_share(fault: str, share: float) -> None:
    """Refuse what is no share."""
    if not 0 <= share <= 1:
        raise ValueError(f"faults.{fault} needs a share from 0 to 1, and was given {share}.")


def check_least(fault: str, name: str, value: int, least: int) -> None:
    """Refuse a number that is too small."""
    if value < least:
        raise ValueError(f"faults.{fault} needs {name} >= {least}, and was given {value}.")


def _free(title: str, module: str) -> str:
    """`title`, or the first of ``title2``, ``title3`` ... that `module` does not have yet.

    A module is executed in one order everywhere, so every process gives the same names.
    """
    taken = vars(sys.modules[module])
    numbered = (f"{title}{number}" for number in itertools.count(2))
    return next(t for t in itertools.chain([title], numbered) if t not in taken)


def _caller() -> str:
    """The module that called into this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals["__name__"]).startswith(_PACKAGE):
        frame = frame.f_back
    return str(frame.f_globals["__name__"])
