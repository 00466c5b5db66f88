"""Check that stops a training if an embedding or a loss is NaN or infinite."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..contracts import Step
from ..contracts.errors import TrainingError
from ..contracts.train_config import TrainConfig


class FiniteCheck:
    """Check of every step's embeddings and loss for NaN and infinite values.

    On a CPU each step is checked at once. On other devices a check would wait for the device, so
    the results are collected and checked when the epoch ends.
    """

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        self.config = config
        self.device = device
        self._pending: list[tuple[int, Tensor]] = []

    def step(self, step: Step, loss: Tensor) -> None:
        """Check one step, or record its result until the end of the epoch.

        Raises
        ------
        TrainingError
            On a CPU, if an embedding or the loss is not finite.
        """
        assert step.encoded is not None
        with torch.no_grad():
            checked = (*step.encoded.embeddings.values(), loss)
            finite = torch.stack([torch.isfinite(t).all() for t in checked])  # (M + 1,)
        if self.device.type != "cpu":
            self._pending.append((step.index, finite))
        elif not finite.all():
            raise TrainingError(_explain(step, self.config))

    def epoch(self, epoch: int, modalities: Sequence[str]) -> None:
        """Check the recorded steps of an epoch.

        Raises
        ------
        TrainingError
            If an embedding or a loss was not finite; the message names the first such step.
        """
        if not self._pending:
            return
        finite = torch.stack([row for _, row in self._pending]).cpu()  # (steps, M + 1)
        indices = [index for index, _ in self._pending]
        self._pending.clear()
        bad = (~finite).any(dim=1).nonzero().flatten()
        if len(bad):
            first = int(bad[0])
            names = [m for m, ok in zip(modalities, finite[first], strict=False) if not ok]
            raise TrainingError(_not_finite(indices[first], epoch, names, self.config))


def _explain(step: Step, config: TrainConfig) -> str:
    """Return a message with the step, the modality and the likely cause of a non-finite value."""
    assert step.encoded is not None
    for m, x in step.inputs.items():
        if not torch.isfinite(x).all():
            return (
                f"The loss was no longer finite at step {step.index} (epoch {step.epoch}): the "
                f"inputs of modality {m!r} hold NaN or infinite values after standardisation. "
                "Likely cause: its features are damaged, or a balancer's `inputs` damages them."
            )
    names = [m for m, z in step.encoded.embeddings.items() if not torch.isfinite(z).all()]
    return _not_finite(step.index, step.epoch, names, config)


def _not_finite(index: int, epoch: int, modalities: Sequence[str], config: TrainConfig) -> str:
    problem = f"The loss was no longer finite at step {index} (epoch {epoch})"
    rate = f"a learning rate that is too high (train.lr={config.lr})"
    if modalities:
        return (
            f"{problem}: the embedding of modality {modalities[0]!r} is not finite. Likely cause: "
            f"{rate}, or inputs on a very different scale (train.normalise={config.normalise})."
        )
    return (
        f"{problem}: every embedding is finite, so the fusion strategy or a balancer's loss "
        f"overflows. Likely cause: {rate}."
    )
