"""Times and counts of plugins' methods, measured without changing the plugins."""

from __future__ import annotations

import copy
import inspect
import json
import os
import pickle
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from napping_plugins import INPUTS, NAP, Heir, Napping, Two, Wrapping, napping, tallies

from fusion import Branch, Strategy
from fusion.core.registry import profiler
from fusion.core.registry.parameters import make, parameters_of
from fusion.core.registry.problems import Source
from fusion.core.registry.profile import Key, Tally
from fusion.core.registry.trace import tracing, watch


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


def test_the_time_of_a_nested_call_is_counted_once() -> None:
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


def test_a_call_of_the_overridden_method_is_not_counted_separately() -> None:
    with tracing() as trace:
        for cls in (Napping, Heir):
            watch(cls, "strategy")
        napping(Heir)(INPUTS)
        napping(Napping)(INPUTS)
    result = tallies(trace)
    assert {row: tally.calls for row, tally in result.items()} == {
        ("heir", "__init__"): 1,
        ("heir", "forward"): 1,
        ("napping", "__init__"): 1,
        ("napping", "forward"): 1,
    }
    assert result["heir", "forward"].own >= NAP


def test_a_strategy_wrapped_by_a_balancer_counts_as_the_balancers() -> None:
    with tracing() as trace:
        watch(Napping, "strategy")
        watch(Wrapping, "balancer")
        adapted = Wrapping().adapt(napping(), {"x": 3})
        adapted(INPUTS)
    result = tallies(trace)
    created, inner = result["wrapping", "strategy.forward"], result["napping", "forward"]
    assert (created.calls, inner.calls) == (1, 1)
    assert NAP <= created.own == pytest.approx(created.total - inner.total, abs=1e-4)


def test_the_time_of_a_generator_excludes_its_caller() -> None:
    with tracing() as trace:
        watch(Two, "corpus")
        assert Two.detect(Path("two"))
        for _ in make(Two, None, settings={}, owner="two").clips():
            time.sleep(3 * NAP)
    clips = tallies(trace)["two", "clips"]
    assert clips.calls == 1
    assert 2 * NAP <= clips.total < 4 * NAP
    assert clips.longest == pytest.approx(clips.total, rel=0.05)
    assert clips.first == clips.last
    assert tallies(trace)["two", "detect"].calls == 1


def test_an_exception_is_passed_on_and_the_call_is_counted() -> None:
    with tracing() as trace:
        watch(Napping, "strategy")
        strategy = napping()
        with pytest.raises(KeyError):
            strategy({})
        strategy(INPUTS)
    assert tallies(trace)["napping", "forward"].calls == 2


def test_a_traced_class_is_otherwise_unchanged() -> None:
    before = dict(vars(Heir)), dict(vars(Napping)), dict(vars(Two))
    shown = inspect.signature(Heir.forward), parameters_of(Heir)
    with tracing():
        for cls in (Heir, Napping):
            watch(cls, "strategy")
        watch(Two, "corpus")
        assert (inspect.signature(Heir.forward), parameters_of(Heir)) == shown
        assert Napping.forward is not before[1]["forward"]
        assert "__init__" not in vars(Heir)
        assert Napping.modality_weights is Strategy.modality_weights  # compared by identity
        strategy = napping(Heir)
        copied, pickled = copy.deepcopy(strategy), pickle.loads(pickle.dumps(strategy))
        copied.heads["x"].weight.data.zero_()
        copied.heads["x"].bias.data.zero_()
        assert copied(INPUTS).abs().sum() == 0  # the copy has its own weights
        assert torch.equal(pickled(INPUTS), strategy(INPUTS))
        assert type(pickled) is Heir
    assert (dict(vars(Heir)), dict(vars(Napping)), dict(vars(Two))) == before


def test_methods_of_classes_that_are_no_plugins_are_not_wrapped() -> None:
    class Mixin:
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

        @staticmethod
        def accepts(shape: tuple[int, ...]) -> bool:
            return len(shape) == 1

    class Mixed(Mixin, Branch):
        name = "mixed"
        pool = torch.nn.Identity()  # not a function, so not timed

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


