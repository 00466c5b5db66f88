"""Slow plugins for tests of tracing."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import nn

from fusion import Balancer, Clip, Corpus, Recording, Strategy
from fusion.core.registry.parameters import make
from fusion.core.registry.profile import Tally, Trace

NAP = 0.02


class Napping(Strategy):
    """Strategy that sums scores, slowly."""

    name = "napping"
    version = "3"

    def __init__(self, dims: dict[str, int], num_classes: int, nap: float = NAP) -> None:
        super().__init__()
        self.nap = nap
        self.heads = nn.ModuleDict({m: nn.Linear(d, num_classes) for m, d in dims.items()})

    def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        time.sleep(self.nap)
        return torch.stack([self.heads[m](inputs[m]) for m in self.heads]).sum(dim=0)


class Heir(Napping):
    """Strategy that calls the method that it overrides."""

    name = "heir"

    def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        return 2 * super().forward(inputs)


class Wrapped(Strategy):
    """Strategy that is made by a balancer and not registered."""

    name = "wrapped"

    def __init__(self, inner: Strategy) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        time.sleep(NAP)
        scores: torch.Tensor = self.inner(inputs)
        return scores


class Wrapping(Balancer):
    """Balancer that adapts a strategy, and calls a strategy."""

    name = "wrapping"

    def adapt(self, strategy, dims):  # type: ignore[no-untyped-def]
        return Wrapped(strategy)

    def metrics(self) -> dict[str, float]:
        time.sleep(NAP)
        self.strategy(self.inputs_seen)
        return {}


class Two(Corpus):
    """Corpus of two clips, each of which takes a while."""

    name = "two"

    @classmethod
    def detect(cls, path: Path) -> bool:
        return path.name == "two"

    def clips(self):  # type: ignore[no-untyped-def]
        for name in ("a", "b"):
            time.sleep(NAP)
            yield Clip(Recording(Path(name)), name, "happy", name, "two")


INPUTS = {"x": torch.ones(2, 3)}


def tallies(trace: Trace) -> dict[tuple[str, str], Tally]:
    return {(key.plugin, key.method): tally for key, tally in trace.summed().items()}


def napping(cls: type[Napping] = Napping) -> Napping:
    return make(cls, {"x": 3}, 2, settings={"nap": NAP}, owner=cls.name)
