"""Creation of faulty plugin classes: name, version, docstring, and place in the caller's module."""

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
    """Name, description and strength of a fault.

    Attributes
    ----------
    fault : str
        Name of the function that makes the fault, such as ``"scaled"``.
    does : str
        Effect of the fault, in one sentence; part of the first line of the class's docstring.
    strength : mapping
        Arguments of the fault, as they were passed.
    name : str or None
        Name of the faulty plugin; None for ``f"{cls.name}_{fault}"``.
    """

    fault: str
    does: str
    strength: Mapping[str, Any]
    name: str | None = None

    def name_for(self, cls: type[Plugin]) -> str:
        """Return the name of the faulty version of a plugin."""
        return self.name or f"{cls.name}_{self.fault}"

    def version_for(self, cls: type[Plugin]) -> str:
        """Return the version of the healthy class, followed by the fault and its strength.

        A different strength gives a different version, which gives a different fingerprint in the
        cache.
        """
        arguments = ", ".join(f"{k}={v}" for k, v in self.strength.items() if v is not None)
        return f"{cls.version}+{self.fault}({arguments})"


def make_class(
    base: type[Any], cls: type[Plugin], label: Label, members: Mapping[str, Any]
) -> type[Any]:
    """Return a class derived from `base` that replaces the plugin class `cls`.

    The new class becomes an attribute of the module that called the fault, because a process that
    computes features finds an extractor by its module and name.
    """
    name = label.name_for(cls)
    module = _caller()
    title = _free("".join(part.title() for part in name.split("_")), module)
    own = {
        "name": name,
        "version": label.version_for(cls),
        "default": False,
        "__doc__": f"Deliberate fault: {label.does}\n\n{inspect.getdoc(cls) or ''}".strip(),
        "__module__": module,
        "__qualname__": title,
    }
    faulty = type(title, (base,), {**own, **members})
    setattr(sys.modules[module], title, faulty)
    return faulty


def like(cls: type[Plugin], init: Callable[..., None]) -> Callable[..., None]:
    """Return `init` with the signature and annotations of ``cls.__init__``."""

    @functools.wraps(cls.__init__)
    def wrapped(self: Any, *args: Any, **parameters: Any) -> None:
        init(self, *args, **parameters)

    return wrapped


def kind_of(cls: Any) -> str | None:
    """Return the kind of a class: "extractor", "corpus", "branch", "strategy" or None.

    Torch is imported only if the class is neither an extractor nor a corpus.
    """
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
    """Return the TypeError for a class to which a fault does not apply."""
    shown = f"{cls.__module__}.{cls.__qualname__}" if isinstance(cls, type) else repr(cls)
    return TypeError(f"faults.{fault} takes {possible}, and was given {shown}.")


def check_share(fault: str, share: float) -> None:
    """Raise ValueError unless `share` is from 0 to 1."""
    if not 0 <= share <= 1:
        raise ValueError(f"faults.{fault} needs a share from 0 to 1, and was given {share}.")


def check_least(fault: str, name: str, value: int, least: int) -> None:
    """Raise ValueError if an argument is less than `least`."""
    if value < least:
        raise ValueError(f"faults.{fault} needs {name} >= {least}, and was given {value}.")


def _free(title: str, module: str) -> str:
    """Return the first of `title`, ``title2``, ``title3`` ... that `module` does not have yet.

    Statements of a module run in the same order everywhere, so all processes get the same names.
    """
    existing = vars(sys.modules[module])
    numbered = (f"{title}{number}" for number in itertools.count(2))
    return next(t for t in itertools.chain([title], numbered) if t not in existing)


def _caller() -> str:
    """Return the name of the module that called into this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals["__name__"]).startswith(_PACKAGE):
        frame = frame.f_back
    return str(frame.f_globals["__name__"])
