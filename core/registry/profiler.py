"""Timing wrappers around the methods of plugins, and the recorder of their calls in one process.

A wrapper replaces a method in the class that defines the method. All wrappers are removed at the
end of the trace. Plugins with wrapped methods can be copied and pickled, and the methods keep their
signatures.
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

_FLUSH_SECONDS = 2.0  # a worker that is killed loses its counts since the last flush

active: Recorder | None = None
"""Recorder of the calls in this process; None unless the process is traced."""


@dataclass(slots=True)
class Call:
    """Call of a method that has not returned yet.

    Attributes
    ----------
    key : Key
        Key of the method that is called.
    owner : object
        The plugin or its class.
    started : float
        Start of the call, from :func:`time.perf_counter`.
    inside : float
        Time in nested calls, in seconds.
    """

    key: Key
    owner: object
    started: float
    inside: float = 0.0


_BARE = "_fusion_bare"  # attribute of a timed function: the original function


class _Calls(threading.local):
    """Stack of the calls in progress in this thread, the innermost last."""

    def __init__(self) -> None:
        self.stack: list[Call] = []


def clocked(function: Callable[..., Any], method: str, owner: object = None) -> Any:
    """Return `function` with a timing wrapper.

    `owner` is the plugin or its class; if None, the first argument of the call is the plugin.
    """

    @functools.wraps(function)
    def timed(*args: Any, **kwargs: Any) -> Any:
        recorder = active
        plugin = args[0] if owner is None and args else owner
        call = None if recorder is None else recorder.enter(plugin, method)
        if recorder is None or call is None:
            return function(*args, **kwargs)
        try:
            result = function(*args, **kwargs)
        finally:
            recorder.leave(call)
        if isinstance(result, GeneratorType):  # the generator has not run yet
            return _followed(result, recorder, call)
        if isinstance(result, Plugin):
            recorder.adopt(result, plugin)
        return result

    setattr(timed, _BARE, function)
    return timed


def _followed(
    generator: GeneratorType[Any, Any, Any], recorder: Recorder, call: Call
) -> Iterator[Any]:
    """Yield the items of a generator, and add the generator's own time to its call."""
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
    """Return ``change(method)``; if `method` has a timing wrapper, apply the wrapper last.

    If `change` is a compiler, for example, a timing wrapper inside of the compiled function would
    cause a compilation at every call.
    """
    bare = getattr(getattr(method, "__func__", None), _BARE, None)
    if bare is None:
        return change(method)
    owner = method.__self__
    return clocked(change(bare.__get__(owner)), method.__name__, owner)


class Recorder:
    """Recorder of the calls of plugins in one process.

    Parameters
    ----------
    started : float
        Start of the trace, from :func:`time.time`.
    spool : Path, optional
        File to which a worker appends its counts; None in the traced process itself.
    """

    def __init__(self, started: float, spool: Path | None = None) -> None:
        self.trace = Trace()
        self.phase = ""
        self._offset = time.time() - time.perf_counter() - started
        self._spool = spool
        self._flushed = 0.0
        # Class -> Key without a phase. The `method` of the key is a prefix of the names of methods.
        self._labels: dict[type, Key | None] = {}
        self._clocks = contextlib.ExitStack()
        self._calls = _Calls()
        self._lock = threading.Lock()
        if spool is not None:
            multiprocessing.util.Finalize(None, self.flush, exitpriority=0)

    # -- timed methods ---------------------------------------------------------------

    def watch(self, cls: type[Plugin], kind: str, source: Source | None) -> None:
        """Count the calls of a plugin class from now on."""
        if source is not None:
            self.trace.sources[kind, cls.name] = source
        self._watch(cls, kind, Key("", kind, cls.name, cls.version, ""))

    def adopt(self, result: Plugin, maker: object) -> None:
        """Count calls of `result`, a plugin that `maker` returned, as calls of `maker`."""
        label, kind = self._label(maker), kind_of(type(result))
        if label is not None and kind is not None and self._label(result) is None:
            self._watch(type(result), kind, label._replace(method=f"{kind}."))

    def _watch(self, cls: type, kind: str, label: Key) -> None:
        if self._labels.get(cls) is not None:
            return
        # Forget which classes have no label: subclasses of `cls` inherit its label from now on.
        self._labels = {c: other for c, other in self._labels.items() if other is not None}
        self._labels[cls] = label
        for name in dict.fromkeys(("__init__", *methods_of(kind))):
            definer = holder(cls, name)
            if definer is not None:
                # If the method is from a base class that is no plugin, wrap the method in `cls`
                # alone, because other code may use the base class.
                self._put(
                    definer if issubclass(definer, Plugin) else cls, name, vars(definer)[name]
                )

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
        """Remove all timing wrappers."""
        self._clocks.close()

    def _label(self, owner: object) -> Key | None:
        cls = owner if isinstance(owner, type) else type(owner)
        if cls not in self._labels:
            labels = (self._labels[base] for base in cls.__mro__[1:] if base in self._labels)
            self._labels[cls] = next(labels, None)
        return self._labels[cls]

    # -- calls -----------------------------------------------------------------------

    def enter(self, owner: object, method: str) -> Call | None:
        """Begin a call of a method; return None if the call is not counted."""
        label = self._label(owner)
        if label is None:
            return None
        name = label.method + method
        stack = self._calls.stack
        # A method that calls the method which it overrides (super) is counted as one call.
        if stack and stack[-1].owner is owner and stack[-1].key.method == name:
            return None
        return self.begin(Key(self.phase, label.kind, label.plugin, label.version, name), owner)

    def enter_module(self, source: Source, method: str) -> Call:
        """Begin the import of a plugin's module, or a call of one of its hooks."""
        # The name includes the distribution: plugins of two distributions may have equal names.
        name = f"{source.distribution}:{source.plugin}"
        self.trace.sources[MODULE, name] = source
        return self.begin(Key(self.phase, MODULE, name, "", method), source)

    def begin(self, key: Key, owner: object) -> Call:
        """Begin a call that is counted under `key`."""
        call = Call(key, owner, time.perf_counter())
        self._calls.stack.append(call)
        return call

    def leave(self, call: Call, *, of: Call | None = None, before: float = 0.0) -> float:
        """End a call; return its duration in seconds.

        If `call` continues an earlier call, as the next step of a generator does, `of` is the
        earlier call, and `before` is the duration of the earlier call so far in seconds.
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
        """Append the counts that a worker made since the last flush to the spool file."""
        assert self._spool is not None
        with self._lock:
            rows, self.trace.rows = self.trace.rows, {}
            self._flushed = time.perf_counter()
        gpu = _uses_gpu()
        text = "".join(
            json.dumps([gpu, process, key, astuple(tally)]) + "\n"
            for (process, key), tally in rows.items()
        )
        # The traced process deletes the spool file when it ends. Counts are not needed afterwards.
        with contextlib.suppress(OSError):
            spool = os.open(self._spool, os.O_WRONLY | os.O_APPEND)
            with os.fdopen(spool, "wb", buffering=0) as file:
                file.write(text.encode())

    def finish(self, spool: Path) -> None:
        """End the trace, and add the counts that workers wrote to the spool file."""
        self.trace.seconds = time.perf_counter() + self._offset
        self.trace.cuda = _uses_gpu()
        for line in spool.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):  # an incomplete line of a worker that was killed
                gpu, process, key, tally = json.loads(line)
                self.trace.rows.setdefault((process, Key(*key)), Tally()).add(Tally(*tally))
                self.trace.cuda = self.trace.cuda or gpu


def _uses_gpu() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_initialized())
