"""Attribution of exceptions to plugins, by a note that names the plugin behind an exception.

The attribution does not need wrappers around plugins. When an exception leaves code that calls
plugins, fusion searches the traceback of the exception. The innermost frame in a plugin's module
identifies the plugin.
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
from .loading import error_text
from .problems import Source

T = TypeVar("T")

_SOURCES: dict[str, Source] = {}  # name of a module -> source of the module's plugin
_CONTRACTS = Plugin.__module__.rpartition(".")[0] + "."


def register_module(module: str, source: Source) -> None:
    """Register that a module, and its submodules, belong to a plugin."""
    _SOURCES[module] = source


def source_of(module: str) -> Source | None:
    """Return the source of the plugin to which a module, or a parent package, belongs."""
    while module:
        if module in _SOURCES:
            return _SOURCES[module]
        module = module.rpartition(".")[0]
    return None


def name_of(plugin: object, *, capital: bool = False) -> str:
    """Return the description, for messages, of a plugin instance or class.

    For example ``the strategy 'sum' of plugin 'mine' (fusion-mine 2.1)``. With `capital`, the
    description starts with "The".
    """
    cls = plugin if isinstance(plugin, type) else type(plugin)
    name = class_label(cls) + plugin_suffix(cls)
    return name[0].upper() + name[1:] if capital else name


def plugin_suffix(cls: type) -> str:
    """Return `` of plugin 'mine' (fusion-mine 2.1)``; "" for a class outside plugin modules."""
    source = source_of(cls.__module__)
    return f" of {source}" if source else ""


def class_label(cls: type) -> str:
    """Return ``the strategy 'sum'``, or ``the class Sum`` for a class that is no plugin."""
    kind = kind_of(cls) or "class"
    name = getattr(cls, "name", None) if issubclass(cls, Plugin) else None
    return f"the {kind} {name!r}" if name else f"the {kind} {cls.__name__}"


def kind_of(cls: type) -> str | None:
    """Return the kind of a plugin class, such as "strategy"; None for other classes."""
    for base in cls.__mro__:
        if base.__module__.startswith(_CONTRACTS) and base is not Plugin:
            return base.__name__.lower()
    return None


@dataclass(frozen=True, slots=True)
class Guilt:
    """Place in a plugin at which an exception was raised.

    Attributes
    ----------
    source : Source
        Source of the plugin.
    part : str
        The plugin class whose method was called, as ``"the strategy 'sum'"``; empty if the
        traceback has no method of a plugin class.
    method : str
        The function that raised, as ``"Sum.forward"``.
    place : str
        File and line, as ``"mine.py, line 14"``.
    """

    source: Source
    part: str
    method: str
    place: str

    def __str__(self) -> str:
        """Return method, place, class and plugin for messages."""
        plugin = f"{self.part} of {self.source}" if self.part else str(self.source)
        return f"{self.method} ({self.place}), {plugin}"


def guilt_of(error: BaseException) -> Guilt | None:
    """Return the place in a plugin at which an exception or its cause was raised; else None.

    The place of an exception from another process is known only if that process called
    :func:`note`.
    """
    visited: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in visited:
        visited.add(id(cause))
        noted_guilt = vars(cause).get(_GUILT)
        guilt = noted_guilt if isinstance(noted_guilt, Guilt) else _in(cause.__traceback__)
        if guilt is not None:
            return guilt
        cause = cause.__cause__
    return None


def note(error: BaseException) -> Guilt | None:
    """Add a note to an exception that a plugin raised, unless the exception has such a note.

    The note names the plugin. A pickled exception keeps its note in another process.
    """
    guilt = guilt_of(error)
    if guilt is not None and _GUILT not in vars(error):
        _add(error, guilt)
    return guilt


def _add(error: BaseException, guilt: Guilt) -> None:
    setattr(error, _GUILT, guilt)
    if str(guilt) not in str(error):
        error.add_note(f"Raised in {guilt}.")


@contextlib.contextmanager
def noted() -> Iterator[None]:
    """Add a note to every exception that leaves the ``with`` block; see :func:`note`."""
    try:
        yield
    except Exception as error:
        note(error)
        raise


def message_of(error: BaseException) -> str:
    """Return the text of an exception and, if a plugin raised it, the place in the plugin."""
    guilt = guilt_of(error)
    text = str(error) if isinstance(error, Relayed) else error_text(error)
    return (
        f"{text}{'' if text.endswith(('.', '!', '?')) else '.'} Raised in {guilt}."
        if guilt
        else text
    )


_GUILT = "_fusion_guilt"  # attribute of an exception to which the note was added


def _in(trace: TracebackType | None) -> Guilt | None:
    """Return the place of the innermost frame in a plugin's module; None if there is none."""
    frames = traceback.walk_tb(trace)
    owned = [(source, f, line) for f, line in frames if (source := _owner(f)) is not None]
    if not owned:
        return None
    source, frame, line = owned[-1]
    # A helper function belongs to no plugin class, but a function that called the helper may.
    own_frames = (f for other, f, _ in reversed(owned) if other == source)
    cls = next((cls for f in own_frames if (cls := _plugin_class(f)) is not None), None)
    if cls is not None:  # the class may inherit the method from a class of another plugin
        source = source_of(cls.__module__) or source
    code = frame.f_code
    method = code.co_qualname.replace(".<locals>", "")
    part = class_label(cls) if cls else ""
    return Guilt(source, part, method, f"{Path(code.co_filename).name}, line {line}")


def _owner(frame: FrameType) -> Source | None:
    return source_of(str(frame.f_globals.get("__name__", "")))


def _plugin_class(frame: FrameType) -> type | None:
    """Return the plugin class whose method a frame executes; None for other functions."""
    first: Any = frame.f_locals.get("self", frame.f_locals.get("cls"))
    cls = first if isinstance(first, type) else type(first)
    return cls if issubclass(cls, Plugin) else None


# -- between processes ---------------------------------------------------------------


class Relayed(Exception):  # noqa: N818  (it replaces an error of any type)
    """Replacement, with the same text, for an exception that can't be pickled."""


def relay(function: Callable[..., T], /, *args: Any) -> T:
    """Call a function in a worker process; add a note to its exceptions and make them picklable.

    An exception that can't be pickled or unpickled would break the pool of processes.
    """
    try:
        return function(*args)
    except Exception as error:
        guilt = note(error)
        if _travels(error):
            raise
        stand_in = Relayed(error_text(error))
        if guilt is not None:
            _add(stand_in, guilt)
        raise stand_in from error


def _travels(error: Exception) -> bool:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return False
    return True
