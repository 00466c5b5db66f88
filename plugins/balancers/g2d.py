"""Gradient-guided distillation: single-modality teachers; the weakest modality learns first."""

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
    """Distillation from single-modality teachers, with strong modalities frozen at first.

    ::

        L = l(f) + logits * sum over m of T^2 KL(softmax(t_m / T) || softmax(f_m / T))
                 + embeddings * sum over m of MSE(z_m, z_m of the teacher)

        E = floor(share * epochs);  r_m = number of modalities whose teacher is weaker than m's
        g_m <- 0   while epoch <= E * r_m / (M - 1)

    All means are over the clips that have the modality.

    t_m are the teacher's scores. The teachers are the run's own single-modality baselines, frozen.
    The strength of a teacher is its UAR on validation. With two modalities, the stronger modality
    is frozen for E epochs. With more than two, all but the weakest modality start frozen and are
    released from weak to strong, one every E / (M - 1) epochs. Equally strong modalities are
    released together, so with equal teachers no modality is frozen.

    Departures from the paper: the students are the scores f_m of the probes, with gradient into the
    branch. The published code pulls the *fused* scores to the scores of each teacher. The teacher
    of a weak modality then teaches mistakes to the whole model. The published code compares
    teachers batch by batch, by the probability of the right class on training clips, and stops if
    two teachers are equal. A teacher's score on training clips measures how much the teacher has
    memorised. "Zero gradient" is implemented as a factor of 0 on the step; zero gradients alone
    would leave Adam's momentum and weight decay active. (With SGD weight decay is part of the
    gradient and stays active.)

    Parameters
    ----------
    logits : float
        Weight of each distillation of scores, >= 0. The default is the authors'.
    embeddings : float
        Weight of each distance of embeddings, >= 0. The default is the authors'.
    temperature : float
        T, > 0. The default is the authors'.
    share : float
        Share of the epochs in which strong modalities are frozen, in [0, 1). The default is the
        authors'.

    When to use
    -----------
    If the teachers are good, and joint training trains the better modality only. The method freezes
    the better modality, which is not always the modality that learns faster. On the synthetic
    problem ``fusion.testing.KnownAnswer`` the better modality learns more slowly, and plain
    training scores higher than this method. By default half of the epochs pass before the stronger
    modality is trained, so train for enough epochs.

    Cost
    ----
    One forward pass of each teacher per step, and the memory of their weights. The baselines are
    trained first, as in every run.

    References
    ----------
    Rakib and Bagavathi (2025), "G2D: Boosting Multimodal Learning with Gradient-Guided
    Distillation", ICCV. Distillation of scores: Hinton, Vinyals and Dean (2015), "Distilling the
    Knowledge in a Neural Network", arXiv 1503.02531.
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
        # The last epoch in which each modality is frozen.
        self._frozen_until = self.last_frozen_epochs(strength, context.config.epochs)

    def last_frozen_epochs(self, strength: Mapping[str, float], epochs: int) -> dict[str, float]:
        """Return the last epoch in which each modality is frozen, given the teachers' strengths."""
        frozen = int(self.share * epochs + 1e-9)  # 0.29 * 100 is 28.999...
        steps = max(1, len(strength) - 1)
        return {
            m: frozen * sum(other < own for other in strength.values()) / steps
            for m, own in strength.items()
        }

    def losses(self, losses: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        terms = dict(losses)
        for m in step.shown:
            embedding, scores = _teacher_outputs(step, m)
            if m not in step.batch_modalities:
                continue
            student = step.rows(m, step.unimodal_logits[m])
            divergence = distillation(student, step.rows(m, scores), self.temperature)
            own = step.rows(m, step.embeddings[m].float())
            distance = functional.mse_loss(own, step.rows(m, embedding))
            terms[f"g2d.logits.{m}"] = self.logits_weight * divergence
            terms[f"g2d.embedding.{m}"] = self.embeddings_weight * distance
        return terms

    def gradients(self, gradients: Gradients, step: Step) -> None:
        for m in gradients.modalities:
            if step.epoch <= self._frozen_until[m]:
                gradients.scale(m, 0.0)


@torch.no_grad()
def _teacher_outputs(step: Step, modality: str) -> tuple[Tensor, Tensor]:
    """Return the embedding (B, D) and scores (B, C) of a teacher, in one forward pass."""
    teacher = step.context.baselines[modality].model
    with step.context.autocast():
        encoded = teacher.encode(step.inputs)
        scores = teacher.fuse(teacher.strategy_inputs(encoded))
    return encoded.embeddings[modality].float(), scores.float()


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return T^2 KL(teacher || student) of scores (B, C), mean over clips (Hinton et al. 2015)."""
    return temperature**2 * functional.kl_div(
        (student / temperature).log_softmax(dim=1),
        (teacher / temperature).log_softmax(dim=1),
        reduction="batchmean",
        log_target=True,
    )


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [G2D]
