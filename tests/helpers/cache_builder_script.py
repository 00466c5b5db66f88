"""A builder to be killed: ROOT COUNT DELAY JOBS [LOG]. Says when it starts and how it ended."""

from __future__ import annotations

import signal
import sys

from cache_computations import Ramp, fingerprint, items

from fusion.cache import FeatureCache, build
from fusion.cache.builds.progress import Progress


def show(progress: Progress) -> None:
    print(f"{progress.done}/{progress.total}", flush=True)


def main() -> None:
    # A shell that starts things in the background has them ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    root, count, delay, jobs, *log = sys.argv[1:]
    work = [(Ramp(fingerprint(), float(delay), log="".join(log)), items(int(count)))]
    try:
        build(FeatureCache(root), work, jobs=int(jobs), on_progress=show)
    except KeyboardInterrupt:
        print("interrupted", flush=True)


if __name__ == "__main__":
    main()