def test_a_compiler_receives_methods_without_the_timer() -> None:
    class Plain(Branch):
        name = "plain"
        map_channels = 3

        def maps(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1

        def pool(self, maps: torch.Tensor) -> torch.Tensor:
            return maps

    recorded: list[object] = []

    def compiler(function):  # type: ignore[no-untyped-def]
        recorded.append(function)
        return lambda *passed: function(*passed)

    untraced = Plain((3,), 3)
    profiler.clock_outside(compiler, untraced.maps)
    with tracing() as trace:
        watch(Plain, "branch")
        branch = Plain((3,), 3)
        branch.maps = profiler.clock_outside(compiler, branch.maps)
        assert branch(torch.zeros(1, 3)).tolist() == [[1, 1, 1]]
    assert [function.__func__ for function in recorded] == [Plain.maps, Plain.maps]
    assert tallies(trace)["plain", "maps"].calls == 1


def test_a_trace_records_whether_a_gpu_was_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with tracing() as trace:
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    assert trace.cuda
    with tracing() as trace:
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    assert not trace.cuda


# -- computed by hand ----------------------------------------------------------------


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that sets the clock; a trace begun at 0 counts from there."""
    now = [0.0]
    monkeypatch.setattr(profiler.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(profiler.time, "time", lambda: now[0])

    def put(seconds: float) -> None:
        now[0] = seconds

    return put


def key(method: str, phase: str = "") -> Key:
    return Key(phase, "strategy", "tiny", "1", method)


def test_nested_calls_by_hand(at: Callable[[float], None]) -> None:
    recorder = profiler.Recorder(0.0)
    at(1.0)
    outer = recorder.begin(key("outer"), None)
    for start, end in ((2.0, 3.0), (4.0, 7.0)):
        at(start)
        inner = recorder.begin(key("inner"), None)
        at(end)
        assert recorder.leave(inner) == end - start
    at(9.0)
    assert recorder.leave(outer) == 8.0
    assert recorder.trace.summed() == {
        key("outer"): Tally(1, 8.0, 4.0, 8.0, 1.0, 1.0),
        key("inner"): Tally(2, 4.0, 4.0, 3.0, 2.0, 4.0),
    }


def test_a_call_in_another_thread_is_not_nested(at: Callable[[float], None]) -> None:
    recorder = profiler.Recorder(0.0)

    def elsewhere() -> None:
        call = recorder.begin(key("elsewhere"), None)
        at(5.0)
        recorder.leave(call)

    call = recorder.begin(key("here"), None)
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    recorder.leave(call)
    assert recorder.trace.summed()[key("here")].own == 5.0


def test_untraced_objects_are_not_counted() -> None:
    recorder = profiler.Recorder(0.0)
    assert recorder.enter(napping(), "forward") is None
    assert recorder.trace.rows == {}


# -- between processes ---------------------------------------------------------------


def test_counts_of_workers_are_added(tmp_path: Path, at: Callable[[float], None]) -> None:
    spool = tmp_path / "spool.jsonl"
    spool.touch()
    worker = profiler.Recorder(0.0, spool)
    for start, end in (
        (10.0, 11.0),
        (20.0, 23.0),
    ):  # each call is written at once, because the previous one is long ago
        at(start)
        call = worker.begin(key("forward", "train"), None)
        at(end)
        worker.leave(call)
    assert worker.trace.rows == {} and len(spool.read_text().splitlines()) == 2
    main = profiler.Recorder(0.0)
    at(30.0)
    main.finish(spool)
    (row,) = main.trace.rows.items()
    assert row == ((os.getpid(), key("forward", "train")), Tally(2, 4.0, 4.0, 3.0, 10.0, 20.0))
    assert main.trace.seconds == 30.0


def test_an_incomplete_line_of_a_killed_worker_is_ignored(tmp_path: Path) -> None:
    spool = tmp_path / "spool.jsonl"
    whole = json.dumps([True, 7, key("forward"), [1, 2.0, 2.0, 2.0, 0.5, 0.5]])
    spool.write_text(f"{whole}\n{whole[:-9]}")
    recorder = profiler.Recorder(0.0)
    recorder.finish(spool)
    assert recorder.trace.rows == {(7, key("forward")): Tally(1, 2.0, 2.0, 2.0, 0.5, 0.5)}
    assert recorder.trace.cuda


def test_a_worker_may_outlive_the_trace(tmp_path: Path) -> None:
    worker = profiler.Recorder(0.0, tmp_path / "gone.jsonl")
    worker.leave(worker.begin(key("forward"), None))
    worker.flush()
    assert not (tmp_path / "gone.jsonl").exists()
