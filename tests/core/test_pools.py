import pytest

from fusion.cache.workers import process_pool
from fusion.core import pools
from fusion.core.pools import same_processes, worker_pool


def test_what_happens_within_has_the_same_processes(monkeypatch):
    opened = []

    def opening(jobs):
        opened.append(jobs)
        return process_pool(jobs)

    monkeypatch.setattr(pools, "process_pool", opening)
    with same_processes():
        for _ in range(2):
            with worker_pool(2) as pool:
                assert pool.submit(abs, -1).result() == 1
        assert opened == [2]
    with pytest.raises(RuntimeError, match="shutdown"):
        pool.submit(abs, -1)
    with worker_pool(1) as other:
        assert other is not pool
    assert opened == [2, 1]


def test_an_error_within_ends_the_processes():
    with pytest.raises(ZeroDivisionError), same_processes(), worker_pool(1) as pool:
        pool.submit(abs, -1).result()
        raise ZeroDivisionError
    assert all(worker.exitcode is not None for worker in pool._context.workers)
