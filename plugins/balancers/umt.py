"""Uni-modal teacher (UMT): each branch is taught by its single-modality baseline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from ...core.contracts import Balancer, LogUniform, Space, Step, hookimpl
from ...core.toolkit.ranges import check_ranges


class UMT(Balancer):
    """Loss on the distance of each embedding to that of the same modality trained alone.

    ::

        L = l(f) + weight * sum over m of MSE(z_m, z_m of the teacher)

    The teachers are the run's own single-modality baselines, frozen, in evaluation mode, on the
    same augmented inputs. MSE is the mean over dimensions and over the clips that have the
    modality. A teacher is the same kind of branch as the student, so the embeddings have the same
    size. In a step of several passes, the term of m counts in the passes that show m.

    Parameters
    ----------
    weight : float
        Weight of each distance, >= 0. The default is this project's choice; the right value depends
        on the size of the embeddings.

    When to use
    -----------
    If the single modalities score well, and their branches score lower after joint training. If the
    best features can only be learned from both modalities at once, the method holds the branches
    back.

    Cost
    ----
    One forward pass of each teacher per step, and the memory of their weights. The baselines are
    trained first, as in every run.

    References
    ----------
    Du et al. (2023), "On Uni-Modal Feature Learning in Supervised Multi-Modal Learning", ICML
    (uni-modal teacher).
    """

    name = "umt"
    needs_baselines = True
    space: ClassVar[Mapping[str, Space]] = {"weight": LogUniform(0.01, 100.0)}

    def __init__(self, *, weight: float = 1.0) -> None:
        check_ranges(self.name, "weight >= 0", locals())
        self.weight = weight

    def losses(self, losses: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        return losses | {f"umt.{m}": self.weight * self._distance(step, m) for m in step.shown}

    def _distance(self, step: Step, modality: str) -> Tensor:
        with step.context.autocast():
            teacher = step.context.baselines[modality].embedding(step.inputs)  # (B, D)
        own = step.rows(modality, step.embeddings[modality].float())
        if not len(own):
            return own.sum()  # 0
        return functional.mse_loss(own, step.rows(modality, teacher))


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [UMT]
