"""A builder to be killed: ROOT COUNT DELAY JOBS END LOG. Says when it starts and how it ended.

It kills itself when so many items as END says are done; with 0 somebody else may.
"""

from __future__ import annotations

import os
import signal
import sys

from cache_computations import Ramp, fingerprint, items

from fusion.cache import FeatureCache, build
from fusion.cache.builds.progress import Progress


def main() -> None:
    # A shell that starts things in the background has them ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    root, count, delay, jobs, end, log = sys.argv[1:]
    work = [(Ramp(fingerprint(), float(delay), log=log), items(int(count)))]

    def show(progress: Progress) -> None:
        print(f"{progress.done}/{progress.total}", flush=True)
        if progress.done >= int(end) > 0:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        build(FeatureCache(root), work, jobs=int(jobs), on_progress=show)
    except KeyboardInterrupt:
        print("interrupted", flush=True)


if __name__ == "__main__":
    main()
