"""Plugin for benchmarks/start.py that records the time of a training's first step."""

import os
import time
from pathlib import Path

from fusion import Balancer, Step, hookimpl


class FirstStep(Balancer):
    """Balancer that appends the time of each training's first step to ``FUSION_FIRST_STEP``."""

    name = "first_step"
    waiting = True

    def step_end(self, step: Step) -> None:
        if self.waiting:
            self.waiting = False
            with Path(os.environ["FUSION_FIRST_STEP"]).open("a", encoding="utf-8") as file:
                file.write(f"{time.time()}\n")


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [FirstStep]
