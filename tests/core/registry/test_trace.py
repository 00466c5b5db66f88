"""What a trace counts, that it changes nothing, and that it leaves nothing behind."""

from __future__ import annotations

import copy
import inspect
import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pluggy
import pytest
import torch
from made_traces import made_up
from torch import nn

from fusion import Balancer, Branch, Clip, Corpus, Recording, Strategy
from fusion.core.registry import profiler
from fusion.core.registry.parameters import make, parameters_of
from fusion.core.registry.problems import Source
from fusion.core.registry.profile import IMPORT, MODULE, Tally, Trace
from fusion.core.registry.registry import Registry
from fusion.core.registry.trace import during, importing, tracing, watch, watch_hooks

NAP = 0.02


class Napping(Strategy):
    """Sums scores, slowly."""

    name = "napping"
    version = "3"

    def __init__(self, dims: dict[str, int], num_classes: int, nap: float = NAP) -> None:
        super().__init__()
        self.nap = nap
        self.heads = nn.ModuleDict({m: nn.Linear(d, num_classes) for m, d in dims.items()})

    def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        time.sleep(self.nap)
        return torch.stack([self.heads[m](inputs[m]) for m in self.heads]).sum(dim=0)


class Heir(Napping):
    """Calls the method that it overrides."""

    name = "heir"

    def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        return 2 * super().forward(inputs)


class Wrapped(Strategy):
    """Made by a balancer, registered by nobody."""

    name = "wrapped"

    def __init__(self, inner: Strategy) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        time.sleep(NAP)
        scores: torch.Tensor = self.inner(inputs)
        return scores


class Wrapping(Balancer):
    """Adapts a strategy, and calls one."""

    name = "wrapping"

    def adapt(self, strategy, dims):  # type: ignore[no-untyped-def]
        return Wrapped(strategy)

    def metrics(self) -> dict[str, float]:
        time.sleep(NAP)
        self.strategy(self.inputs_seen)
        return {}


class Two(Corpus):
    """Two clips, each of which takes a while."""

    name = "two"

    @classmethod
    def detect(cls, path: Path) -> bool:
        return path.name == "two"

    def clips(self):  # type: ignore[no-untyped-def]
        for name in ("a", "b"):
            time.sleep(NAP)
            yield Clip(Recording(Path(name)), name, "happy", name, "two")


INPUTS = {"x": torch.ones(2, 3)}


def tallies(trace: Trace) -> dict[tuple[str, str], Tally]:
    return {(key.plugin, key.method): tally for key, tally in trace.summed().items()}


def napping(cls: type[Napping] = Napping) -> Napping:
    return make(cls, {"x": 3}, 2, given={"nap": NAP}, owner=cls.name)


def test_calls_are_counted_with_their_times() -> None:
    with tracing() as trace:
        watch(Napping, "strategy", Source("mine", "fusion-mine", "1.2"))
        strategy = napping()
        time.sleep(NAP)
        for _ in range(3):
            strategy(INPUTS)
    forward = tallies(trace)["napping", "forward"]
    assert forward.calls == 3
    assert 3 * NAP <= forward.total <= trace.seconds
    assert forward.own == pytest.approx(forward.total)
    assert NAP <= forward.longest <= forward.total
    assert NAP <= forward.first < forward.first + 2 * NAP <= forward.last <= trace.seconds - NAP
    assert tallies(trace)["napping", "__init__"].calls == 1
    assert trace.sources["strategy", "napping"].distribution == "fusion-mine"


def test_a_call_inside_a_call_is_counted_once() -> None:
    with tracing() as trace:
        watch(Napping, "strategy")
        watch(Wrapping, "balancer")
        balancer = Wrapping()
        balancer.strategy, balancer.inputs_seen = napping(), INPUTS
        balancer.metrics()
    outer, inner = tallies(trace)["wrapping", "metrics"], tallies(trace)["napping", "forward"]
    assert outer.total >= 2 * NAP
    assert outer.own == pytest.approx(outer.total - inner.total, abs=1e-4)
    assert inner.own == pytest.approx(inner.total)


def test_a_method_that_calls_the_one_it_overrides_is_one_call() -> None:
    with tracing() as trace:
        for cls in (Napping, Heir):
            watch(cls, "strategy")
        napping(Heir)(INPUTS)
        napping(Napping)(INPUTS)
    found = tallies(trace)
    assert {row: tally.calls for row, tally in found.items()} == {
        ("heir", "__init__"): 1,
        ("heir", "forward"): 1,
        ("napping", "__init__"): 1,
        ("napping", "forward"): 1,
    }
    assert found["heir", "forward"].own >= NAP


def test_what_a_balancer_makes_of_a_strategy_counts_as_its_own() -> None:
    with tracing() as trace:
        watch(Napping, "strategy")
        watch(Wrapping, "balancer")
        adapted = Wrapping().adapt(napping(), {"x": 3})
        adapted(INPUTS)
    found = tallies(trace)
    made, inner = found["wrapping", "strategy.forward"], found["napping", "forward"]
    assert (made.calls, inner.calls) == (1, 1)
    assert NAP <= made.own == pytest.approx(made.total - inner.total, abs=1e-4)


