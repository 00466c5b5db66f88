"""G2D: taught by single-modality teachers, and the weakest modality learns first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from ...core.contracts import (
    Balancer,
    Context,
    Gradients,
    LogUniform,
    Space,
    Step,
    Uniform,
    hookimpl,
)
from ...core.toolkit.ranges import check_ranges


class G2D(Balancer):
    """Distils single-modality teachers, and keeps the strong modalities still at first.

    ::

        L = l(f) + logits * sum over m of T^2 KL(softmax(t_m / T) || softmax(f_m / T))
                 + embeddings * sum over m of MSE(z_m, z_m of the teacher)

        E = floor(share * epochs);  r_m = number of modalities whose teacher is weaker than m's
        g_m <- 0   while epoch <= E * r_m / (M - 1)

    All means are over the clips that have the modality.

    t_m are the teacher's scores. Teachers are the run's own single-modality baselines, frozen;
    one is stronger than another by its UAR on validation. Of two modalities the stronger one
    stands still for E epochs; of more, they are released from the weakest on, in equal shares
    of E; equally strong ones together, so that with equal teachers none stands still.

    The students are the scores f_m of the probes, with gradient into the branch: the published
    code pulls the *fused* scores to each teacher's, so that a weak modality's teacher teaches
    the whole model its mistakes. That code compares teachers batch by batch, by their
    probability of the right class on training clips, and stops when they are equal; a teacher's
    training score says how much it has memorised. "Zero gradient" is a factor of 0 on the step:
    zeros alone would leave Adam's momentum and weight decay going. (With SGD weight decay is a
    part of the gradient and goes on.)

    Parameters
    ----------
    logits : float
        Weight of each distillation of scores, >= 0. The authors'.
    embeddings : float
        Weight of each distance of embeddings, >= 0. The authors'.
    temperature : float
        T, > 0. The authors'.
    share : float
        Share of the epochs in which strong modalities stand still, in [0, 1). The authors'.

    When to use
    -----------
    When the teachers are good, and the better modality is the one that takes all the learning:
    it is the better one that stands still, not the faster one. On the problem of
    ``KnownAnswer``, where the better one is the slower, plain training is ahead of it. With half
    the epochs gone before the stronger modality moves, give it enough of them.

    Cost
    ----
    One forward pass of each teacher per step, and the memory of their weights; the baselines
    are trained first, as in every run.

    References
    ----------
    Rakib and Bagavathi (2025), "G2D: Boosting Multimodal Learning with Gradient-Guided
    Distillation", ICCV. Distillation of scores: Hinton, Vinyals and Dean (2015), "Distilling
    the Knowledge in a Neural Network", arXiv 1503.02531.
    """

    name = "g2d"
    reads_validation = True
    needs_baselines = True
    space: ClassVar[Mapping[str, Space]] = {
        "embeddings": LogUniform(0.01, 100.0),
        "temperature": Uniform(1.0, 4.0),
    }

    def __init__(
        self,
        *,
        logits: float = 1.0,
        embeddings: float = 1.0,
        temperature: float = 1.0,
        share: float = 0.5,
    ) -> None:
        check_ranges(
            self.name,
            "logits >= 0, embeddings >= 0, temperature > 0 and share from 0 to below 1",
            locals(),
        )
        self.logits_weight = logits
        self.embeddings_weight = embeddings
        self.temperature = temperature
        self.share = share

    def setup(self, context: Context) -> None:
        strength = {m: context.baselines[m].val_uar for m in context.modalities}
        # The last epoch in which a modality stands still.
        self._still = self.standing(strength, context.config.epochs)

    def standing(self, strength: Mapping[str, float], epochs: int) -> dict[str, float]:
        """Until which epoch each modality stands still, for given strengths of the teachers."""
        still = int(self.share * epochs + 1e-9)  # 0.29 * 100 is 28.999...
        steps = max(1, len(strength) - 1)
        return {
            m: still * sum(other < own for other in strength.values()) / steps
            for m, own in strength.items()
        }

    def losses(self, losses: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        found = dict(losses)
        for m in step.shown:
            embedding, scores = _taught(step, m)
            if m not in step.known:
                continue
            student = step.rows(m, step.unimodal_logits[m])
            divergence = distillation(student, step.rows(m, scores), self.temperature)
            own = step.rows(m, step.embeddings[m].float())
            distance = functional.mse_loss(own, step.rows(m, embedding))
            found[f"g2d.logits.{m}"] = self.logits_weight * divergence
            found[f"g2d.embedding.{m}"] = self.embeddings_weight * distance
        return found

    def gradients(self, gradients: Gradients, step: Step) -> None:
        for m in gradients.modalities:
            if step.epoch <= self._still[m]:
                gradients.scale(m, 0.0)


@torch.no_grad()
def _taught(step: Step, modality: str) -> tuple[Tensor, Tensor]:
    """Embedding (B, D) and scores (B, C) of a modality's teacher, in one forward pass."""
    teacher = step.context.baselines[modality].model
    with step.context.autocast():
        encoded = teacher.encode(step.inputs)
        scores = teacher.fuse(teacher.strategy_inputs(encoded))
    return encoded.embeddings[modality].float(), scores.float()


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(teacher || student) of scores (B, C), mean over clips (Hinton 2015)."""
    return temperature**2 * functional.kl_div(
        (student / temperature).log_softmax(dim=1),
        (teacher / temperature).log_softmax(dim=1),
        reduction="batchmean",
        log_target=True,
    )


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [G2D]
