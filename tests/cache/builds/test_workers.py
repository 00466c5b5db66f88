from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
import worker_functions
from places import with_helpers
from worker_functions import die, fail, interrupt_self, look, set_given, sleep_and_write

from fusion.cache.builds.workers import available_cores, process_pool


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    # A dead process whose parent has not waited for it is a zombie.
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")


def gone(pids: set[int], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while any(running(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_workers_have_one_thread_and_this_process_is_unchanged() -> None:
    before = dict(os.environ)
    with process_pool(1, set_given, (5,)) as pool:
        pid, value, environment = pool.submit(look).result()
        assert dict(os.environ) == before
    assert pid != os.getpid()
    assert pool.pids() == {pid}
    assert pool.crashed() == set()
    assert value == 5
    assert worker_functions.given == 0
    for name in ("OMP", "MKL", "OPENBLAS", "NUMBA"):
        assert environment[f"{name}_NUM_THREADS"] == "1"
    assert gone({pid})


def test_work_is_completed_at_the_end_of_the_context(tmp_path: Path) -> None:
    with process_pool(2) as pool:
        for n in range(4):
            pool.submit(sleep_and_write, tmp_path / f"{n}.txt", 0.05)
    assert len(list(tmp_path.glob("*.txt"))) == 4


def test_work_is_stopped_if_the_context_raises(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), process_pool(2) as pool:
        for n in range(4):
            pool.submit(sleep_and_write, tmp_path / f"{n}.txt", 60)
        while len(list(tmp_path.glob("*.pid"))) < 2:
            time.sleep(0.02)
        raise KeyboardInterrupt
    assert time.monotonic() - started < 20
    assert not any(running(pid) for pid in pool.pids())
    assert list(tmp_path.glob("*.txt")) == []


def test_workers_ignore_interrupts() -> None:
    with process_pool(1) as pool:
        assert pool.submit(interrupt_self).result() == "still here"


def test_exceptions_of_work_are_raised() -> None:
    with process_pool(1) as pool, pytest.raises(ValueError, match="as asked"):
        pool.submit(fail).result()


def test_crashed_workers_are_known() -> None:
    with process_pool(2) as pool:
        bystander = pool.submit(look).result()[0]
        with pytest.raises(BrokenProcessPool):
            pool.submit(die).result()
    assert len(pool.crashed()) == 1
    assert pool.crashed() <= pool.pids()
    assert bystander in pool.pids()


def test_available_cores() -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)


SCRIPT = """
import sys, time
from pathlib import Path
from fusion.cache.builds.workers import process_pool
from worker_functions import sleep_and_write

if __name__ == "__main__":
    with process_pool(2) as pool:
        futures = [pool.submit(sleep_and_write, Path(sys.argv[1]) / f"{n}.txt", 600)
                   for n in range(2)]
        if sys.argv[2] == "boot":
            print(*pool.pids(), flush=True)
            time.sleep(600)
        futures[0].result()
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
@pytest.mark.parametrize("when", ["working", "boot"])
def test_a_killed_parent_leaves_no_orphans(tmp_path: Path, when: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    parent = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path), when],
        env=with_helpers(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert parent.stdout is not None
    with parent.stdout:
        if when == "boot":
            pids = {int(word) for word in parent.stdout.readline().split()}
        else:
            while len(files := list(tmp_path.glob("*.pid"))) < 2:
                assert parent.poll() is None
                time.sleep(0.02)
            time.sleep(0.05)
            pids = {int(path.read_text()) for path in files}
        assert len(pids) == 2
        parent.kill()
        parent.wait()
    assert gone(pids)
