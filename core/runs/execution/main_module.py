"""Worker processes that leave the user's script alone."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def main_left_out() -> Iterator[None]:
    """Let processes that are started meanwhile not import the script that started them.

    A spawned process first imports the ``__main__`` of its parent, so that it finds functions
    defined there. A script without ``if __name__ == "__main__":`` would thereby run again in
    every worker. A run's workers need nothing of it: plugins are found by file or module. So
    for the time of a run ``__main__`` does not say where it came from, as in an interactive
    session.
    """
    main = sys.modules["__main__"]
    names = vars(main)
    hidden: dict[str, Any] = {k: names[k] for k in ("__file__", "__spec__") if k in names}
    names["__spec__"] = None
    names.pop("__file__", None)
    try:
        yield
    finally:
        names.update(hidden)
