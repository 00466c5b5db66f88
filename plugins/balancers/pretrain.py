"""Pretraining: each branch learns alone first, then all are fine-tuned together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor

from ...core.contracts import Balancer, Context, Gradients, LogUniform, Space, Stage, Step, hookimpl
from ...core.contracts.errors import ParameterError
from ...core.contracts.training import Domain
from ...core.toolkit.ranges import check_ranges
from ._unimodal import unimodal_losses


class Pretrain(Balancer):
    """Starts joint training from branches that were trained alone, and moves them slowly.

    *baselines*: every branch, and its probe, starts with the weights that it has in the run's
    own single-modality baseline; all epochs are fine-tuning.
    *own*: in the first ``floor(share * epochs)`` epochs branch m learns from l(f_m), the loss of
    its probe, and nothing else; the strategy stands still, and no model of these epochs can be
    chosen. The other epochs are fine-tuning.

    In fine-tuning the branches take ``branch`` times their steps, the head its full ones. The
    factor goes to the step of each branch (see `Gradients.scale`), the same way for both
    sources; the rates of `lr` multiply with it.

    Papers pretrain for a budget of its own and then train again for a full one. Here *own* stays
    within the budget of every other method, the schedule of the learning rate included;
    *baselines* uses trainings that the run makes anyway, and so has twice their epochs.

    This balancer decides about the start alone: ``train.start``, ``train.finetune`` and
    ``train.branch_rate`` mean nothing beside it. It differs from ``train.start=baselines`` in
    that fine-tuning takes all epochs, that the strategy starts untrained, and that the start
    itself is no candidate in the choice of an epoch.

    Parameters
    ----------
    source : {"baselines", "own"}
        Where the pretrained weights come from.
    share : float
        Share of the epochs in which the branches learn alone, in (0, 1); for *own*.
    branch : float
        Factor on the branches' steps in fine-tuning, > 0. This project's choice; 0.01 is usual
        for large pretrained networks.

    When to use
    -----------
    When joint training ends below the best single modality: the branches then start where that
    one ended. The first remedy to try against a cold start.

    Cost
    ----
    None in a step. With *baselines* those are trained first, as in every run; with *own* the
    head has fewer epochs.

    References
    ----------
    Pretrained branches as the baseline of multimodal training: Du et al. (2023), "On Uni-Modal
    Feature Learning in Supervised Multi-Modal Learning", ICML. Wang et al. (2020), "What Makes
    Training Multi-Modal Classification Networks Hard?", CVPR.
    """

    name = "pretrain"
    takes_over: ClassVar[tuple[Domain, ...]] = ("start", "stages")
    needs_baselines = True
    space: ClassVar[Mapping[str, Space]] = {"branch": LogUniform(0.01, 1.0)}

    def __init__(
        self,
        *,
        source: Literal["baselines", "own"] = "baselines",
        share: float = 0.5,
        branch: float = 0.1,
    ) -> None:
        check_ranges(self.name, "share between 0 and 1 and branch > 0", locals())
        self.source = source
        self.share = share
        self.branch = branch
        self._alone = 0  # epochs

    def setup(self, context: Context) -> None:
        if self.source == "baselines":
            self._alone = 0
            context.warm_start()
            return
        epochs = context.config.epochs
        self._alone = int(self.share * epochs + 1e-9)  # 0.29 * 100 is 28.999...
        if not self._alone:
            raise ParameterError(
                f"pretrain.share={self.share} of {epochs} epochs is less than one epoch.",
                hint=f"Choose a share of at least {1 / epochs:.3g}, or train.epochs above it.",
            )

    def stage(self, epoch: int) -> Stage | None:
        if epoch <= self._alone:
            return Stage("alone", head=False, candidate=False)
        return Stage("together") if self._alone else None

    def representations(self, representations: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        if step.epoch > self._alone:
            return representations
        # Whatever else is made of the fused scores does not reach the branches either.
        return {m: x.detach() for m, x in representations.items()}

    def losses(self, losses: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        if step.epoch > self._alone:
            return losses
        others = {name: loss for name, loss in losses.items() if name != "fused"}
        return unimodal_losses(step, 1.0) | others

    def gradients(self, gradients: Gradients, step: Step) -> None:
        if step.epoch > self._alone:
            for m in gradients.modalities:
                gradients.scale(m, self.branch)


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [Pretrain]
