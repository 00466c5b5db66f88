"""Processes that kill themselves at their n-th change of a folder, n = 1, 2, ...

A step is a change that Python makes below the folder: a new file, the second half of a write, a
link, a rename, a removal. Operations that change no content are not steps: opening a file to sync
it, removing a file that does not exist, setting times. CPython reports changes as audit events
(``sys.addaudithook``), so the code under test needs no hook. The process is killed (SIGKILL)
before the step. The tests meet every state that a kill can leave behind, in a fixed order.
"""

from __future__ import annotations

import itertools
import os
import random
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from attacks import attack

_CHANGES = {"os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir"}
_RANDOM = re.compile(r"(?<=/)\.?[0-9a-f]{32}(\..*(?=\.tmp))?")  # shards, claims, temporary files

Kills = Callable[..., Iterator[tuple[Path, str]]]
"""Type of :func:`kills` and :func:`kills_at_random`."""


class Doom:
    """Counter of this process's steps below `folder`, which kills the process at a given step.

    Parameters
    ----------
    is_it : callable
        Function of a step's number, from 1, and name; returns whether to kill the process there.
    before : callable, optional
        Function that is called with the name just before the kill.
    """

    def __init__(
        self,
        folder: Path,
        is_it: Callable[[int, str], bool],
        before: Callable[[str], object] = lambda name: None,
    ) -> None:
        self._folder = folder
        self._is_it = is_it
        self._before = before
        self._steps = 0

    def arm(self) -> None:
        """Start counting, until the end of this process."""
        sys.addaudithook(self._hear)
        for writes, mode in (("write_bytes", "wb"), ("write_text", "w")):
            setattr(Path, writes, self._in_two_halves(mode))

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _CHANGES:
            path = arguments[1 if event in ("os.link", "os.rename") else 0]  # the new name
            there = os.path.lexists(path)
            if event == "os.rename" or there == (event not in ("os.link", "os.mkdir")):
                self._step(event.removeprefix("os."), Path(path))
        elif event == "open" and isinstance(arguments[0], str | Path):
            path, _, flags = arguments
            if flags & os.O_TRUNC or (flags & os.O_CREAT and not os.path.lexists(path)):
                self._step("open", Path(path))

    def _in_two_halves(self, mode: str) -> Callable[..., int]:
        def write(path: Path, data: Any, encoding: str | None = None) -> int:
            half = len(data) // 2
            with path.open(mode, encoding=encoding) as file:
                file.write(data[:half])
                file.flush()
                self._step("write", path)
                return half + int(file.write(data[half:]))

        return write

    def _step(self, what: str, path: Path) -> None:
        if not path.is_relative_to(self._folder):
            return
        self._steps += 1
        name = f"{what} {_RANDOM.sub('*', str(path.relative_to(self._folder)))}"
        if self._is_it(self._steps, name):
            self._before(name)
            os.kill(os.getpid(), signal.SIGKILL)


def killed_at(number: int, folder: Path, action: Callable[[], object]) -> str | None:
    """Run `action` in a new process that kills itself at step `number`.

    Returns
    -------
    str or None
        Name of the step, or None if the action ended before it.
    """
    reader, writer = os.pipe()

    def doomed() -> None:
        tell = lambda name: os.write(writer, name.encode())  # noqa: E731
        Doom(folder, lambda n, _: n == number, tell).arm()
        action()

    pid = _forked(doomed)
    os.close(writer)
    with os.fdopen(reader) as told:
        name = told.read() or None
    _, status = os.waitpid(pid, 0)
    assert status == (0 if name is None else signal.SIGKILL), (name, status)
    return name


def kills(
    tmp_path: Path,
    action: Callable[[Path], object],
    prepare: Callable[[Path], object] = lambda folder: None,
) -> Iterator[tuple[Path, str]]:
    """Kill `action` at each of its steps in turn, every time in a fresh folder.

    Yields
    ------
    (Path, str)
        The folder after the kill, and the name of the step; the last name is ``"the end"``, where
        the action was not killed.
    """
    seen = set()
    for number in itertools.count(1):
        folder = tmp_path / f"{number:04d}"
        prepare(folder)
        name = killed_at(number, folder, partial(action, folder))
        print(f"killed at {number}: {name}")  # shown when the test fails
        with attack("kill at each step"):
            yield folder, name or "the end"
        if name is None:
            assert {"open", "rename"} <= seen
            return
        seen.add(name.partition(" ")[0])


def kills_at_random(
    tmp_path: Path,
    action: Callable[[Path], object],
    prepare: Callable[[Path], object] = lambda folder: None,
    count: int = 20,
) -> Iterator[tuple[Path, str]]:
    """Kill `action` at random moments instead of steps, otherwise like :func:`kills`.

    The seed is printed, and taken from ``FUSION_TEST_SEED`` if that is set.
    """
    seed = int(os.environ.get("FUSION_TEST_SEED", time.time_ns() % 2**32))
    print(f"FUSION_TEST_SEED={seed}")  # shown when the test fails
    chance = random.Random(seed)
    longest = 0.0
    for number in range(count + 1):  # the first run is not killed
        folder = tmp_path / f"{number:04d}"
        prepare(folder)
        started = time.perf_counter()
        pid = _forked(partial(action, folder))
        if number:
            moment = chance.uniform(0, 1.1 * longest)
            time.sleep(moment)
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        longest = longest or time.perf_counter() - started
        assert status in (0, signal.SIGKILL)
        with attack("kill at a random moment"):
            yield folder, f"after {moment:.4f} s" if number else "the end"


def _forked(action: Callable[[], object]) -> int:
    """Run `action` in a new process, and return its id."""
    pid = os.fork()
    if pid == 0:  # no code of pytest may run in the child
        try:
            action()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
    return pid


def arm_once(folder: Path, step: str, marker: Path) -> None:
    """Kill the first of all calling processes that reaches a step whose name starts with `step`."""

    def is_it(_: int, name: str) -> bool:
        if not name.startswith(step):
            return False
        with suppress(FileExistsError):
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
            return True
        return False

    Doom(folder, is_it).arm()


def killed(action: Callable[[], object]) -> None:
    """Run `action`, which kills itself, in a new process."""
    assert os.waitpid(_forked(action), 0)[1] == signal.SIGKILL
