"""Balancers that a balancer under test has to get along with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from ...contracts import Balancer, Gradients, Pass, Stage, Step
from ...contracts.training import Domain

LOSS = "companion.size"


class Companion(Balancer):
    """Leaves everything as it is, by way of every hook, and adds a small loss of its own."""

    name = "companion"

    def inputs(self, inputs: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        return dict(inputs)

    def representations(self, representations: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        return dict(representations)

    def logits(self, logits: Tensor, step: Step) -> Tensor:
        return 1.0 * logits

    def losses(self, losses: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        sizes = [z.float().square().mean() for z in step.embeddings.values()]
        return {**losses, LOSS: 1e-3 * torch.stack(sizes).sum()}


class Halves(Balancer):
    """The first modality's branch stands still in the first epoch, then all of them do."""

    name = "companion"
    takes_over: ClassVar[tuple[Domain, ...]] = ("stages",)

    def setup(self, context: Any) -> None:
        self.first = tuple(context.modalities[:1])

    def stage(self, epoch: int) -> Stage:
        return Stage("half", branches=self.first if epoch == 1 else ())


class OneByOne(Balancer):
    """A pass for each modality alone."""

    name = "companion"
    takes_over: ClassVar[tuple[Domain, ...]] = ("passes",)

    def passes(self, step: Step) -> list[Pass]:
        return [Pass((m,)) for m in step.modalities]


class Absent(Balancer):
    """Hides a modality of every other clip, and of the next clip another."""

    name = "companion"

    def present(self, present: Tensor, step: Step) -> Tensor:
        clips, modalities = present.shape
        present = present.clone()
        if modalities > 1:
            rows = torch.arange(0, clips, 2, device=present.device)
            present[rows, (rows // 2) % modalities] = False
        return present


class Watch(Balancer):
    """Named last, it notes what the balancer under test left behind.

    Attributes
    ----------
    losses_seen : dict of str to Tensor
        Losses of the latest pass.
    probes : list of tuple
        Of the first pass of each step: modality, its probe's gradient, and the gradient that
        the probe's own loss has.
    """

    name = "watch"

    def __init__(self) -> None:
        self.losses_seen: dict[str, Tensor] = {}
        self.probes: list[tuple[str, Tensor, Tensor]] = []
        self._step = -1

    def losses(self, losses: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        self.losses_seen = dict(losses)
        return losses

    def gradients(self, gradients: Gradients, step: Step) -> None:
        if step.index == self._step:
            return
        self._step = step.index
        self.probes += [self._probe(m, step) for m in step.modalities]

    def _probe(self, modality: str, step: Step) -> tuple[str, Tensor, Tensor]:
        probe: Any = step.model.probes[modality]
        assert step.encoded is not None
        embedding = step.encoded.embeddings[modality].detach().float()
        weight = probe.weight.detach().clone().requires_grad_()
        loss = step.cross_entropy(functional.linear(embedding, weight, probe.bias.detach()))
        (expected,) = torch.autograd.grad(loss, weight)
        found = torch.zeros_like(weight) if probe.weight.grad is None else probe.weight.grad
        return modality, found.clone(), expected


def recorded(balancer: Balancer) -> Mapping[str, list[Any]]:
    """Let a balancer note what its `stage` and `passes` return; the notes fill up later."""
    notes: dict[str, list[Any]] = {"stages": [], "passes": []}
    stage, passes = balancer.stage, balancer.passes

    def noting_stage(epoch: int) -> Stage | None:
        notes["stages"].append(stage(epoch))
        return notes["stages"][-1]  # type: ignore[no-any-return]

    def noting_passes(step: Step) -> list[Pass] | None:
        notes["passes"].append(passes(step))
        return notes["passes"][-1]  # type: ignore[no-any-return]

    balancer.stage = noting_stage  # type: ignore[method-assign]
    balancer.passes = noting_passes  # type: ignore[method-assign]
    return notes
