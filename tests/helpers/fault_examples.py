"""Plugins and pairs of networks for tests of injected faults."""

from pathlib import Path

import numpy as np
import torch

from fusion import Clip, Corpus, Extractor, Recording
from fusion.plugins.branches.cnn import CNN
from fusion.plugins.strategies.concat import Concat

DIMS = {"a": 6, "b": 6, "c": 6}


class Length(Extractor):
    """Extractor of the length of a recording's name, three times."""

    name = "length"

    def __init__(self, *, offset: float = 1.0) -> None:
        self.shape = (3,)
        self.offset = offset

    def extract(self, recording):
        return np.full(3, len(recording.path.stem) + self.offset, np.float32)


class Hundred(Corpus):
    """Corpus of ten speakers with ten clips each, of four labels, one of which runs don't know."""

    name = "hundred"
    version = "7"
    labels = {"happy": "happy", "sad": "sad", "angry": "angry"}  # noqa: RUF012

    @classmethod
    def detect(cls, path):
        return True

    def clips(self):
        for number in range(100):
            label = ("happy", "sad", "angry", "calm")[number % 4]
            name = f"{number:03d}.wav"
            yield Clip(Recording(Path(name)), name, label, f"s{number // 10}", "hundred")


def pair(fault, cls=CNN, shape=(1, 16, 24), seed=0, **given):
    """Return a faulty and a healthy branch with equal weights in evaluation mode."""
    made = []
    for kind in (fault(cls), cls):
        torch.manual_seed(seed)
        made.append(kind(shape, 6, **given).eval())
    return made


def inputs(shape=(1, 16, 24), size=4):
    return torch.randn(size, *shape, generator=torch.Generator().manual_seed(1))


def embeddings(size=5):
    generator = torch.Generator().manual_seed(2)
    return {m: torch.randn(size, d, generator=generator) for m, d in DIMS.items()}


def joined(fault, cls=Concat, seed=0, **given):
    """Return a faulty and a healthy strategy with equal weights in evaluation mode."""
    made = []
    for kind in (fault(cls), cls):
        torch.manual_seed(seed)
        made.append(kind(dict(DIMS), 4, **given).eval())
    return made
