"""Whose code an exception came from: a note on it that names the plugin.

Nothing is wrapped. Where an exception leaves a region in which plugins are called, its traceback
is looked at: the innermost frame that lies in a plugin's module says whose it is.
"""

from __future__ import annotations

import contextlib
import pickle
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, TypeVar

from ..contracts.data import Plugin
from .loading import described
from .problems import Source

T = TypeVar("T")

_SOURCES: dict[str, Source] = {}  # module -> the plugin that it belongs to
_CONTRACTS = Plugin.__module__.rpartition(".")[0] + "."


def own(module: str, source: Source) -> None:
    """Remember that a module, and what is in it, belongs to a plugin."""
    _SOURCES[module] = source


def source_of(module: str) -> Source | None:
    """The plugin to which a module, or a package around it, belongs."""
    while module:
        if module in _SOURCES:
            return _SOURCES[module]
        module = module.rpartition(".")[0]
    return None


def name_of(plugin: object, *, capital: bool = False) -> str:
    """A plugin for a message, by an instance or its class.

    ``the strategy 'sum' of plugin 'mine' (fusion-mine 2.1)``; with a `capital` "The" at the start
    of a sentence.
    """
    cls = plugin if isinstance(plugin, type) else type(plugin)
    name = called(cls) + whose(cls)
    return name[0].upper() + name[1:] if capital else name


def whose(cls: type) -> str:
    """`` of plugin 'mine' (fusion-mine 2.1)``; nothing for a class that no plugin registers."""
    source = source_of(cls.__module__)
    return f" of {source}" if source else ""


def called(cls: type) -> str:
    """``the strategy 'sum'``, or ``the class Sum`` where it is no plugin."""
    kind = kind_of(cls) or "class"
    name = getattr(cls, "name", None) if issubclass(cls, Plugin) else None
    return f"the {kind} {name!r}" if name else f"the {kind} {cls.__name__}"


def kind_of(cls: type) -> str | None:
    """``"strategy"`` of a class made from :class:`Strategy`, and so on."""
    for base in cls.__mro__:
        if base.__module__.startswith(_CONTRACTS) and base is not Plugin:
            return base.__name__.lower()
    return None


@dataclass(frozen=True, slots=True)
class Guilt:
    """Where in a plugin an exception was raised.

    Attributes
    ----------
    source : Source
        Whose code it is.
    part : str
        What of it was asked, ``"the strategy 'sum'"``; empty where it was no plugin class.
    method : str
        ``"Sum.forward"``.
    place : str
        ``"mine.py, line 14"``.
    """

    source: Source
    part: str
    method: str
    place: str

    def __str__(self) -> str:
        whose = f"{self.part} of {self.source}" if self.part else str(self.source)
        return f"{self.method} ({self.place}), {whose}"


def guilt_of(error: BaseException) -> Guilt | None:
    """Who raised it, or what it was raised from; None where no plugin had to do with it.

    Known of an exception that came from another process, where :func:`note` was called.
    """
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        told = vars(cause).get(_TOLD)
        found = told if isinstance(told, Guilt) else _in(cause.__traceback__)
        if found is not None:
            return found
        cause = cause.__cause__
    return None


def note(error: BaseException) -> Guilt | None:
    """Add a note to an exception that names the guilty plugin, once.

    It goes with the exception into other processes.
    """
    guilt = guilt_of(error)
    if guilt is not None and _TOLD not in vars(error):
        _add(error, guilt)
    return guilt


def _add(error: BaseException, guilt: Guilt) -> None:
    setattr(error, _TOLD, guilt)
    if str(guilt) not in str(error):
        error.add_note(f"Raised in {guilt}.")


@contextlib.contextmanager
def noted() -> Iterator[None]:
    """:func:`note` on whatever leaves the body."""
    try:
        yield
    except Exception as error:
        note(error)
        raise


def told(error: BaseException) -> str:
    """What an exception says and, where a plugin raised it, which: for people."""
    guilt = guilt_of(error)
    text = str(error) if isinstance(error, Relayed) else described(error)
    return (
        f"{text}{'' if text.endswith(('.', '!', '?')) else '.'} Raised in {guilt}."
        if guilt
        else text
    )


_TOLD = "_fusion_guilt"  # attribute of an exception that has its note


def _in(trace: TracebackType | None) -> Guilt | None:
    """The innermost frame in a plugin's module, seen from the plugin that was asked."""
    frames = traceback.walk_tb(trace)
    owned = [(source, f, line) for f, line in frames if (source := _owner(f)) is not None]
    if not owned:
        return None
    source, frame, line = owned[-1]
    # A helper's own frame names no plugin class; the frame that called it may.
    frames_of_it = (f for other, f, _ in reversed(owned) if other == source)
    cls = next((cls for f in frames_of_it if (cls := _asked(f)) is not None), None)
    if cls is not None:  # which may have the method from a class of another plugin
        source = source_of(cls.__module__) or source
    code = frame.f_code
    method = code.co_qualname.replace(".<locals>", "")
    part = called(cls) if cls else ""
    return Guilt(source, part, method, f"{Path(code.co_filename).name}, line {line}")


def _owner(frame: FrameType) -> Source | None:
    return source_of(str(frame.f_globals.get("__name__", "")))


def _asked(frame: FrameType) -> type | None:
    """The plugin class whose method a frame is."""
    first: Any = frame.f_locals.get("self", frame.f_locals.get("cls"))
    cls = first if isinstance(first, type) else type(first)
    return cls if issubclass(cls, Plugin) else None


# -- between processes ---------------------------------------------------------------


class Relayed(Exception):  # noqa: N818  (it stands for an error and is none of its own)
    """In place of an exception that can't travel between processes; says what that one said."""


def relay(function: Callable[..., T], /, *args: Any) -> T:
    """Call a function for another process: what it raises is noted, and arrives there.

    An exception that can't be pickled, or not be made again, would end the pool.
    """
    try:
        return function(*args)
    except Exception as error:
        guilt = note(error)
        if _travels(error):
            raise
        stand_in = Relayed(described(error))
        if guilt is not None:
            _add(stand_in, guilt)
        raise stand_in from error


def _travels(error: Exception) -> bool:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return False
    return True
