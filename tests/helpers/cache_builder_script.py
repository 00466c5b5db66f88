"""A cache build to be killed, with the arguments ROOT COUNT DELAY JOBS END LOG.

The script prints its progress, and kills itself when END items are done, or not at all if END
is 0.
"""

from __future__ import annotations

import os
import signal
import sys

from cache_computations import Ramp, fingerprint, items

from fusion.cache import FeatureCache, build
from fusion.cache.builds.progress import Progress


def main() -> None:
    # Shells make background processes ignore SIGINT.
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
