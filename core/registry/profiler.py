"""The clock around plugins' methods, and what counts its readings in one process.

The clock is put into the class that defines a method, and taken out again: a plugin that is
copied, pickled or asked for its signature is what it always was.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import multiprocessing.util
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from types import GeneratorType
from typing import Any

from ..contracts.data import Plugin
from .interface import holder, methods_of
from .problems import Source
from .profile import MODULE, Key, Tally, Trace
from .provenance import kind_of

_FLUSH_SECONDS = 2.0  # what a worker has counted since is lost when it is killed

active: Recorder | None = None
"""Counts the calls of this process, while it is traced."""


@dataclass(slots=True)
class Call:
    """A call that goes on.

    Attributes
    ----------
    key : Key
        What is called.
    owner : object
        The plugin, or its class.
    started : float
        As :func:`time.perf_counter` says it.
    inside : float
        Seconds in the calls that it made.
    """

    key: Key
    owner: object
    started: float
    inside: float = 0.0


_BARE = "_fusion_bare"  # attribute of a function with a clock: the one without


class _Calls(threading.local):
    """The calls that go on in this thread, the innermost last."""

    def __init__(self) -> None:
        self.stack: list[Call] = []


def clocked(function: Callable[..., Any], method: str, owner: object = None) -> Any:
    """`function` with a clock; `owner` where its first argument does not say whose it is."""

    @functools.wraps(function)
    def timed(*given: Any, **named: Any) -> Any:
        recorder = active
        whose = given[0] if owner is None and given else owner
        call = None if recorder is None else recorder.enter(whose, method)
        if recorder is None or call is None:
            return function(*given, **named)
        try:
            result = function(*given, **named)
        finally:
            recorder.leave(call)
        if isinstance(result, GeneratorType):  # nothing was done yet
            return _followed(result, recorder, call)
        if isinstance(result, Plugin):
            recorder.adopt(result, whose)
        return result

    setattr(timed, _BARE, function)
    return timed


def _followed(
    generator: GeneratorType[Any, Any, Any], recorder: Recorder, call: Call
) -> Iterator[Any]:
    """What a method yields; its time is that of the one call, and not of whoever consumes it."""
    spent = 0.0
    while True:
        step = recorder.begin(call.key, call.owner)
        try:
            item = next(generator)
        except StopIteration:
            return
        finally:
            spent += recorder.leave(step, of=call, before=spent)
        yield item


def clock_outside(change: Callable[[Any], Any], method: Any) -> Any:
    """``change(method)``; a clock stays outside of it.

    For a compiler, that would see in each reading of the clock another program.
    """
    bare = getattr(getattr(method, "__func__", None), _BARE, None)
    if bare is None:
        return change(method)
    owner = method.__self__
    return clocked(change(bare.__get__(owner)), method.__name__, owner)


class Recorder:
    """Counts the calls of one process.

    Parameters
    ----------
    started : float
        When the trace began, as :func:`time.time` says it.
    spool : Path, optional
        Where a worker writes what it counted.
    """

    def __init__(self, started: float, spool: Path | None = None) -> None:
        self.trace = Trace()
        self.phase = ""
        self._offset = time.time() - time.perf_counter() - started
        self._spool = spool
        self._flushed = 0.0
        self._labels: dict[type, Key | None] = {}  # the start of a method's name in its place
        self._clocks = contextlib.ExitStack()
        self._calls = _Calls()
        self._lock = threading.Lock()
        if spool is not None:
            multiprocessing.util.Finalize(None, self.flush, exitpriority=0)

    # -- which methods ---------------------------------------------------------------

    def watch(self, cls: type[Plugin], kind: str, source: Source | None) -> None:
        """From now on, count the calls of a plugin class."""
        if source is not None:
            self.trace.sources[kind, cls.name] = source
        self._watch(cls, kind, Key("", kind, cls.name, cls.version, ""))

    def adopt(self, made: Plugin, maker: object) -> None:
        """What a plugin hands out, such as a network around another, counts as its own."""
        label, kind = self._label(maker), kind_of(type(made))
        if label is not None and kind is not None and self._label(made) is None:
            self._watch(type(made), kind, label._replace(method=f"{kind}."))

    def _watch(self, cls: type, kind: str, label: Key) -> None:
        if self._labels.get(cls) is not None:
            return
        # Classes made from this one, that were nobody's until now, are looked at again.
        self._labels = {c: known for c, known in self._labels.items() if known is not None}
        self._labels[cls] = label
        for name in dict.fromkeys(("__init__", *methods_of(kind))):
            where = holder(cls, name)
            if where is not None:
                # A class that is no plugin has other users, who are none of our business.
                self._put(where if issubclass(where, Plugin) else cls, name, vars(where)[name])

    def _put(self, cls: type, name: str, method: Any) -> None:
        function = getattr(method, "__func__", method)
        if not inspect.isfunction(function) or hasattr(function, _BARE):
            return
        timed = clocked(function, name, cls if isinstance(method, staticmethod) else None)
        if isinstance(method, classmethod | staticmethod):
            timed = type(method)(timed)
        if name in vars(cls):
            self._clocks.callback(setattr, cls, name, vars(cls)[name])
        else:
            self._clocks.callback(delattr, cls, name)
        setattr(cls, name, timed)

    def unwatch(self) -> None:
        """Take all clocks out again."""
        self._clocks.close()

    def _label(self, owner: object) -> Key | None:
        cls = owner if isinstance(owner, type) else type(owner)
        if cls not in self._labels:
            known = (self._labels[base] for base in cls.__mro__[1:] if base in self._labels)
            self._labels[cls] = next(known, None)
        return self._labels[cls]

    # -- calls -----------------------------------------------------------------------

    def enter(self, owner: object, method: str) -> Call | None:
        """A call begins; None where it is not to be counted."""
        label = self._label(owner)
        if label is None:
            return None
        name = label.method + method
        stack = self._calls.stack
        # A method that calls the one that it overrides is one call.
        if stack and stack[-1].owner is owner and stack[-1].key.method == name:
            return None
        return self.begin(Key(self.phase, label.kind, label.plugin, label.version, name), owner)

    def enter_module(self, source: Source, method: str) -> Call:
        """The import of a plugin's module begins, or one of its hooks."""
        # Two distributions may give their plugins one name.
        name = f"{source.distribution}:{source.plugin}"
        self.trace.sources[MODULE, name] = source
        return self.begin(Key(self.phase, MODULE, name, "", method), source)

    def begin(self, key: Key, owner: object) -> Call:
        """A call begins."""
        call = Call(key, owner, time.perf_counter())
        self._calls.stack.append(call)
        return call

    def leave(self, call: Call, *, of: Call | None = None, before: float = 0.0) -> float:
        """A call ends. Returns its seconds.

        `of` is the call whose continuation it is, which had taken `before` seconds so far.
        """
        now = time.perf_counter()
        seconds = now - call.started
        stack = self._calls.stack
        stack.pop()
        if stack:
            stack[-1].inside += seconds
        at = (of or call).started + self._offset
        calls = 0 if of else 1
        tally = Tally(calls, seconds, seconds - call.inside, before + seconds, at, at)
        with self._lock:
            self.trace.rows.setdefault((os.getpid(), call.key), Tally()).add(tally)
        if self._spool is not None and now - self._flushed > _FLUSH_SECONDS:
            self.flush()
        return seconds

    # -- between processes -----------------------------------------------------------

    def flush(self) -> None:
        """Write down what a worker has counted since the last time."""
        assert self._spool is not None
        with self._lock:
            rows, self.trace.rows = self.trace.rows, {}
            self._flushed = time.perf_counter()
        gpu = _uses_gpu()
        text = "".join(
            json.dumps([gpu, process, key, astuple(tally)]) + "\n"
            for (process, key), tally in rows.items()
        )
        # The traced process may have ended, and its file with it: nobody waits for this then.
        with contextlib.suppress(OSError):
            spool = os.open(self._spool, os.O_WRONLY | os.O_APPEND)
            with os.fdopen(spool, "wb", buffering=0) as file:
                file.write(text.encode())

    def finish(self, spool: Path) -> None:
        """Take in what the workers wrote."""
        self.trace.seconds = time.perf_counter() + self._offset
        self.trace.cuda = _uses_gpu()
        for line in spool.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):  # the last line of one that was killed
                gpu, process, key, tally = json.loads(line)
                self.trace.rows.setdefault((process, Key(*key)), Tally()).add(Tally(*tally))
                self.trace.cuda = self.trace.cuda or gpu


def _uses_gpu() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_initialized())
