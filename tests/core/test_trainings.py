"""What trainings write of themselves; whole ones are tested through the command line."""

import io
import json

import pytest
import torch

from fusion.cache.workers import process_pool
from fusion.core import trainings
from fusion.core.trainings import _write_line, default_jobs, same_processes


def test_an_undefined_figure_is_null_and_every_line_is_json():
    file = io.StringIO()
    _write_line(file, {"a": float("nan"), "b": float("inf"), "c": -float("inf"), "d": 0.5, "e": 1})

    def refuse(constant):
        raise AssertionError(constant)

    line = file.getvalue()
    assert line.endswith("\n")
    assert json.loads(line, parse_constant=refuse) == {"a": None, "b": None, "c": None,
                                                       "d": 0.5, "e": 1}  # fmt: skip


@pytest.mark.parametrize(
    ("device", "cores", "gigabytes", "jobs"),
    [
        ("cpu", 12, 1, 12),  # one each, whatever the memory
        ("cuda", 16, 80, 4),
        ("cuda", 6, 80, 3),
        ("cuda", 16, 7, 2),
        ("cuda", 16, 1, 1),
        ("cuda", 1, 80, 1),
        ("mps", 8, 80, 1),
    ],
)
def test_trainings_at_a_time(monkeypatch, device, cores, gigabytes, jobs):
    monkeypatch.setattr(trainings, "choose_device", torch.device)
    monkeypatch.setattr(trainings, "available_cores", lambda: cores)
    monkeypatch.setattr(trainings, "free_memory", lambda where: gigabytes * 1024**3)
    assert default_jobs(device) == jobs


def test_what_happens_within_has_the_same_processes(monkeypatch):
    opened = []

    def opening(jobs):
        opened.append(jobs)
        return process_pool(jobs)

    monkeypatch.setattr(trainings, "process_pool", opening)
    with same_processes():
        for _ in range(2):
            with trainings._pool(2) as pool:
                assert pool.submit(abs, -1).result() == 1
        assert opened == [2]
    with pytest.raises(RuntimeError, match="shutdown"):
        pool.submit(abs, -1)
    with trainings._pool(1) as other:
        assert other is not pool
    assert opened == [2, 1]


def test_an_error_within_ends_the_processes():
    with pytest.raises(ZeroDivisionError), same_processes(), trainings._pool(1) as pool:
        pool.submit(abs, -1).result()
        raise ZeroDivisionError
    assert all(worker.exitcode is not None for worker in pool._context.workers)