def test_a_generator_takes_the_time_of_its_own_and_is_one_call() -> None:
    with tracing() as trace:
        watch(Two, "corpus")
        assert Two.detect(Path("two"))
        for _ in make(Two, None, given={}, owner="two").clips():
            time.sleep(3 * NAP)
    clips = tallies(trace)["two", "clips"]
    assert clips.calls == 1
    assert 2 * NAP <= clips.total < 4 * NAP
    assert clips.longest == pytest.approx(clips.total, rel=0.05)
    assert clips.first == clips.last
    assert tallies(trace)["two", "detect"].calls == 1


def test_the_exception_of_a_method_goes_through_and_is_counted() -> None:
    with tracing() as trace:
        watch(Napping, "strategy")
        strategy = napping()
        with pytest.raises(KeyError):
            strategy({})
        strategy(INPUTS)
    assert tallies(trace)["napping", "forward"].calls == 2


def test_calls_belong_to_the_phase_in_which_they_began() -> None:
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


def test_a_traced_class_is_what_it_was() -> None:
    before = dict(vars(Heir)), dict(vars(Napping)), dict(vars(Two))
    shown = inspect.signature(Heir.forward), parameters_of(Heir)
    with tracing():
        for cls in (Heir, Napping):
            watch(cls, "strategy")
        watch(Two, "corpus")
        assert (inspect.signature(Heir.forward), parameters_of(Heir)) == shown
        assert Napping.forward is not before[1]["forward"]
        assert "__init__" not in vars(Heir)
        assert Napping.modality_weights is Strategy.modality_weights  # asked for by identity
        strategy = napping(Heir)
        copied, pickled = copy.deepcopy(strategy), pickle.loads(pickle.dumps(strategy))
        copied.heads["x"].weight.data.zero_()
        copied.heads["x"].bias.data.zero_()
        assert copied(INPUTS).abs().sum() == 0  # its own weights, not those of the original
        assert torch.equal(pickled(INPUTS), strategy(INPUTS))
        assert type(pickled) is Heir
    assert (dict(vars(Heir)), dict(vars(Napping)), dict(vars(Two))) == before


def test_untraced_nothing_is_wrapped() -> None:
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


def test_methods_from_classes_that_are_no_plugins_stay_theirs() -> None:
    class Mixin:
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

        @staticmethod
        def accepts(shape: tuple[int, ...]) -> bool:
            return len(shape) == 1

    class Mixed(Mixin, Branch):
        name = "mixed"
        pool = torch.nn.Identity()  # no function: nothing to put a clock around

    theirs = dict(vars(Mixin))
    with tracing() as trace:
        watch(Mixed, "branch")
        assert dict(vars(Mixin)) == theirs
        branch = Mixed((3,), 3)
        assert Mixed.accepts((3,)) and not branch.accepts((3, 3))
        branch(torch.ones(1, 3))
    assert {row: t.calls for row, t in tallies(trace).items()} == {
        ("mixed", "accepts"): 2,
        ("mixed", "forward"): 1,
    }
    assert not {"forward", "accepts"} & set(vars(Mixed))


def test_a_compiler_never_sees_the_clock() -> None:
    class Plain(Branch):
        name = "plain"
        map_channels = 3

        def maps(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1

        def pool(self, maps: torch.Tensor) -> torch.Tensor:
            return maps

    seen: list[object] = []

    def compiler(function):  # type: ignore[no-untyped-def]
        seen.append(function)
        return lambda *given: function(*given)

    untraced = Plain((3,), 3)
    profiler.clock_outside(compiler, untraced.maps)
    with tracing() as trace:
        watch(Plain, "branch")
        branch = Plain((3,), 3)
        branch.maps = profiler.clock_outside(compiler, branch.maps)
        assert branch(torch.zeros(1, 3)).tolist() == [[1, 1, 1]]
    assert [function.__func__ for function in seen] == [Plain.maps, Plain.maps]
    assert tallies(trace)["plain", "maps"].calls == 1


def test_imports_and_hooks_of_a_plugin(tmp_path: Path) -> None:
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


def test_processes_that_it_starts_are_counted_until_they_end(tmp_path: Path) -> None:
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


def test_it_is_known_whether_a_gpu_was_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with tracing() as trace:
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    assert trace.cuda
    with tracing() as trace:
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    assert not trace.cuda


def test_a_trace_within_a_trace_is_the_same_one() -> None:
    with tracing() as outer:
        with tracing() as inner:
            watch(Napping, "strategy")
        assert profiler.active is not None
        napping()
    assert inner is outer
    assert tallies(outer)["napping", "__init__"].calls == 1


# -- what is written -----------------------------------------------------------------


def test_the_file_has_a_row_for_each_process_and_phase(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    made_up().write(path, "fusion run")
    made_up().write(path, "fusion run")  # gone on with
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 2 * 7 and lines[0] == lines[7]
    assert lines[0] == {"command": "fusion run", "seconds": 10, "processes": 3, "cuda": False}
    assert lines[1] == {
        "process": 1, "phase": "train fold0/fused", "kind": "strategy", "plugin": "tiny",
        "version": "1", "method": "forward", "distribution": "fusion-tiny",
        "distribution_version": "1.2", "calls": 4, "total": 2, "own": 1, "longest": 0.9,
        "first": 1, "last": 5,
    }  # fmt: skip
    (module,) = (line for line in lines[:7] if line.get("method") == IMPORT)
    assert (module["plugin"], module["brought"]) == ("t", ["scipy", "pandas", "torch", "sympy"])
