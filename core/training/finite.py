"""Stops a training whose numbers are no longer finite, and says where it happened."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..contracts import Step
from ..contracts.errors import TrainingError
from ..contracts.train_config import TrainConfig


class FiniteCheck:
    """Looks at every step's embeddings and loss.

    On a CPU at once; elsewhere a look would wait for the device, so it is noted and looked at
    when the epoch ends.
    """

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        self.config = config
        self.device = device
        self._noted: list[tuple[int, Tensor]] = []

    def step(self, step: Step, loss: Tensor) -> None:
        assert step.encoded is not None
        with torch.no_grad():
            seen = (*step.encoded.embeddings.values(), loss)
            finite = torch.stack([torch.isfinite(t).all() for t in seen])  # (M + 1,)
        if self.device.type != "cpu":
            self._noted.append((step.index, finite))
        elif not finite.all():
            raise TrainingError(_explain(step, self.config))

    def epoch(self, epoch: int, modalities: Sequence[str]) -> None:
        """Stop at the first step of the epoch that was not finite, if there was one."""
        if not self._noted:
            return
        finite = torch.stack([row for _, row in self._noted]).cpu()  # (steps, M + 1)
        indices = [index for index, _ in self._noted]
        self._noted.clear()
        bad = (~finite).any(dim=1).nonzero().flatten()
        if len(bad):
            first = int(bad[0])
            names = [m for m, ok in zip(modalities, finite[first], strict=False) if not ok]
            raise TrainingError(_not_finite(indices[first], epoch, names, self.config))


def _explain(step: Step, config: TrainConfig) -> str:
    """Say at which step, in which modality and probably why something is no longer finite."""
    assert step.encoded is not None
    for m, x in step.inputs.items():
        if not torch.isfinite(x).all():
            return (
                f"The loss was no longer finite at step {step.index} (epoch {step.epoch}): the "
                f"inputs of modality {m!r} hold NaN or infinite values after standardising. Its "
                "features are damaged, or a balancer damages them."
            )
    names = [m for m, z in step.encoded.embeddings.items() if not torch.isfinite(z).all()]
    return _not_finite(step.index, step.epoch, names, config)


def _not_finite(index: int, epoch: int, modalities: Sequence[str], config: TrainConfig) -> str:
    where = f"The loss was no longer finite at step {index} (epoch {epoch})"
    rate = f"a learning rate that is too high (train.lr={config.lr})"
    if modalities:
        return (
            f"{where}: the embedding of modality {modalities[0]!r} is not finite. Likely cause: "
            f"{rate}, or inputs on a very different scale (train.normalise={config.normalise})."
        )
    return (
        f"{where}: every embedding is finite, so the fusion strategy or a balancer's loss "
        f"overflows. Likely cause: {rate}."
    )
