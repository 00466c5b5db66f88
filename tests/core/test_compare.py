"""Whose fault a failure is, and what is then left undone."""

from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from fusion.core.compare import CompareObserver, _Work
from fusion.core.errors import StorageError, TrainingError
from fusion.core.grid import Cell, PlannedGrid
from fusion.core.run_dir import RunDirectory
from fusion.core.trainings import FUSED, Training

CELL = Cell("gated")


@pytest.fixture
def work(tmp_path):
    """The parts of a comparison that look at failures."""
    made = object.__new__(_Work)
    made.folder = RunDirectory(tmp_path)
    made.cells = {(CELL, 0): RunDirectory(tmp_path / "seed0" / CELL.folder)}
    made.failures = {}
    made.observer = CompareObserver()
    return made


def failed(error):
    future = Future()
    future.set_exception(error)
    return future


def test_a_cell_that_fails_is_noted(work):
    assert not work._went_well(failed(TrainingError("boom")), CELL, 0, Training(0, FUSED))
    assert work.failures == {(CELL, 0): "boom"}


@pytest.mark.parametrize("error", [StorageError("the disk is full"), OSError("gone")])
def test_the_machines_fault_stops_the_comparison(work, error):
    """Otherwise each cell would be trained, and fail, in its turn."""
    with pytest.raises(type(error)):
        work._went_well(failed(error), CELL, 0, Training(0, FUSED))
    assert work.failures == {}


def test_what_to_do_next_goes_on_with_the_comparison(work, tmp_path):
    with pytest.raises(TrainingError) as caught:
        work._raise_failure(failed(ValueError("odd")), Training(0, "mel"), RunDirectory(tmp_path))
    assert caught.value.hint == f"Where: fusion --debug compare --resume {tmp_path}"


def test_the_time_of_an_epoch_is_taken_from_a_plain_cell(work):
    """Others may need more epochs than the two of the probe."""
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
