"""Errors that fail a cell and errors that stop a comparison; baselines, control and epochs."""

from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from fusion import Balancer, Strategy
from fusion.core.contracts.errors import StorageError, TrainingError
from fusion.core.registry.registry import Registry
from fusion.core.runs.config import RunConfig
from fusion.core.runs.run import Run
from fusion.core.runs.trainings import FUSED, Training
from fusion.core.workflows.compare import CompareObserver, _Work
from fusion.core.workflows.grid import Budget, Cell, PlannedGrid, reads_of

CELL = Cell("gated")


@pytest.fixture
def work(tmp_path):
    """Stub with the parts of a comparison that handle failures."""
    created = object.__new__(_Work)
    created.folder = Run(tmp_path)
    created.cells = {(CELL, 0): Run(tmp_path / "seed0" / CELL.folder)}
    created.failures = {}
    created.registry = Registry()
    created.observer = CompareObserver()
    return created


def failed(error):
    future = Future()
    future.set_exception(error)
    return future


def test_a_failed_cell_is_recorded(work):
    assert not work._succeeded(failed(TrainingError("boom")), CELL, 0, Training(0, FUSED))
    assert work.failures == {(CELL, 0): "boom"}


@pytest.mark.parametrize("error", [StorageError("the disk is full"), OSError("gone")])
def test_storage_errors_stop_the_comparison(work, error):
    """Otherwise each cell would be trained and fail in turn."""
    with pytest.raises(type(error)):
        work._succeeded(failed(error), CELL, 0, Training(0, FUSED))
    assert work.failures == {}


def test_the_hint_resumes_the_comparison(work, tmp_path):
    with pytest.raises(TrainingError) as caught:
        work._raise_failure(failed(ValueError("odd")), Training(0, "mel"), Run(tmp_path))
    assert caught.value.hint == f"For a traceback: fusion --debug compare --resume {tmp_path}"


def test_the_time_of_an_epoch_is_measured_with_a_plain_cell(work):
    """The probe has two epochs, which may be too few for other cells."""
    cells = [Cell("gated", ("pretrain",)), Cell("gated", rate=3.0), CELL, Cell("concat")]
    work.grid = PlannedGrid(dict.fromkeys(cells), {})
    work.request = SimpleNamespace(seeds=(0,))
    described = []

    def describe(run, cell, *_, **__):
        described.append(cell)
        raise KeyboardInterrupt

    work._describe = describe
    with pytest.raises(KeyboardInterrupt):
        work._seconds_per_epoch(None)
    assert described == [CELL]


# -- baselines and control ---------------------------------------------------------------


class Registered:
    """Registry with a strategy that needs no baselines, and two balancers."""

    def strategy(self, name):
        return Strategy

    def balancer(self, name):
        return {
            "reads": type("Reads", (Balancer,), {"needs_baselines": True}),
            "begins": type("Begins", (Balancer,), {"takes_over": ("start",)}),
        }[name]


def planned(*cells, **train):
    """Return a grid of cells whose plans have only a configuration."""
    plans = {
        cell: SimpleNamespace(
            config=RunConfig(
                ("demo",), strategy=cell.strategy, balancers=cell.balancers,
                settings={"train": {"epochs": 8, **train}},
            )
        )
        for cell in cells
    }  # fmt: skip
    return PlannedGrid(plans, {})


PLAIN, FAST = Cell("concat"), Cell("concat", rate=3.0)
READS, BEGINS = Cell("concat", ("reads",)), Cell("concat", ("begins",))


def test_the_plainest_cell_trains_baselines_and_control():
    registry = Registered()
    assert planned(FAST, READS, PLAIN).alone(registry) == PLAIN
    # From scratch a plain cell has no control: the first cell with a control trains it.
    assert planned(PLAIN, FAST, READS, start="scratch").alone(registry) == READS
    assert planned(BEGINS, READS, READS).alone(registry) == READS
    assert planned(BEGINS, PLAIN, start="scratch").alone(registry) == PLAIN  # no cell has a control


@pytest.mark.parametrize(
    ("cells", "train", "epochs"),
    [
        # Seconds per fold and epoch: 1 + 2 for the baselines, 4 for a fused model.
        ((PLAIN,), {"start": "scratch"}, 3 + 4),
        ((PLAIN, BEGINS), {"start": "scratch"}, 3 + 2 * 4),
        # The fused model has 1/4 of the epochs, and the control of 2 seconds has 1 1/4.
        ((PLAIN,), {}, 3 + 0.25 * 4 + 1.25 * 2),
        ((PLAIN, BEGINS), {}, 3 + 0.25 * 4 + 4 + 1.25 * 2),
        ((PLAIN, READS), {"start": "scratch"}, 3 + 2 * 4 + 2 * 2),
    ],
)
def test_the_budget_in_minutes_includes_fine_tuning_and_control(work, cells, train, epochs):
    work.grid = planned(*cells, **train)
    work.registry = Registered()
    config = next(iter(work.grid.plans.values())).config
    work.request = SimpleNamespace(config=config, seeds=(0, 1))
    work.extracted = SimpleNamespace(data=SimpleNamespace(splits=[None] * 3))
    work._seconds_per_epoch = lambda pool: {"mel": 1.0, "face": 2.0, FUSED: 4.0}
    minutes = 60.0
    result = work._epochs(Budget(minutes=minutes), None, 2)
    assert result == int(0.85 * minutes * 60 * 2 / (6 * epochs))


def test_inputs_of_cells_depend_on_the_start():
    registry = Registered()
    for cells, train, expected in (
        (PLAIN, {}, ("baselines",)), (PLAIN, {"start": "scratch"}, ()), (BEGINS, {}, ()),
        (READS, {"start": "scratch"}, ("baselines",)),
    ):  # fmt: skip
        (plan,) = planned(cells, **train).plans.values()
        assert reads_of(plan.config, registry) == expected
