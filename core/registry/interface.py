"""What a contract consists of, and what of it a plugin has of its own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..contracts.data import Plugin
from ..contracts.renamed import renamed
from .collecting import base_of

_CONTRACTS = Plugin.__module__.rpartition(".")[0]
_NOTHING = inspect.Parameter.empty


@dataclass(frozen=True, slots=True)
class Attribute:
    """A class attribute that fusion reads of a plugin.

    Attributes
    ----------
    name : str
        Its name.
    annotation : str
        As it is written in the contract.
    default : str
        As Python writes it; empty where a plugin has to say it.
    """

    name: str
    annotation: str
    default: str

    def __str__(self) -> str:
        return f"{self.name}: {self.annotation}" + (f" = {self.default}" if self.default else "")


def methods_of(kind: str) -> dict[str, Any]:
    """The methods and properties of a kind's contract, as its class holds them, in their order.

    ``__init__`` is there where the contract has one.
    """
    return {
        name: value
        for cls in _contract(kind)
        for name, value in vars(cls).items()
        if (not name.startswith("_") or name == "__init__") and _is_method(value)
    }


def attributes_of(kind: str) -> list[Attribute]:
    """What a kind's contract declares beside its methods, in its order."""
    found: dict[str, Attribute] = {}
    for cls in _contract(kind):
        for name, annotation in inspect.get_annotations(cls).items():
            default = vars(cls).get(name, _NOTHING)
            shown = "" if default is _NOTHING else repr(default)
            found[name] = Attribute(name, str(annotation), shown)
    return list(found.values())


def signature_text(name: str, method: Any) -> str:
    """A method of a contract as one would write it: decorator, ``def`` and annotations."""
    signature = inspect.signature(plain(method))
    shown = signature.replace(
        parameters=[
            p.replace(annotation=_text(p.annotation)) for p in signature.parameters.values()
        ],
        return_annotation=_text(signature.return_annotation),
    )
    decorator = {classmethod: "@classmethod\n", property: "@property\n"}.get(type(method), "")
    return f"{decorator}def {name}{shown}"


def _text(annotation: Any) -> Any:
    """An annotation that inspect writes without the quotation marks of a text."""
    return _Text(annotation) if isinstance(annotation, str) else annotation


class _Text(str):
    def __repr__(self) -> str:
        return str(self)


def plain(method: Any) -> Callable[..., Any]:
    """The function in a method as a class holds it: of a class method, a property."""
    found: Any = method.fget if isinstance(method, property) else method
    function: Callable[..., Any] = getattr(found, "__func__", found)
    return function


def own_methods(cls: type[Plugin], kind: str) -> list[str]:
    """The methods of the contract that a plugin class has in place of the contract's own."""
    return [name for name in methods_of(kind) if name != "__init__" and holder(cls, name)]


def holder(cls: type, name: str) -> type | None:
    """The class from which `cls` has a method of its contract; None for the contract itself."""
    base = next(base for base in cls.__mro__ if name in vars(base))
    return None if base is object or base.__module__.startswith(_CONTRACTS) else base


def _contract(kind: str) -> list[type]:
    """The classes that make up a kind's contract, the most general first."""
    bases = base_of(kind).__mro__
    return [cls for cls in reversed(bases) if cls.__module__.startswith(_CONTRACTS)]


def _is_method(value: Any) -> bool:
    if isinstance(value, renamed):
        return False
    return inspect.isfunction(value) or isinstance(value, classmethod | staticmethod | property)
