"""A plugin that writes down when a training has taken its first step. For benchmarks/start.py."""

import os
import time
from pathlib import Path

from fusion import Balancer, Step, hookimpl


class FirstStep(Balancer):
    """Appends the time of the first step of each training to the file ``FUSION_FIRST_STEP``."""

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
