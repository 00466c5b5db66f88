"""Protection of the user's script from being run again by worker processes."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def main_left_out() -> Iterator[None]:
    """Keep processes that start during a ``with`` block from importing the user's script.

    A spawned process first imports the ``__main__`` module of its parent, to find functions that
    the module defines. A script that lacks ``if __name__ == "__main__":`` would therefore run in
    every worker. A run's workers do not need the script, since they find plugins by file or module.
    Therefore ``__main__`` has no ``__file__`` and no ``__spec__`` during the block, as in an
    interactive session.
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
