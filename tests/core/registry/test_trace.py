"""Scope of a trace: phases, processes, and no effect outside."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pluggy
from napping_plugins import INPUTS, NAP, Napping, napping, tallies

from fusion.core.registry import profiler
from fusion.core.registry.problems import Source
from fusion.core.registry.profile import IMPORT, MODULE
from fusion.core.registry.registry import Registry
from fusion.core.registry.trace import about, during, importing, tracing, watch, watch_hooks


def test_calls_belong_to_the_phase_in_which_they_begin() -> None:
    @during("outer")
    def work() -> None:
        strategy(INPUTS)
        with during("inner"):
            strategy(INPUTS)
        strategy(INPUTS)

    with tracing() as trace:
        watch(Napping, "strategy")
        strategy = napping()
        work()
        strategy(INPUTS)
    calls = {key.phase: t.calls for (_, key), t in trace.rows.items() if key.method == "forward"}
    assert calls == {"outer": 2, "inner": 1, "": 1}


def test_nothing_is_wrapped_without_a_trace() -> None:
    forward = vars(Napping)["forward"]
    registered = vars(Registry().strategy("gated"))["forward"]
    watch(Napping, "strategy")
    with importing(Source("mine", "", ""), "mine"), during("outer"):
        assert vars(Napping)["forward"] is forward
    assert not hasattr(registered, "__wrapped__")
    manager = pluggy.PluginManager("fusion")
    called = manager._inner_hookexec
    watch_hooks(manager, {})
    assert manager._inner_hookexec is called
    assert profiler.active is None


def test_imports_and_hooks_of_a_plugin_are_timed(tmp_path: Path) -> None:
    (tmp_path / "brought_by_it.py").write_text("")
    plugin = tmp_path / "late.py"
    plugin.write_text(
        f"import sys, time; sys.path.insert(0, {str(tmp_path)!r}); import brought_by_it, colorsys\n"
        "from fusion import hookimpl\n"
        f"time.sleep({NAP})\n"
        f"@hookimpl\ndef fusion_balancers():\n    time.sleep({NAP})\n    return []\n"
    )
    with tracing() as trace:
        Registry([str(plugin)])
    rows = {
        key.method: tally
        for key, tally in trace.summed().items()
        if key.kind == MODULE and trace.source_of(key).plugin == "late"
    }
    assert {method: tally.calls for method, tally in rows.items()} == {
        IMPORT: 1,
        "fusion_balancers": 1,
    }
    assert all(NAP <= tally.total < 0.5 for tally in rows.values())
    assert trace.brought[f"{plugin}:late"] == ["brought_by_it"]
    sys.path.remove(str(tmp_path))


WORKER = """
import sys, time
from pathlib import Path
from fusion.core.registry.registry import Registry
from fusion.core.registry.trace import during

with during("elsewhere"):
    cls = Registry([sys.argv[1]]).strategy("tiny")
    strategy = cls({"x": 1}, 2)
    for _ in range(3):
        strategy({})
"""

TINY = """
from fusion import Strategy, hookimpl
class Tiny(Strategy):
    name = "tiny"
    def forward(self, inputs):
        return None
@hookimpl
def fusion_strategies():
    return [Tiny]
"""


def test_child_processes_are_counted(tmp_path: Path) -> None:
    plugin = tmp_path / "tiny.py"
    plugin.write_text(TINY)
    with tracing() as trace:
        command = [sys.executable, "-c", WORKER, str(plugin)]
        workers = [subprocess.Popen(command) for _ in range(2)]
        assert [worker.wait() for worker in workers] == [0, 0]
    own = {
        process: (key.phase, tally.calls)
        for (process, key), tally in trace.rows.items()
        if (key.plugin, key.method) == ("tiny", "forward")
    }
    assert own == {worker.pid: ("elsewhere", 3) for worker in workers}
    assert trace.processes == 3
    assert tallies(trace)["tiny", "forward"].calls == 6
    assert all(0 < tally.first <= tally.last < trace.seconds for tally in trace.rows.values())
    assert not any(name.startswith("FUSION_TRACE") for name in os.environ)


def test_a_nested_trace_is_the_outer_one() -> None:
    with tracing() as outer:
        with tracing() as inner:
            watch(Napping, "strategy")
        assert profiler.active is not None
        napping()
    assert inner is outer
    assert tallies(outer)["napping", "__init__"].calls == 1


def test_the_first_folder_of_a_trace_is_kept() -> None:
    about(Path("untraced"))
    with tracing() as trace:
        about(Path("comparison"))
        about(Path("comparison/run"))
    assert trace.folder == Path("comparison")
