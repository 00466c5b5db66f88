"""Which plugin was called when, and how long it took.

While something is traced, the methods that a plugin has of its contract run with a clock
around them (:mod:`fusion.core.registry.profiler`). Where nothing is traced, nothing is wrapped.

Processes that compute for the traced one append what they counted to a file of its own, whose
name they find in their environment.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pluggy

from ..contracts.data import Plugin
from . import profiler
from .problems import Source
from .profile import IMPORT, Trace
from .profiler import clock_outside as clock_outside

FILE = "trace.jsonl"  # in the run directory

_SPOOL = "FUSION_TRACE_SPOOL"  # process that is traced, when it began, file for the others


@contextlib.contextmanager
def tracing() -> Iterator[Trace]:
    """Trace every call of a plugin in this process, and in those that it starts, until the end.

    Plugins are known from the time on at which a registry finds them, so begin before it is
    made. Within another trace it is the other one that goes on.

    >>> with tracing() as trace:
    ...     run_experiment(config, out, Registry())
    >>> trace.write(Path("trace.jsonl"))
    """
    if profiler.active is not None:
        yield profiler.active.trace
        return
    descriptor, name = tempfile.mkstemp(prefix="fusion-trace-", suffix=".jsonl")
    os.close(descriptor)
    started = time.time()
    os.environ[_SPOOL] = f"{os.getpid()} {started!r} {name}"
    profiler.active = recorder = profiler.Recorder(started)
    try:
        yield recorder.trace
    finally:
        profiler.active = None
        del os.environ[_SPOOL]
        recorder.unwatch()
        recorder.finish(Path(name))
        Path(name).unlink()


def _recorder() -> profiler.Recorder | None:
    """What counts here: also in a process that a traced one has started to compute for it."""
    if profiler.active is None and _SPOOL in os.environ:
        pid, started, path = os.environ[_SPOOL].split(" ", 2)
        if int(pid) != os.getpid():
            profiler.active = profiler.Recorder(float(started), Path(path))
    return profiler.active


# -- for those who call plugins ------------------------------------------------------


def watch(cls: type[Plugin], kind: str, source: Source | None = None) -> None:
    """From now on, count the calls of a plugin class; nothing where nothing is traced."""
    if (recorder := _recorder()) is not None:
        recorder.watch(cls, kind, source)


@contextlib.contextmanager
def importing(source: Source, module: str) -> Iterator[None]:
    """The body imports the module of a plugin."""
    recorder = _recorder()
    if recorder is None:
        yield
        return
    before = {name.partition(".")[0] for name in list(sys.modules)}
    call = recorder.enter_module(source, IMPORT)
    try:
        yield
    finally:
        recorder.leave(call)
        known = before | sys.stdlib_module_names | {module.partition(".")[0]}
        new = dict.fromkeys(name.partition(".")[0] for name in list(sys.modules))
        recorder.trace.brought.setdefault(call.key.plugin, []).extend(
            name for name in new if name not in known and not name.startswith(("_", "fusion_"))
        )


def watch_hooks(manager: pluggy.PluginManager, sources: Mapping[str, Source]) -> None:
    """From now on, count the hooks that are called; nothing where nothing is traced.

    `sources` has the name of each plugin in the manager; a hook is called for one at a time.
    """
    if (recorder := _recorder()) is None:
        return
    calls: list[profiler.Call] = []

    def before(hook: str, implementations: Sequence[pluggy.HookImpl], _: object) -> None:
        calls.append(recorder.enter_module(sources[implementations[0].plugin_name], hook))

    def after(*_: object) -> None:
        recorder.leave(calls.pop())

    manager.add_hookcall_monitoring(before, after)


@contextlib.contextmanager
def during(name: str) -> Iterator[None]:
    """The body is a part of the work, by whose name its calls are counted; also a decorator."""
    recorder = _recorder()
    if recorder is None:
        yield
        return
    before, recorder.phase = recorder.phase, name
    try:
        yield
    finally:
        recorder.phase = before


def about(folder: Path) -> None:
    """The work is about this folder. The first to say so is right: runs lie in comparisons."""
    if (recorder := _recorder()) is not None and recorder.trace.folder is None:
        recorder.trace.folder = folder
