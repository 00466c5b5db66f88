"""Context managers that change the mode of a network temporarily."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put `model` into evaluation mode within the context, then restore each module's mode."""
    training = [part for part in model.modules() if part.training]
    model.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


@contextlib.contextmanager
def quiet_statistics(module: nn.Module) -> Iterator[None]:
    """Keep the running statistics of batch normalisations in `module` constant in the context."""
    norms = [n for n in module.modules() if isinstance(n, nn.modules.batchnorm._BatchNorm)]
    momenta = [n.momentum for n in norms]
    counts = [None if n.num_batches_tracked is None else n.num_batches_tracked.clone()
              for n in norms]  # fmt: skip
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, count in zip(norms, momenta, counts, strict=True):
            norm.momentum = momentum
            if count is not None:
                norm.num_batches_tracked.copy_(count)  # type: ignore[union-attr]
