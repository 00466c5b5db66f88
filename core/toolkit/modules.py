"""Networks put into another mode for a while, and back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """`model` is in evaluation mode for a while; each of its parts goes back to its own."""
    training = [part for part in model.modules() if part.training]
    model.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


@contextlib.contextmanager
def quiet_statistics(module: nn.Module) -> Iterator[None]:
    """Normalisations inside `module` keep their running statistics for a while."""
    norms = [n for n in module.modules() if isinstance(n, nn.modules.batchnorm._BatchNorm)]
    kept = [n.momentum for n in norms]
    counts = [None if n.num_batches_tracked is None else n.num_batches_tracked.clone()
              for n in norms]  # fmt: skip
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, count in zip(norms, kept, counts, strict=True):
            norm.momentum = momentum
            if count is not None:
                norm.num_batches_tracked.copy_(count)  # type: ignore[union-attr]
