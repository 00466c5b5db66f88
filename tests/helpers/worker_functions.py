"""Functions that worker processes run in tests of pools; free of pytest, to be imported quickly."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

given = 0


def set_given(value: int) -> None:
    global given
    given = value


def look() -> tuple[int, int, dict[str, str]]:
    return os.getpid(), given, dict(os.environ)


def sleep_and_write(path: Path, seconds: float) -> None:
    path.with_suffix(".pid").write_text(str(os.getpid()))
    time.sleep(seconds)
    path.write_text("done")


def interrupt_self() -> str:
    os.kill(os.getpid(), signal.SIGINT)
    return "still here"


def fail() -> None:
    raise ValueError("as asked")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
