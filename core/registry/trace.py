"""Tracing of plugin calls: which methods are called, and how long the calls take.

During a trace, timing wrappers measure those methods of plugins that the plugin contracts define
(:mod:`fusion.core.registry.profiler`). Without a trace, no method is wrapped.

Worker processes of the traced process append their counts to a spool file of the trace. An
environment variable gives the workers the name of the spool file.
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

# Environment variable: id of the traced process, start of the trace, spool file of the workers.
_SPOOL = "FUSION_TRACE_SPOOL"


@contextlib.contextmanager
def tracing() -> Iterator[Trace]:
    """Trace all calls of plugins in this process and in the processes that it starts.

    Calls of a plugin are counted after a registry has loaded the plugin, so begin the trace before
    the registry is created. Within another trace, the context manager yields the outer trace, which
    continues.

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
    """Return the recorder of this process; create one in a worker of a traced process."""
    if profiler.active is None and _SPOOL in os.environ:
        pid, started, path = os.environ[_SPOOL].split(" ", 2)
        if int(pid) != os.getpid():
            profiler.active = profiler.Recorder(float(started), Path(path))
    return profiler.active


# -- functions for code that calls plugins -------------------------------------------


def watch(cls: type[Plugin], kind: str, source: Source | None = None) -> None:
    """Count the calls of a plugin class from now on; do nothing without a trace."""
    if (recorder := _recorder()) is not None:
        recorder.watch(cls, kind, source)


@contextlib.contextmanager
def importing(source: Source, module: str) -> Iterator[None]:
    """Count the block as the import of a plugin's module, and record the packages that it loads."""
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
        excluded = before | sys.stdlib_module_names | {module.partition(".")[0]}
        new = dict.fromkeys(name.partition(".")[0] for name in list(sys.modules))
        recorder.trace.brought.setdefault(call.key.plugin, []).extend(
            name for name in new if name not in excluded and not name.startswith(("_", "fusion_"))
        )


def watch_hooks(manager: pluggy.PluginManager, sources: Mapping[str, Source]) -> None:
    """Count the calls of plugins' hooks from now on; do nothing without a trace.

    `sources` maps the name of each plugin in the manager to its source. A hook is called for one
    plugin at a time.
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
    """Count calls in the block under the phase `name`; also usable as a decorator."""
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
    """Store the output folder of the traced work; only the first call has an effect.

    A comparison of runs calls this function with the folder of the comparison before its runs call
    this function. So the trace is stored in the folder of the comparison.
    """
    if (recorder := _recorder()) is not None and recorder.trace.folder is None:
        recorder.trace.folder = folder
